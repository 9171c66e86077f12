"""The project's own record of answers: of the embedded server always, of TensorFlow Serving where one is named.

python -m tests.export.server.conformance.make_models DIRECTORY
CML_TFSERVING_TARGET=host:8500,host:8501 python -m pytest tests/export/server/test_conformance.py
"""

from __future__ import annotations

import copy
import os
from contextlib import closing

import pytest

from tests.export.server.conformance.replay import Target, difference, records

_TARGET = os.environ.get("CML_TFSERVING_TARGET", "")
RECORDS = {record["id"]: record for record in records()}


def test_every_record_has_its_own_name():
    assert len(RECORDS) == len(records()) >= 40


@pytest.fixture(scope="module")
def embedded(server):
    with closing(Target(server.grpc_address, f"127.0.0.1:{server.rest_port}")) as target:
        yield target


@pytest.fixture(scope="module")
def named():
    grpc_address, comma, rest_address = _TARGET.partition(",")
    assert comma, f"CML_TFSERVING_TARGET must be gRPC and REST address, host:8500,host:8501; received {_TARGET!r}."
    with closing(Target(grpc_address, rest_address)) as target:
        yield target


@pytest.mark.parametrize("name", RECORDS)
def test_the_embedded_server_answers_as_recorded(embedded, name):
    assert difference(RECORDS[name], embedded.send(RECORDS[name]["request"])) is None


@pytest.mark.skipif(not _TARGET, reason="CML_TFSERVING_TARGET names no TensorFlow Serving")
@pytest.mark.parametrize("name", RECORDS)
def test_tensorflow_serving_answers_as_recorded(named, name):
    assert difference(RECORDS[name], named.send(RECORDS[name]["request"])) is None


@pytest.mark.parametrize("name", RECORDS)
def test_the_comparison_would_notice(name):
    record = RECORDS[name]
    assert difference(record, record["reply"]) is None
    code = {"status": 418} if "status" in record["reply"] else {"code": "DATA_LOSS"}
    assert difference(record, {**record["reply"], **code}) is not None
    for field in ("body", "details", "message"):
        if record["reply"].get(field):
            other = copy.deepcopy(record["reply"])
            other[field] = {} if field == "message" else "{}"
            assert difference(record, other) is not None


def test_the_comparison_is_about_values():
    tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}, "floatVal": [1.0, 2.0]}
    record = {"reply": {"code": "OK", "message": {"outputs": {"y": tensor}}}}
    near, far = ({**tensor, "floatVal": [1.0, 2.0 + delta]} for delta in (1e-6, 1e-2))
    assert difference(record, {"code": "OK", "message": {"outputs": {"y": near}}}) is None
    assert difference(record, {"code": "OK", "message": {"outputs": {"y": far}}}) is not None
