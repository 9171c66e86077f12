"""Files from a server on loopback: checked, kept once, by one process at a time."""

import contextlib
import dataclasses
import hashlib

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.datasets.storage import downloads
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.datasets.storage.downloads import check_online, download
from tests.helpers.graph_files import write_npz_graph, write_planetoid

CONTENT = b"what is up there\n"
SHA256 = ("sha256", hashlib.sha256(CONTENT).hexdigest())
CHECKSUMS = [
    SHA256,
    ("md5", hashlib.md5(CONTENT).hexdigest()),
    ("git_blob", "c462f47d71db67a1c8cbf93ecd2d1214541f8fe9"),  # As `git hash-object` says.
]
SIGNS = "GTSRB_Final_Training_Images.zip"


@pytest.fixture
def place(empty_cache, server):
    """Where a file goes in the cache."""
    server.files["file"] = CONTENT
    return cache_directory() / "folder" / "file"


@pytest.fixture
def signs(miniature, server, monkeypatch):
    """A folder with the miniature of GTSRB, which the server has too."""
    folder = miniature("gtsrb")
    server.files[SIGNS] = (folder / SIGNS).read_bytes()
    benchmark = BENCHMARKS["gtsrb"]
    # An address that does not end in the file's name, as that of CUB does not.
    source = dataclasses.replace(benchmark.source, url=f"{server.url}/files/{SIGNS}?download=1")
    monkeypatch.setitem(BENCHMARKS, "gtsrb", dataclasses.replace(benchmark, source=source))
    return folder


def left():
    """What is in the cache but for locks, which stay."""
    return [path.name for path in cache_directory().rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("checksum", CHECKSUMS)
def test_a_file_is_fetched_once_and_no_other_is_kept(server, place, checksum, caplog, monkeypatch):
    url = f"{server.url}/file"
    assert download(url, checksum, place).read_bytes() == CONTENT
    with monkeypatch.context() as patch:
        patch.setattr(downloads, "locked", None)  # What is there is used where nothing can be written.
        assert download(url, checksum, place).read_bytes() == CONTENT
    assert server.asked == ["file"] and left() == ["file"]
    assert place.stat().st_mode & 0o777 == 0o644
    place.write_bytes(CONTENT[:-3])
    assert download(url, checksum, place).read_bytes() == CONTENT
    assert f"{place} again, since it no longer has the published checksum" in caplog.text
    place.unlink()
    server.files["file"] += b"more"
    with pytest.raises(DatasetError, match="published {} {}, received another file".format(*checksum)):
        download(url, checksum, place)
    assert left() == []


def test_what_cannot_be_fetched_or_written_says_what_to_do_and_leaves_nothing(server, place):
    assert download(f"{server.url}/file", SHA256, place, len(CONTENT)) == place
    place.unlink()
    (cache_directory() / "in the way").write_text("a file")
    for file, there, size, message in (
        ("file", place, len(CONTENT) - 1, "received more bytes"),
        ("absent", place, 100, "dataset.root .*404"),
        ("file", cache_directory() / "in the way" / "file", 100, "CML_TF_CACHE"),
    ):
        with pytest.raises(DatasetError, match=message):
            download(f"{server.url}/{file}", SHA256, there, size)
        assert left() == ["in the way"]


def test_graphs_are_downloaded_and_checked(server, tmp_path, monkeypatch, empty_cache):
    write_planetoid(tmp_path, "cora", planetoid.SIZES["cora"])
    server.files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in server.files.items()}
    monkeypatch.setattr(planetoid, "SOURCE", server.url)
    monkeypatch.setattr(planetoid, "CHECKSUMS", sums)
    fingerprints = {datasets.load("cora").graph.fingerprint for _ in range(2)}
    assert fingerprints == {datasets.load("cora", str(tmp_path)).graph.fingerprint}
    assert sorted(server.asked) == sorted(server.files)
    name = graph_npz.AMAZON_COMPUTER
    write_npz_graph(tmp_path / name, graph_npz.SIZES[name])
    content = server.files[name] = (tmp_path / name).read_bytes()
    monkeypatch.setattr(graph_npz, "SOURCE", server.url)
    with pytest.raises(DatasetError, match=f"git_blob {graph_npz.GIT_BLOBS[name]}, received"):
        datasets.load("amazon_computer")
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setitem(graph_npz.GIT_BLOBS, name, blob)
    assert datasets.load("amazon_computer").graph.nodes == 13752


def test_no_answer_is_noticed_unless_a_proxy_stands_in_between(monkeypatch):
    def refused(address, timeout):
        assert address == ("example.test", 443) and timeout <= 10
        raise ConnectionRefusedError

    monkeypatch.setattr(downloads.socket, "create_connection", refused)
    for proxies, fails in (({}, True), ({"https": "proxy"}, False)):
        monkeypatch.setattr(downloads, "getproxies", lambda proxies=proxies: proxies)
        with pytest.raises(OSError) if fails else contextlib.nullcontext():
            check_online("example.test")


def test_without_a_root_an_archive_is_downloaded_once_and_no_other_kept(server, signs):
    def prints(root="", **options):
        return [pool.fingerprint for pool in datasets.load("gtsrb", root, **options).pools.values()]

    assert prints() == prints()
    # Another size is made of the archive that is there now.
    assert prints(image_size=(8, 8)) == prints(str(signs), image_size=(8, 8))
    assert server.asked == [SIGNS] and SIGNS in left()
    (cache_directory() / "downloads" / SIGNS).unlink()
    server.files[SIGNS] += b"\0"
    with pytest.raises(DatasetError, match="gtsrb is not prepared .* needs .*dataset.root.* published md5"):
        datasets.load("gtsrb", image_size=(9, 9))
    assert SIGNS not in left() and not list(cache_directory().glob(".download-*"))


def test_a_second_one_waits_and_takes_what_the_first_downloaded(server, place, monkeypatch, twice_at_the_lock):
    arrived = downloads._arrived
    monkeypatch.setattr(downloads, "_arrived", lambda *given: (twice_at_the_lock.wait(), arrived(*given))[1])
    assert twice_at_the_lock(downloads, lambda: download(f"{server.url}/file", SHA256, place)) == [place] * 2
    assert server.asked == ["file"]
