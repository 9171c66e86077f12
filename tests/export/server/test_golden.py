"""What a real TensorFlow Serving was recorded to answer, and where this server differs on purpose."""

import importlib.util
from pathlib import Path

import pytest

from tests.export.server.running import running
from tests.helpers.programs import ROOT

_SHARED = ROOT.parent / "shared"
_DATA, _TOOL = _SHARED / "data" / "tfserving_golden", _SHARED / "tools" / "replay_golden.py"

pytestmark = pytest.mark.skipif(
    not (_DATA.is_dir() and _TOOL.is_file()), reason="the recorded exchanges are not beside this checkout"
)

# docs/SERVING.md says why: exports have no classify and regress, and requests are never joined here.
_CLASSIFY = ("classify_empty", "regress", "regress_empty", "regress_model_unknown", "multi_inference_empty")
DIFFERENCES = {"rest.http.regress", *(f"grpc.other.{name}" for name in _CLASSIFY)}
DIFFERENCES |= {f"rest.batching.{name}" for name in ("scalar", "unequal_tasks")}
DIFFERENCES |= {f"grpc.batching.{name}" for name in ("scalar", "too_large")}
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
        target = tool.Target(server.addresses["http"], server.grpc_address, str(tmp_path), str(_DATA))
        differing = {}
        for record in records:
            target.before(record.get("before", []))
            if difference := tool.difference(record, target.send(record)):
                differing[record["id"]] = difference
    on_purpose = {record["id"] for record in records} & DIFFERENCES
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
    return [*result, f"--metrics_path={metrics_path}"]  # Off in TensorFlow Serving unless asked for.
