"""Every request to a server that README.md and the pages in docs/ show is answered as it stands.

Blocks that name the server's address are run whole. Only what differs here is put into their place: the address, the
name of the model, the Python, and for the pictures of the quickstart others under the same paths.
"""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

from tests.export.served import node_request
from tests.helpers.documents import PAGES, blocks, read
from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import ROOT, environment, run_programs

pytestmark = pytest.mark.slow

BLOCKS = {
    f"{page}:{block.line}": block.text
    for page in PAGES
    for block in blocks(read(page), "sh", "python")
    if block.runs and block.asks_server
}
_WAYS = ("curl ", "export.client.adapt", "export.client.predict", '"instances"', "adapt_and_predict_bytes", "--graph=")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    root = tmp_path_factory.mktemp("documented")
    for part in ("support", "queries"):
        # Files of the quickstart are numbered from 1.
        write_classes(root / "runs/quickstart/letters" / part, ["Գ", "ც"], images=2)
    inputs = node_request()
    np.savez(root / "graph.npz", features=inputs["node_features"][0], edges=inputs["edges"][0])
    (root / "support.csv").write_text("1,theory\n2,genetics\n")
    (root / "queries.csv").write_text("3\n4\n")
    return root


@pytest.fixture(scope="module")
def scripts(server):
    """The blocks with what differs here, by place."""
    scripts = dict(BLOCKS)
    for shown, here in {
        **{"127.0.0.1:8500": server.grpc_address, "127.0.0.1:8501": server.rest_address},
        **{"models/letters": "models/images", "--model=letters": "--model=images", ".venv/bin/python": sys.executable},
        **{"curl ": "curl --silent --show-error --noproxy '*' ", "\\\n": " "},
    }.items():
        scripts = {place: script.replace(shown, here) for place, script in scripts.items()}
    return scripts


def _programs(script):
    """The calls of a script that only runs programs of the project; otherwise None."""
    lines = script.splitlines()
    if all(line.startswith(f"{sys.executable} -m ") for line in lines):
        return [shlex.split(line)[2:] for line in lines]
    return None


def test_programs_end_well(scripts, directory):
    calls = [call for script in scripts.values() for call in _programs(script) or []]
    assert len(calls) >= 4
    for call, done in zip(calls, run_programs(calls, directory), strict=True):
        assert done.code == 0, (call, done.err)


@pytest.mark.parametrize("place", BLOCKS)
def test_a_block_is_answered(place, scripts, directory):
    script = scripts[place]
    if _programs(script):
        return
    if script.startswith(("from ", "import ")):
        name = f"block_of_line_{place.rpartition(':')[2]}"
        (directory / f"{name}.py").write_text(script)
        (done,) = run_programs([[name]], directory)
        assert done.code == 0, done.err
        return
    given = {**environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-euc", script], cwd=directory, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = _documents(done.stdout)
    assert len(answers) == BLOCKS[place].count("curl ")
    for answer in answers:
        assert "error" not in answer and {"outputs", "predictions", "model_version_status"} & answer.keys()
        assert "outputs" not in answer or answer["outputs"]["status"] == [0]
        assert all(row["status"] == 0 for row in answer.get("predictions", []))


def test_every_way_to_ask_is_documented():
    assert not [way for way in _WAYS if way not in "".join(BLOCKS.values())]


def _documents(text: str) -> list[dict]:
    """The JSON objects that `curl` printed one after the other, what programs printed left out."""
    decoder, found, start = json.JSONDecoder(), [], text.find("{")
    while start >= 0:
        document, length = decoder.raw_decode(text[start:])
        found.append(document)
        start = text.find("{", start + length)
    return found
