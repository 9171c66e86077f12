"""Addresses, settings, retries, timeouts, sizes."""

import contextlib
import os
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from tensorflow_serving.apis import model_pb2

from export.client import ClientError, FewShotClient, RequestError, Settings, grpc_connection
from export.client.connection import connect
from export.client.interface import Choice
from tests.export.client.failing_servers import failing_grpc, failing_http

CODES = grpc.StatusCode
# How a server fails, and the code that the client tells: of those that are asked again, and of those asked once.
BUSY = [
    *((failing_grpc, code, code.name) for code in (CODES.UNAVAILABLE, CODES.RESOURCE_EXHAUSTED)),
    *((failing_http, 503, "UNAVAILABLE"), (failing_http, 429, "RESOURCE_EXHAUSTED")),
]
ONCE = [
    *((failing_grpc, code, code.name) for code in (CODES.INVALID_ARGUMENT, CODES.NOT_FOUND, CODES.DEADLINE_EXCEEDED)),
    *((failing_http, 400, "INVALID_ARGUMENT"), (failing_http, 404, "NOT_FOUND"), (failing_http, 418, "UNKNOWN")),
    *((failing_http, 413, "RESOURCE_EXHAUSTED"), (failing_http, 504, "DEADLINE_EXCEEDED")),
]


def _failure(address, **settings):
    """What a client says that asks there."""
    with FewShotClient(address, "m", Settings(**settings)) as client, pytest.raises(ClientError) as caught:
        client.interface()
    return caught.value


@pytest.mark.parametrize(("make", "failure", "code"), BUSY + ONCE)
def test_busy_servers_are_asked_again_so_often_and_no_oftener_and_others_once(make, failure, code):
    busy = (make, failure, code) in BUSY
    with make(failure, times=9) as server:
        error = _failure(server.address, attempts=2)
        assert (error.code, server.calls) == (code, 1 + busy) and "on purpose" in str(error)
    if busy:
        with make(failure, times=2) as server:
            # An empty list of signatures: what a server that answers gives here.
            assert "received signatures none" in str(_failure(server.address)) and server.calls == 3


def test_servers_that_say_nothing_or_are_not_there():
    for make in (failing_grpc, failing_http):
        with make(None, times=9) as server:
            error = _failure(server.address, timeout=0.2)
            assert (error.code, server.calls) == ("DEADLINE_EXCEEDED", 1) and "--timeout_seconds" in str(error)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for scheme in ("grpc", "http"):
        error = _failure(f"{scheme}://127.0.0.1:{port}", attempts=1)
        assert isinstance(error, RequestError) and error.code == "UNAVAILABLE" and "address" in str(error)


@pytest.mark.parametrize(("status", "calls"), [(413, 1), (503, 2)])
def test_no_server_makes_the_client_wait_for_an_hour(monkeypatch, status, calls):
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    with failing_http(status, times=9, headers={"Retry-After": "3600"}) as server:
        assert "on purpose" in str(_failure(server.address, attempts=2))
        assert server.calls == calls
    assert sum(waits) < 10


def test_large_answers_arrive(server):
    # 2 MiB there, twice that back: more than gRPC takes by default.
    text = np.array([b"x" * 2**20, b"y" * 2**21], object)
    connection = connect(server.addresses["grpc"], "halver", Settings())
    outputs = connection.predict(Choice(version=2), "shout", {"text": text}, {})
    assert [len(value) for name in ("plain", "same_bytes") for value in outputs[name]] == [
        *(2**20 + 1, 2**21 + 1, 2**20, 2**21)
    ]
    connection.close()


def test_a_request_that_no_message_can_hold_is_refused_before_it_is_made():
    picture, zero = b"x" * 2**20, np.zeros((), np.float32)
    # Neither of two is too large alone; nothing here takes the memory that it seems to.
    halves = {name: np.broadcast_to(zero, (1, 2**18, 1025)) for name in ("support_inputs", "query_inputs")}
    files = {"support_inputs_bytes": np.broadcast_to(np.array(picture, object), (1, 2**11))}
    with contextlib.closing(connect("grpc://127.0.0.1:1", "m", Settings(attempts=1))) as connection:
        for inputs in ({"query_inputs": np.broadcast_to(zero, (1, 2**19, 1025))}, halves, files):
            with pytest.raises(ClientError, match=r"less than 2 GiB, received 2\.00 GiB.*--neighbourhood"):
                connection.predict(Choice(), "adapt", inputs, {})


def test_the_largest_request_counts_contents_and_no_pointers(monkeypatch):
    inputs = {"files": np.array([[b"x" * 100, b""]], object), "numbers": np.zeros((1, 5), np.float32)}
    size = 100 + 5 * 4
    for largest in (size - 1, size + 20):
        monkeypatch.setattr(grpc_connection, "_LARGEST", largest)
        refused = pytest.raises(ClientError, match="2 GiB") if largest < size else contextlib.nullcontext()
        with refused:
            made = grpc_connection.predict_request(model_pb2.ModelSpec(name="m"), "adapt", inputs)
    assert set(made.inputs) == set(inputs)


ADDRESSES = ["127.0.0.1:8500", "ftp://host:1", "grpc://host", "http://", "http://host:port", "http://u:p@host:1"]
CLIENTS = [
    *((address, "m", {}, "grpc://") for address in (*ADDRESSES, "http://h:1?q", "")),
    ("http://h", "m", {"version": 1, "version_label": "stable"}, "version and label"),
    ("http://h", "", {}, "name"),
    *(("http://h", "m", {"version": version}, "version") for version in (-1, 2**63)),
]
SETTINGS = [
    *(({"timeout": timeout}, "timeout") for timeout in (0, float("inf"))),
    *(({"attempts": attempts}, "1 to 5") for attempts in (0, 6)),
    ({"certificate": "x"}, "together"),
    *(({"ca_certificate": f"{name}.pem"}, rf"{name}\.pem") for name in ("nothing", "bad")),
    ({"certificate": "bad.pem", "key": "bad.pem"}, r"bad\.pem"),
]


def test_addresses_choices_and_settings_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.pem").write_text("rubbish")
    for address, model, choice, message in CLIENTS:
        with pytest.raises(ClientError, match=message):
            FewShotClient(address, model, **choice)
    for given, message in SETTINGS:
        with pytest.raises(ClientError, match=message):
            Settings(**{name: Path(value) if isinstance(value, str) else value for name, value in given.items()})


def test_the_authority_that_was_given_counts_more_than_the_environment(monkeypatch):
    authority, used = Path(requests.certs.where()), []

    def send(self, request, **options):
        used.append(options["verify"])
        raise requests.ConnectionError("seen")

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.path.realpath(__file__))
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    assert "seen" in str(_failure("https://h", ca_certificate=authority)) and used == [str(authority)]
