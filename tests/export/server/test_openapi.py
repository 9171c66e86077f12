"""The description of the REST interface: requests made from it are answered as it says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from export.server import rest
from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver

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
def test_requests_made_from_the_description_are_answered_as_it_says(tmp_path):
    write_halver(tmp_path / "halver" / "1", 1.0)
    # The phase "coverage" finds one thing: a version beyond 2**63 - 1 is answered with an empty body, as in TensorFlow
    # Serving.
    # Names of models at random would hardly ever be that of one.
    model = '{type: string, minLength: 1, pattern: "^[^/:?]+$"}}\n    version'
    text = DESCRIPTION.read_text(encoding="utf-8")
    assert model in text
    (tmp_path / "openapi.yaml").write_text(text.replace(model, "{enum: [halver, other]}}\n    version"))
    with running(f"--model_dir={tmp_path / 'halver'}", log=tmp_path / "log") as server:
        command = ["from schemathesis.cli import schemathesis; schemathesis()", "run", str(tmp_path / "openapi.yaml")]
        flags = [f"--url=http://{server.rest_address}", f"--checks={CHECKS}", "--seed=0", "--phases=fuzzing"]
        done = subprocess.run(
            [sys.executable, "-c", *command, *flags, "--generation-database=none", "--max-examples=60"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
        assert server.rest("POST", "/v1/models/halver:predict", {"inputs": [2.0]})[1] == {"outputs": [2.0]}
