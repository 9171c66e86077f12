"""Recorded requests, hostile ones among them, get the recorded answers, and the server lives on as it was.

`embedded.jsonl` is what the embedded server alone is held to; the others TensorFlow Serving too, where one is named:

python -m tests.export.server.conformance.make_models DIRECTORY
CML_TFSERVING_TARGET=host:8500,host:8501 python -m pytest tests/export/server/test_conformance.py
"""

from __future__ import annotations

import copy
import os
from contextlib import closing
from pathlib import Path

import pytest

from tests.export.server.conformance.replay import Target, difference, records

_TARGET = os.environ.get("CML_TFSERVING_TARGET", "")
_SHARED, _EMBEDDED = records("rest", "grpc"), records("embedded")
RECORDS = {**_SHARED, **_EMBEDDED}
_LIVES = [_SHARED[name] for name in ("rest.status.model", "rest.predict.label", "grpc.status.model")]
_ROUNDS, _MORE_ROUNDS = 3, 6
# The allocator goes up and down by 3 MiB; a round whose bodies stayed behind would leave 17 MiB.
_KIB_PER_ROUND = 3 * 1024


def test_no_record_is_lost():
    assert len(_SHARED) >= 60 and len(_EMBEDDED) >= 270 and not _SHARED.keys() & _EMBEDDED.keys()


@pytest.fixture(scope="module")
def embedded(server):
    with closing(Target(server.grpc_address, f"127.0.0.1:{server.rest_port}")) as target:
        yield target


@pytest.mark.parametrize("name", RECORDS)
def test_the_embedded_server_answers_as_recorded(embedded, name):
    for record in (RECORDS[name], *_LIVES):
        assert difference(record, embedded.send(record)) is None


def test_none_of_them_is_an_unforeseen_error(server, tmp_path_factory):
    # A request that went wrong inside the server would have left its traceback there.
    logs = list(tmp_path_factory.getbasetemp().glob("served*/log"))
    assert logs and not [log for log in logs if "Traceback" in log.read_text()]


@pytest.mark.slow
def test_memory_is_flat_over_many_rounds(server, embedded):
    def rounds(count: int) -> int:
        for record in list(_EMBEDDED.values()) * count:
            embedded.send(record)
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    before = rounds(_ROUNDS)
    grown = rounds(_MORE_ROUNDS) - before
    assert grown < _MORE_ROUNDS * _KIB_PER_ROUND, f"{grown} KiB in {_MORE_ROUNDS} rounds"


@pytest.mark.skipif(not _TARGET, reason="CML_TFSERVING_TARGET names no TensorFlow Serving")
def test_tensorflow_serving_answers_as_recorded():
    grpc_address, comma, rest_address = _TARGET.partition(",")
    assert comma, f"CML_TFSERVING_TARGET must be gRPC and REST address, host:8500,host:8501; received {_TARGET!r}."
    with closing(Target(grpc_address, rest_address)) as named:
        found = {name: difference(record, named.send(record)) for name, record in _SHARED.items()}
    assert not {name: unlike for name, unlike in found.items() if unlike}


def test_the_comparison_would_notice():
    for record in _SHARED.values():
        assert difference(record, record["reply"]) is None
        code = {"status": 418} if "status" in record["reply"] else {"code": "DATA_LOSS"}
        assert difference(record, {**record["reply"], **code}) is not None
        for field in ("body", "details", "message"):
            if record["reply"].get(field):
                other = copy.deepcopy(record["reply"])
                other[field] = {} if field == "message" else "{}"
                assert difference(record, other) is not None
    part = {"reply": {"status": 400, "has": "not compatible"}}
    assert difference(part, {"status": 400, "body": "is not compatible with"}) is None
    for other in ({"status": 400, "body": "is compatible"}, {"status": 200, "body": "not compatible"}):
        assert difference(part, other) is not None


def test_the_comparison_is_about_values():
    tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}, "floatVal": [1.0, 2.0]}
    record = {"reply": {"code": "OK", "message": {"outputs": {"y": tensor}}}}
    near, far = ({**tensor, "floatVal": [1.0, 2.0 + delta]} for delta in (1e-6, 1e-2))
    assert difference(record, {"code": "OK", "message": {"outputs": {"y": near}}}) is None
    assert difference(record, {"code": "OK", "message": {"outputs": {"y": far}}}) is not None
