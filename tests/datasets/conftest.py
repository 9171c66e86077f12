"""Fixtures of the dataset tests."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import requests

from cml_tf import datasets
from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE
from tests.helpers.benchmark_files import write_benchmark


@pytest.fixture(scope="session")
def glyphs():
    return datasets.load("glyphs")


@pytest.fixture
def empty_cache(tmp_path_factory, monkeypatch):
    """A cache of its own for a test that must not find what an earlier one left."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def offline(monkeypatch):
    """No archive can be downloaded; the hosts that were asked for."""
    asked = []

    def refused(url, **settings):
        asked.append(urlsplit(url).hostname)
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", refused)
    return asked


@pytest.fixture
def miniature(tmp_path, monkeypatch, empty_cache):
    """Writes the miniature of a benchmark into a folder of its own, and gives that."""

    def write(name):
        (tmp_path / name).mkdir(exist_ok=True)
        write_benchmark(name, tmp_path / name, monkeypatch)
        return tmp_path / name

    return write


@pytest.fixture
def no_decoding(monkeypatch):
    """Within it, a module that decodes fails."""

    @contextlib.contextmanager
    def forbid(module):
        with monkeypatch.context() as patch:
            patch.setattr(f"cml_tf.datasets.{module}.decode_contents", lambda *_, **__: pytest.fail("decoded again"))
            yield

    return forbid


@pytest.fixture
def server():
    """An HTTP server on loopback: `files` by name, `asked` for what was requested."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = urlsplit(self.path).path.rsplit("/", 1)[-1]
            self.server.asked.append(name)
            content = self.server.files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.files, served.asked, served.url = {}, [], f"http://127.0.0.1:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def twice_at_the_lock(monkeypatch):
    """Calls a function in two threads; both results. `wait` returns once both have come to the module's lock."""
    both, entered = threading.Event(), []

    def wait():
        assert both.wait(60), "nobody waited: the other one went ahead"

    def call(module, function):
        real = module.locked

        @contextlib.contextmanager
        def observed(path, wait=False):
            entered.append(path)
            if len(entered) == 2:
                both.set()
            with real(path, wait):
                yield

        monkeypatch.setattr(module, "locked", observed)
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: function(), range(2)))

    call.wait, call.entered = wait, entered
    return call
