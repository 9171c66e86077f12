"""Retries, timeouts, sizes, addresses."""

from __future__ import annotations

import socket

import grpc
import numpy as np
import pytest

from export.client import ClientError, FewShotClient, RequestError, Settings
from export.client.connection import connect
from export.client.interface import Choice
from tests.export.client.failing_servers import failing_grpc, failing_http

# An empty list of signatures: what a server that answers gives here.
ANSWERED = "with a signature serving_default that adapts and predicts, received signatures none"


@pytest.mark.parametrize(
    "make, failure",
    [
        (failing_grpc, grpc.StatusCode.UNAVAILABLE),
        (failing_grpc, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (failing_http, 503),
        (failing_http, 429),
    ],
)
def test_busy_servers_are_asked_again_so_often_and_no_oftener(make, failure):
    with make(failure, times=2) as server, FewShotClient(server.address, "m") as client:
        with pytest.raises(ClientError, match=ANSWERED):
            client.interface()
        assert server.calls == 3
    with make(failure, times=9) as server, FewShotClient(server.address, "m", Settings(attempts=2)) as client:
        with pytest.raises(RequestError, match="on purpose") as caught:
            client.interface()
        assert server.calls == 2
        assert caught.value.code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize(
    "make, failure, code",
    [
        (failing_grpc, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (failing_grpc, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (failing_grpc, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (failing_http, 400, "INVALID_ARGUMENT"),
        (failing_http, 404, "NOT_FOUND"),
        (failing_http, 413, "RESOURCE_EXHAUSTED"),
        (failing_http, 504, "DEADLINE_EXCEEDED"),
        (failing_http, 418, "UNKNOWN"),
    ],
)
def test_what_would_fail_again_is_asked_once(make, failure, code):
    with make(failure, times=9) as server, FewShotClient(server.address, "m") as client:
        with pytest.raises(RequestError, match="on purpose") as caught:
            client.interface()
        assert (server.calls, caught.value.code) == (1, code)


def test_servers_that_say_nothing_or_are_not_there():
    for make in (failing_grpc, failing_http):
        with make(None, times=9) as server, FewShotClient(server.address, "m", Settings(timeout=0.2)) as client:
            with pytest.raises(RequestError, match="--timeout_seconds") as caught:
                client.interface()
            assert (caught.value.code, server.calls) == ("DEADLINE_EXCEEDED", 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for scheme in ("grpc", "http"):
        with FewShotClient(f"{scheme}://127.0.0.1:{port}", "m", Settings(attempts=1)) as client:
            with pytest.raises(RequestError, match="Check the address") as caught:
                client.interface()
            assert caught.value.code == "UNAVAILABLE"


def test_large_answers_arrive(server):
    # 2 MiB there, twice that back: more than gRPC takes by default.
    text = np.array([b"x" * 2**20, b"y" * 2**21], object)
    connection = connect(f"grpc://{server.grpc_address}", "halver", Settings())
    outputs = connection.predict(Choice(version=2), "shout", {"text": text}, {})
    assert [len(value) for value in outputs["plain"]] == [2**20 + 1, 2**21 + 1]
    assert sum(map(len, [*outputs["plain"], *outputs["same_bytes"]])) > 4 * 2**20
    connection.close()
