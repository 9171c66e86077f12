"""A server that is full, out of time, or told to stop."""

from __future__ import annotations

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from export.server.child import ServerFailed
from tests.export.server.running import running
from tests.export.server.tiny_models import WaitingHalver, write_halver

PREDICT = "/v1/models/halver:predict"


def wait(path):
    """A request that is answered once `path` exists."""
    return {"signature_name": "wait", "inputs": [str(path)]}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("limited") / "halver"
    directory.mkdir()
    write_halver(directory / "1", 1.0, kind=WaitingHalver)
    return directory


def _check_other_origins(server):
    origin = {"Origin": "http://example.com"}
    for path, headers, status, allowed in (
        (PREDICT, origin, 200, "*"),
        (PREDICT, {}, 200, "*"),
        ("/v1/nothing", {}, 400, "*"),
        ("/nothing", origin, 404, None),
    ):
        received, _, answered = server.rest("POST", path, {"instances": [1]}, headers)
        assert (received, answered.get("access-control-allow-origin")) == (status, allowed), path
    for path, headers, status in ((PREDICT, origin, 200), (PREDICT, {}, 400), ("/nothing", origin, 404)):
        received, _, answered = server.rest("OPTIONS", path, None, headers)
        assert (received, "access-control-allow-origin" in answered) == (status, status != 404), path


def test_full_out_of_time_and_draining(model_dir, tmp_path):
    flags = [f"--model_dir={model_dir}", "--max_concurrent_requests=2", "--max_queued_requests=0", "--cors"]
    with running(*flags, "--timeout_seconds=120", log=tmp_path / "log") as server, ThreadPoolExecutor(3) as pool:
        _check_other_origins(server)

        awaited = tmp_path / "awaited"
        over_rest = pool.submit(_until_let_in, server, wait(awaited))
        over_grpc = pool.submit(_until_let_in_over_grpc, server, awaited)
        refused = _until_full(server)
        assert refused[0] == 429 and "2 requests are running" in refused[1]["error"]
        with pytest.raises(grpc.RpcError) as caught:
            server.predict("halver", x=np.float32([1]))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not over_rest.done() and not over_grpc.done()

        exit_code = pool.submit(server.stop)
        _until_closed(server)
        assert not over_rest.done() and not over_grpc.done() and not exit_code.done()
        awaited.touch()
        assert over_rest.result()[:2] == (200, {"outputs": [True]})
        assert over_grpc.result()["found"].tolist() == [True]
        assert exit_code.result() == 0


def test_a_request_that_takes_too_long_is_stopped(model_dir, tmp_path):
    with running(f"--model_dir={model_dir}", "--timeout_seconds=0.5", log=tmp_path / "log") as server:
        status, body, _ = server.rest("POST", PREDICT, wait(tmp_path / "never"))
        assert (status, body) == (504, {"error": "Timed out waiting for notification"})
        assert server.rest("POST", PREDICT, {"instances": [1]})[0] == 200
        # So is one whose body does not come.
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 504 ")
        # A port that is taken is said at once.
        with (
            pytest.raises(ServerFailed, match="did not start"),
            running(f"--model_dir={model_dir}", f"--rest_port={server.rest_port}", log=tmp_path / "second"),
        ):
            pass
        assert "Choose another --rest_port" in (tmp_path / "second").read_text()


def _until_let_in(server, body):
    """The short requests of `_until_full` take a place at times."""
    while (answer := server.rest("POST", PREDICT, body))[0] == 429:
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
        answer = server.rest("POST", PREDICT, {"instances": [1]})
        if answer[0] != 200:
            return answer
    raise AssertionError("the long request never began.")


def _until_closed(server):
    """The port of REST is closed first of all."""
    while True:
        try:
            server.rest("GET", "/v1/models/halver")
        except (OSError, http.client.HTTPException):
            return
