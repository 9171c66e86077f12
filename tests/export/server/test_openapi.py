"""The description of the REST interface: requests made from it are answered as it says."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from export.server import rest

DESCRIPTION = Path(rest.__file__).with_name("openapi.yaml")
# It refuses classify and regress with 501, so that not every status from 500 on is a fault; 500 itself is in no answer
# of the description.
CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"


def test_it_describes_the_paths_that_the_server_takes():
    paths = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))["paths"]
    assert len(paths) == 9
    patterns = {"get": (rest._STATUS, rest._METADATA), "post": (rest._PREDICT,)}
    for path, item in paths.items():
        (verb,) = item.keys() - {"parameters"}
        made = re.sub(r"\{(\w+)\}", lambda found: "7" if found[1] == "version" else "name", path)
        assert any(pattern.fullmatch(made) for pattern in patterns[verb]), path
        assert "500" not in item[verb]["responses"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="needs schemathesis")
@pytest.mark.parametrize("model", ["halver", "waves"])
def test_requests_made_from_the_description_are_answered_as_it_says(server, model, tmp_path):
    (tmp_path / "openapi.yaml").write_text(yaml.safe_dump(_description(server, model)))
    command = ["from schemathesis.cli import schemathesis; schemathesis()", "run", str(tmp_path / "openapi.yaml")]
    flags = [f"--url=http://{server.rest_address}", f"--checks={CHECKS}", "--seed=0", "--phases=fuzzing"]
    answered = tmp_path / "answered.ndjson"
    done = subprocess.run(
        [sys.executable, "-c", *command, *flags, "--generation-database=none", "--max-examples=60"]
        + ["--report=ndjson", f"--report-ndjson-path={answered}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    exchanges = _exchanges(answered)
    assert any(status == 200 and uri.endswith(f"{model}:predict") for uri, status in exchanges), "none was sound"
    assert server.rest("POST", "/v1/models/halver:predict", {"inputs": [2.0]})[1] == {"outputs": [3.0]}


def _exchanges(report: Path) -> list[tuple[str, int]]:
    """Address and status of all requests that were made."""
    events = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    scenarios = [event["ScenarioFinished"] for event in events if "ScenarioFinished" in event]
    made = [exchange for scenario in scenarios for exchange in scenario["recorder"]["interactions"].values()]
    return [(one["request"]["uri"], one["response"]["status_code"]) for one in made if one["response"]]


def _description(server, model: str) -> dict:
    """The description, with names and requests of one model: at random they would hardly ever be."""
    document = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
    parts = document["components"]
    parts["parameters"]["model"]["schema"] = {"enum": [model, "other"]}
    # A version beyond 2**63 - 1 is answered with an empty body, as in TensorFlow Serving, and is no JSON.
    parts["parameters"]["version"]["schema"] = {"enum": ["1", "2", "7"]}
    signatures = server.rest("GET", f"/v1/models/{model}/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    told = [_request(name, signature["inputs"]) for name, signature in signatures.items() if signature["inputs"]]
    parts["schemas"]["Request"] = {"anyOf": [*told, parts["schemas"]["Request"]]}
    return document


def _request(signature: str, inputs: dict) -> dict:
    """The schema of requests for a signature."""
    columns = {name: _values(told) for name, told in inputs.items()}
    return {
        "type": "object",
        "required": ["signature_name", "inputs"],
        "additionalProperties": False,
        "properties": {
            "signature_name": {"const": signature},
            "inputs": {"type": "object", "required": [*columns], "additionalProperties": False, "properties": columns},
        },
    }


def _values(told: dict) -> dict:
    """The schema of a tensor: nested lists of so many values, of two where any number will do."""
    kind = "number" if told["dtype"] == "DT_FLOAT" else "integer"
    schema = {"type": kind, "minimum": 1, "maximum": 2}
    for size in (int(dimension["size"]) for dimension in reversed(told["tensor_shape"]["dim"])):
        length = 2 if size < 0 else size
        schema = {"type": "array", "minItems": length, "maxItems": length, "items": schema}
    return schema
