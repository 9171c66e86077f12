"""A server that is full, out of time, or told to stop."""

import asyncio
import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis.model_pb2 import ModelSpec

from export.server import embedded, rest
from export.server.child import ServerFailed
from export.server.errors import ServingError
from export.server.model_config import ModelConfig
from export.server.rest import RestApi
from tests.export.server.running import running
from tests.export.server.tiny_models import WaitingHalver, write_halver
from tests.helpers.programs import ROOT

PREDICT = "/v1/models/halver:predict"
ORIGIN = {"Origin": "http://example.com"}
# Of a server with --cors: method, path, headers, status, and whether other origins are told that they may ask.
ORIGINS = [
    *(("POST", PREDICT, headers, 200, True) for headers in (ORIGIN, {})),
    ("POST", "/v1/nothing", {}, 400, True),
    ("POST", "/nothing", ORIGIN, 404, False),
    ("OPTIONS", PREDICT, ORIGIN, 200, True),
    ("OPTIONS", PREDICT, {}, 400, True),
    ("OPTIONS", "/nothing", ORIGIN, 404, False),
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("limited") / "halver"
    write_halver(directory / "1", 1.0, kind=WaitingHalver)
    return directory


def _wait(path):
    """A request that is answered once `path` exists."""
    return {"signature_name": "wait", "inputs": [str(path)]}


def test_full_out_of_time_and_draining(model_dir, tmp_path):
    flags = [f"--model_dir={model_dir}", "--max_concurrent_requests=2", "--max_queued_requests=0", "--cors"]
    with running(*flags, "--timeout_seconds=120", log=tmp_path / "log") as server, ThreadPoolExecutor(3) as pool:
        for method, path, headers, expected, allowed in ORIGINS:
            body = {"instances": [1]} if method == "POST" else None
            status, _, answered = server.rest(method, path, body, headers)
            assert (status, answered.get("access-control-allow-origin") == "*") == (expected, allowed), (method, path)

        awaited = tmp_path / "awaited"
        waiting = [pool.submit(ask, server, awaited) for ask in (_until_let_in, _until_let_in_over_grpc)]
        status, body = _until_full(server)
        assert status == 429 and "2 requests" in body["error"]
        with pytest.raises(grpc.RpcError) as caught:
            server.predict("halver", x=np.float32([1]))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

        exit_code = pool.submit(server.stop)
        _until_closed(server)
        assert not any(request.done() for request in (*waiting, exit_code))
        awaited.touch()
        assert waiting[0].result()[:2] == (200, {"outputs": [True]})
        assert waiting[1].result()["found"].tolist() == [True]
        assert exit_code.result() == 0


def test_a_request_that_takes_too_long_is_stopped(model_dir, tmp_path):
    with running(f"--model_dir={model_dir}", "--timeout_seconds=0.5", log=tmp_path / "log") as server:
        status, body, _ = server.rest("POST", PREDICT, _wait(tmp_path / "never"))
        assert (status, body) == (504, {"error": "Timed out waiting for notification"})
        assert server.rest("POST", PREDICT, {"instances": [1]})[0] == 200
        # So is one whose body does not come.
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 504 ")
        # A port that is taken is said at once.
        taken = running(f"--model_dir={model_dir}", f"--rest_port={server.rest_port}", log=tmp_path / "second")
        with pytest.raises(ServerFailed), taken:
            pass
        told = (tmp_path / "second").read_text()
        assert "error: REST port" in told and "another --rest_port" in told and "Traceback" not in told


@pytest.mark.slow
def test_the_server_of_a_program_that_is_killed_ends(model_dir, tmp_path):
    code = (
        "import pathlib, sys; from export.server.child import server_process\n"
        f"with server_process(['--model_dir={model_dir}'], pathlib.Path({str(tmp_path / 'log')!r})) as server:\n"
        "    print(server.process.pid, flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as program:
        server = os.pidfd_open(int(program.stdout.readline()))
        program.kill()
    try:
        assert select.select([server], [], [], 60)[0] == [server], "it still serves"
    finally:
        os.close(server)


def test_bodies_that_are_read_at_once_have_a_bound_in_all():
    api, going_on = RestApi(SimpleNamespace(largest=4), "", cors=False), asyncio.Event()

    async def slowly():
        yield b"1234"
        await going_on.wait()

    async def at_once():
        reading = [asyncio.create_task(api._body(SimpleNamespace(stream=slowly, headers={}))) for _ in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="is reading have 68 bytes"):
            await asyncio.wait_for(api._body(SimpleNamespace(stream=slowly, headers={})), 60)
        going_on.set()
        assert await asyncio.gather(*reading) == [b"1234"] * 16
        return await api._body(SimpleNamespace(stream=slowly, headers={}))

    assert asyncio.run(at_once()) == b"1234"


def test_the_time_of_a_request_is_that_of_its_body_and_of_its_answer(monkeypatch):
    given = []

    async def answered(spec, answer, timeout):
        given.append(timeout)
        return 1, b"{}"

    async def body():
        yield b"{}"

    calls = SimpleNamespace(largest=4, timeout=10.0, counted=lambda *_: contextlib.nullcontext(), predict=answered)
    for seconds, left in ((4.0, 6.0), (11.0, 0.0)):
        monkeypatch.setattr(rest, "time", SimpleNamespace(monotonic=iter((100.0, 100.0 + seconds)).__next__))
        asyncio.run(RestApi(calls, "", cors=False)._predict(SimpleNamespace(stream=body, headers={}), ModelSpec()))
        assert given.pop() == left


def _until_let_in(server, path):
    """The short requests of `_until_full` take a place at times."""
    while (answer := server.rest("POST", PREDICT, _wait(path)))[0] == 429:
        pass
    return answer


def _until_let_in_over_grpc(server, path):
    while True:
        try:
            return server.predict("halver", "wait", path=[str(path)])
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise


def _until_full(server):
    for _ in range(10_000):
        if (answer := server.rest("POST", PREDICT, {"instances": [1]}))[0] != 200:
            return answer[:2]
    raise AssertionError("the long request never began.")


def _until_closed(server):
    """The port of REST is closed first of all."""
    while True:
        try:
            server.rest("GET", "/v1/models/halver")
        except (OSError, http.client.HTTPException):
            return


def test_a_server_that_is_told_to_stop_gives_up_loading(tmp_path, monkeypatch):
    """The version at hand ends in its thread; those after it are not begun, and nobody is told that it is ready."""
    given_up, begun = threading.Event(), []

    def load(directory):
        begun.append(directory.name)
        signal.raise_signal(signal.SIGTERM)
        assert given_up.wait(60)
        return SimpleNamespace(close=lambda: None)

    async def life():
        await embedded.serve(options, lambda *_: begun.append("ready"))
        given_up.set()

    for version in ("1", "2"):
        (tmp_path / version).mkdir()
    options = embedded.Options({"one": ModelConfig("one", tmp_path, None)}, grpc_port=0, rest_port=0)
    monkeypatch.setattr(embedded, "_load", load)
    asyncio.run(life())
    assert len(begun) == 1
