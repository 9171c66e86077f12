"""Recorded requests, hostile ones among them, get the recorded answers, and the server lives on as it was.

`embedded.jsonl` is what the embedded server alone is held to; the others TensorFlow Serving too, where one is named.
Those of `exports.jsonl`, about what exports can have besides, no TensorFlow Serving has been asked yet.

python -m tests.export.server.conformance.make_models DIRECTORY
CML_TFSERVING_TARGET=host:8500,host:8501 python -m pytest tests/export/server/test_conformance.py
"""

import copy
import json
import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from tests.export.conftest import FLAGS
from tests.export.server.conformance.make_models import MODELS, config_text, write_halvers
from tests.export.server.conformance.replay import Target, difference, records
from tests.export.server.running import running

_TARGET = os.environ.get("CML_TFSERVING_TARGET", "")
_SHARED, _EMBEDDED = records("rest", "grpc", "exports"), records("embedded")
RECORDS = {**_SHARED, **_EMBEDDED}
_LIVES = [_SHARED[name] for name in ("rest.predict.label", "grpc.status.model")]


@pytest.fixture(scope="module")
def embedded(server):
    with closing(Target(server.grpc_address, server.rest_address)) as target:
        yield target


def test_no_record_is_lost():
    assert len(_SHARED) >= 120 and len(_EMBEDDED) >= 295 and not _SHARED.keys() & _EMBEDDED.keys()


def test_all_models_that_a_tensorflow_serving_is_asked_for_are_written():
    naming = r'/v1/models/(\w+)|"name": "(\w+)"'
    found = [re.search(naming, json.dumps(record["request"])) for record in _SHARED.values()]
    assert {match[1] or match[2] for match in found if match} == {"halver", "nobody", *MODELS}


@pytest.mark.parametrize("name", RECORDS)
def test_the_embedded_server_answers_as_recorded(embedded, name):
    for record in (RECORDS[name], *_LIVES):
        assert difference(record, embedded.send(record)) is None


def test_none_of_them_is_an_unforeseen_error(server):
    # A request that went wrong inside the server would have left its traceback there.
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_memory_is_flat_over_many_rounds(tmp_path):
    """Of the smallest model, about which nearly all bytes of the records are."""
    path = tmp_path / "models.config"
    path.write_text(config_text({"halver": write_halvers(tmp_path / "halver")}))
    with running(f"--model_config_file={path}", *FLAGS, log=tmp_path / "log") as server:

        def resident_after(rounds: int) -> int:
            with closing(Target(server.grpc_address, server.rest_address)) as target:
                for record in list(_EMBEDDED.values()) * rounds:
                    target.send(record)
            status = Path(f"/proc/{server.pid}/status").read_text()
            return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

        before = resident_after(3)
        # The allocator goes up and down by 3 MiB; a round whose bodies stayed behind would leave 17 MiB.
        assert resident_after(6) - before < 6 * 3 * 1024


@pytest.mark.skipif(not _TARGET, reason="CML_TFSERVING_TARGET names no TensorFlow Serving")
def test_tensorflow_serving_answers_as_recorded():
    with closing(Target(*_TARGET.split(","))) as named:
        found = {name: difference(record, named.send(record)) for name, record in _SHARED.items()}
    assert not {name: unlike for name, unlike in found.items() if unlike}


def test_the_comparison_would_notice():
    tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "2"}]}, "floatVal": [1.0, 2.0]}
    made = {"reply": {"code": "OK", "message": {"outputs": {"y": tensor}}}}
    for delta in (1e-6, 1e-2):
        outputs = {"y": {**tensor, "floatVal": [1.0, 2.0 + delta]}}
        assert (difference(made, {"code": "OK", "message": {"outputs": outputs}}) is None) == (delta < 1e-4)
    part = {"reply": {"status": 400, "has": "not compatible"}}
    for status, body, alike in (
        (400, "is not compatible with", True),
        (400, "compatible", False),
        (200, "not compatible", False),
    ):
        assert (difference(part, {"status": status, "body": body}) is None) == alike
    for record in (record for record in _SHARED.values() if "has" not in record["reply"]):
        assert difference(record, record["reply"]) is None
        code = {"status": 418} if "status" in record["reply"] else {"code": "DATA_LOSS"}
        others = [{**copy.deepcopy(record["reply"]), **code}]
        others += [{**record["reply"], field: "{}"} for field in ("body", "details") if record["reply"].get(field)]
        assert all(difference(record, other) for other in others)
