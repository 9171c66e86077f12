"""Archives that anybody may download: from a server on loopback, on a miniature."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, instructions
from cml_tf.datasets.storage import downloads as downloads_module
from cml_tf.datasets.storage.cache import cache_directory
from tests.helpers.benchmark_files import write_benchmark

NAME = "GTSRB_Final_Training_Images.zip"


@pytest.fixture
def server(tmp_path, monkeypatch, empty_cache):
    """Serves the miniature of GTSRB, whose address and checksum are exchanged; `content` is what, `asked` how often."""
    (tmp_path / "published").mkdir()
    write_benchmark("gtsrb", tmp_path / "published", monkeypatch)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked += 1
            self.send_response(200 if self.server.content else 404)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content)

        def log_message(self, *arguments):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.content, served.asked = (tmp_path / "published" / NAME).read_bytes(), 0
    benchmark = BENCHMARKS["gtsrb"]
    # An address that does not end in the file's name, as that of CUB does not.
    url = f"http://127.0.0.1:{served.server_port}/files/{NAME}?download=1"
    source = dataclasses.replace(benchmark.source, url=url)
    monkeypatch.setitem(BENCHMARKS, "gtsrb", dataclasses.replace(benchmark, source=source))
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def downloads():
    return [path.name for path in (cache_directory() / "downloads").iterdir() if path.suffix != ".lock"]


def test_without_a_root_the_archive_is_downloaded_once(server, tmp_path):
    direct = datasets.load("gtsrb")
    assert direct.pools["test"].fingerprint == datasets.load("gtsrb").pools["test"].fingerprint
    # Another size is made of the archive that is there now.
    small = datasets.load("gtsrb", image_size=(8, 8))
    by_hand = datasets.load("gtsrb", str(tmp_path / "published"), image_size=(8, 8))
    assert small.pools["test"].fingerprint == by_hand.pools["test"].fingerprint
    assert server.asked == 1 and downloads() == [NAME]
    assert not list(cache_directory().glob(".download-*"))


def test_what_is_not_the_published_archive_is_not_kept(server):
    server.content += b"\0"
    with pytest.raises(DatasetError, match="gtsrb needs .* dataset.root. .* the published md5 .* received another"):
        datasets.load("gtsrb")
    assert downloads() == [] and not list(cache_directory().glob(".download-*"))
    server.content = b""
    with pytest.raises(DatasetError, match="put it into a folder .* cannot be downloaded; .*404"):
        datasets.load("gtsrb")


def test_a_damaged_archive_in_the_cache_is_downloaded_anew(server, caplog):
    (cache_directory() / "downloads").mkdir(parents=True)
    (cache_directory() / "downloads" / NAME).write_bytes(server.content[:-3])
    assert len(datasets.load("gtsrb").class_names("test")) == 43
    assert server.asked == 1 and "is downloaded anew" in caplog.text


def test_a_second_one_waits_and_takes_what_the_first_downloaded(server, monkeypatch):
    real, arrived, entered, waiting = downloads_module.locked, downloads_module._arrived, [], threading.Event()

    @contextlib.contextmanager
    def observed(path, wait=False):
        entered.append(path)
        if len(entered) == 2:
            waiting.set()
        with real(path, wait):
            yield

    def slow(*arguments):
        assert waiting.wait(60), "nobody waited: the other one went ahead"
        return arrived(*arguments)

    monkeypatch.setattr(downloads_module, "locked", observed)
    monkeypatch.setattr(downloads_module, "_arrived", slow)
    source, path, paths = BENCHMARKS["gtsrb"].source, cache_directory() / "downloads" / NAME, []

    def ask():
        paths.append(downloads_module.download(source.url, source.checksum, path))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [path] * 2 and server.asked == 1


def test_the_instructions_offer_the_download_where_there_is_one():
    assert "is downloaded by\n  python -m cml_tf.datasets.prepare cub\n" in instructions("cub")
    assert "is downloaded by" not in instructions("mini_imagenet") + instructions("tiered_imagenet")
