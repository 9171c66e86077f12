import hashlib

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.datasets.storage import downloads as download_module
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


@pytest.fixture
def place(empty_cache, server):
    """Where a file goes in the cache."""
    server.files["file"] = CONTENT
    return cache_directory() / "folder" / "file"


def left(place):
    """What is in the cache but for locks, which stay."""
    return [path for path in place.parent.parent.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("checksum", CHECKSUMS)
def test_a_file_is_fetched_once_and_no_other_is_kept(server, place, checksum, caplog):
    for _ in range(2):
        assert download(f"{server.url}/file", checksum, place).read_bytes() == CONTENT
    assert server.asked == ["file"] and left(place) == [place]
    assert place.stat().st_mode & 0o777 == 0o644
    place.write_bytes(CONTENT[:-3])
    assert download(f"{server.url}/file", checksum, place).read_bytes() == CONTENT
    assert f"Downloading {place} again, since it no longer has the published checksum." in caplog.text
    place.unlink()
    server.files["file"] += b"more"
    with pytest.raises(
        DatasetError, match="must have the published {} {}, received another file: try".format(*checksum)
    ):
        download(f"{server.url}/file", checksum, place)
    assert left(place) == []


def test_more_than_the_limit_is_not_taken(server, place):
    assert download(f"{server.url}/file", SHA256, place, len(CONTENT)) == place
    place.unlink()
    with pytest.raises(DatasetError, match="cannot be downloaded.*received more bytes"):
        download(f"{server.url}/file", SHA256, place, len(CONTENT) - 1)
    assert left(place) == []


def test_what_cannot_be_fetched_or_written_says_what_to_do(server, place):
    with pytest.raises(DatasetError, match="cannot be downloaded: go online, or set dataset.root .* file.*404"):
        download(f"{server.url}/absent", SHA256, place)
    with pytest.raises(DatasetError, match="set CML_TF_CACHE"):
        (cache_directory() / "in the way").write_text("a file")
        download(f"{server.url}/file", SHA256, cache_directory() / "in the way" / "file")


def test_a_file_is_used_where_nothing_can_be_written(server, place, monkeypatch):
    download(f"{server.url}/file", SHA256, place)
    monkeypatch.setattr(download_module, "locked", None)
    assert download(f"{server.url}/file", SHA256, place) == place


def test_cora_is_downloaded_into_the_cache(server, tmp_path, monkeypatch, empty_cache):
    write_planetoid(tmp_path, "cora", planetoid.SIZES["cora"])
    server.files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in server.files.items()}
    monkeypatch.setattr(planetoid, "SOURCE", server.url)
    monkeypatch.setattr(planetoid, "CHECKSUMS", sums)
    fingerprints = {datasets.load("cora").graph.fingerprint for _ in range(2)}
    assert fingerprints == {datasets.load("cora", str(tmp_path)).graph.fingerprint}
    assert sorted(server.asked) == sorted(server.files)
    assert len(list(cache_directory().glob("planetoid-*/ind.cora.*"))) == 6


def test_amazon_computer_is_downloaded_and_checked_by_its_git_identifier(server, tmp_path, monkeypatch, empty_cache):
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

    monkeypatch.setattr(download_module.socket, "create_connection", refused)
    monkeypatch.setattr(download_module, "getproxies", dict)
    with pytest.raises(OSError):
        check_online("example.test")
    monkeypatch.setattr(download_module, "getproxies", lambda: {"https": "proxy"})
    check_online("example.test")
