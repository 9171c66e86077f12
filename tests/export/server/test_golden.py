"""What a real TensorFlow Serving was recorded to answer, and where this server differs on purpose."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.export.server.running import ROOT, running

_SHARED = ROOT.parent / "shared"
_DATA = _SHARED / "data" / "tfserving_golden"
_TOOL = _SHARED / "tools" / "replay_golden.py"

pytestmark = pytest.mark.skipif(
    not (_DATA.is_dir() and _TOOL.is_file()), reason="the recorded exchanges are not beside this checkout"
)

_EXAMPLES = "tf.Example: exports of this project have no classify and regress; UNIMPLEMENTED says so"
_BATCHING = "batching: requests are never joined here, so a request that cannot be joined is answered"
# docs/SERVING.md lists the same.
DIFFERENCES = {
    "rest.http.regress": _EXAMPLES,
    "grpc.other.classify_empty": _EXAMPLES,
    "grpc.other.regress": _EXAMPLES,
    "grpc.other.regress_empty": _EXAMPLES,
    "grpc.other.regress_model_unknown": _EXAMPLES,
    "grpc.other.multi_inference_empty": _EXAMPLES,
    "rest.batching.scalar": _BATCHING,
    "rest.batching.unequal_tasks": _BATCHING,
    "grpc.batching.scalar": _BATCHING,
    "grpc.batching.too_large": _BATCHING,
}
_QUICK = ("affine", "fewshot")
_OTHERS = (
    *("batching", "cors", "health", "labels", "prometheus", "prometheus_path"),
    *("seq_reload_file", "seq_reload_rpc", "seq_remove", "tensor_content", "timeout"),
)


def test_every_recorded_server_is_replayed():
    assert sorted(_records()[1]) == sorted((*_QUICK, *_OTHERS))


@pytest.mark.parametrize("name", [*_QUICK, *(pytest.param(other, marks=pytest.mark.slow) for other in _OTHERS)])
def test_replay(name, tmp_path):
    tool, groups = _records()
    records = groups[name]
    flags = _translated(tool.prepare(str(tmp_path), records[0]["server"], str(_DATA)))
    with running(*flags, log=tmp_path / "log") as server:
        target = tool.Target(f"http://127.0.0.1:{server.rest_port}", server.grpc_address, str(tmp_path), str(_DATA))
        differing = {}
        for record in records:
            target.before(record.get("before", []))
            difference = tool.difference(record, target.send(record))
            if difference:
                differing[record["id"]] = difference
    on_purpose = {record["id"] for record in records} & DIFFERENCES.keys()
    assert not {key: text for key, text in differing.items() if key not in on_purpose}
    assert differing.keys() >= on_purpose, "the table lists differences that are none"


def _records():
    spec = importlib.util.spec_from_file_location("replay_golden", _TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool, tool.by_server(tool.load([_DATA / "rest.jsonl", _DATA / "grpc.jsonl"]))


_RENAMED = {"--model_base_path": "--model_dir", "--rest_api_enable_cors_support": "--cors"}
# There is no such thing here.
_LEFT_OUT = ("--enable_batching", "--batching_parameters_file", "--enable_serialization_as_tensor_content")


def _translated(flags: list[str]) -> list[str]:
    """TensorFlow Serving's flags in this server's words."""
    metrics_path, result = "", []
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--rest_api_timeout_in_ms":
            result.append(f"--timeout_seconds={int(value) / 1000}")
        elif name == "--monitoring_config_file":
            metrics_path = Path(value).read_text().split('path: "')[1].split('"')[0]
        elif name == "--model_config_file_poll_wait_seconds":
            result.append("--reread_model_config_file")
        elif name not in _LEFT_OUT:
            result.append(flag.replace(name, _RENAMED.get(name, name)))
    # Off in TensorFlow Serving unless asked for.
    return [*result, f"--metrics_path={metrics_path}"]
