"""Requests that mean no good: each gets the stated answer, and the server lives on as it was."""

from __future__ import annotations

import contextlib
import http.client
import socket
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.export.server.hostile_grpc import GRPC_ATTACKS, STATUS
from tests.export.server.hostile_http import HTTP_ATTACKS

_PATIENCE = 60
_ROUNDS, _MORE_ROUNDS = 3, 6
# The allocator has its ups and downs; a round whose bodies stayed behind would leave more than ten times as much.
_KIB_PER_ROUND = 1024


def test_there_are_enough_of_them():
    names = [attack.name for attack in (*HTTP_ATTACKS, *GRPC_ATTACKS)]
    assert len(names) >= 200 and len(set(names)) == len(names)


def test_http_attacks_get_the_stated_answers(server):
    wrong = [f"{attack.name}: {answer}" for attack in HTTP_ATTACKS if (answer := _unlike_http(server, attack))]
    assert not wrong, "\n".join(wrong)


def test_grpc_attacks_get_the_stated_answers(server):
    wrong = [f"{attack.name}: {answer}" for attack in GRPC_ATTACKS if (answer := _unlike_grpc(server, attack))]
    assert not wrong, "\n".join(wrong)


def test_none_of_them_is_an_unforeseen_error(server, tmp_path_factory):
    # A request that went wrong inside the server would have left its traceback there.
    logs = list(tmp_path_factory.getbasetemp().glob("served*/log"))
    assert logs and not [log for log in logs if "Traceback" in log.read_text()]


@pytest.mark.slow
def test_memory_is_flat_over_many_rounds(server):
    def rounds(count: int) -> int:
        for _ in range(count):
            for attack in HTTP_ATTACKS:
                _unlike_http(server, attack)
            for attack in GRPC_ATTACKS:
                _unlike_grpc(server, attack)
        return _resident_kib(server.process.pid)

    before = rounds(_ROUNDS)
    grown = rounds(_MORE_ROUNDS) - before
    assert grown < _MORE_ROUNDS * _KIB_PER_ROUND, f"{grown} KiB in {_MORE_ROUNDS} rounds"


def _unlike_http(server, attack):
    """What came back, if it is not what is stated; None if it is."""
    try:
        status, body = _sent_raw(server.rest_port, attack.sent)
    except ConnectionError as error:
        status, body = (attack.status, attack.message) if attack.cut_off else (0, repr(error))
    alike = status == attack.status and attack.message in body.replace('\\"', '"')
    return None if alike and _lives(server) else (status, body[:300])


def _unlike_grpc(server, attack):
    call = server.channel.unary_unary(attack.method, _as_they_are, _as_they_are)
    try:
        response = predict_pb2.PredictResponse.FromString(call(attack.sent, timeout=_PATIENCE))
        code, details = "OK", str(tf.make_ndarray(response.outputs["status"]).tolist())
    except grpc.RpcError as error:
        code, details = error.code().name, error.details()
    alike = code == attack.code and attack.message in details
    return None if alike and _lives(server) else (code, details[:300])


def _sent_raw(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):  # It may have heard enough before the end.
            connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read().decode("utf-8", "replace")


def _lives(server):
    """Whether it still answers on both ports."""
    status, _, _ = server.rest("GET", "/v1/models/halver")
    request = b"\x0a\x08\x0a\x06halver"
    return status == 200 and bool(server.channel.unary_unary(STATUS, _as_they_are, _as_they_are)(request))


def _as_they_are(message: bytes) -> bytes:
    return message


def _resident_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))
