"""docs/ANALYSES.md: its examples run as they stand, and it lists what there is."""

import re

import pytest

from cml_tf.studies.analyses.figures import ANALYSES
from tests.helpers.documents import ROOT, blocks, read, run_document

DOCUMENT = read("docs/ANALYSES.md")


def first_cells(heading: str) -> list[str]:
    lines = DOCUMENT[DOCUMENT.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1].strip().strip("`") for line in lines]


def test_analyses_and_flags_are_those_of_the_program():
    assert first_cells("analysis") == [analysis.name for analysis in ANALYSES]
    for analysis in ANALYSES:
        assert f"| `{analysis.name}` | {analysis.paper} |" in DOCUMENT
    source = (ROOT / "cml_tf/analyse.py").read_text(encoding="utf-8")
    defined = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source)
    assert sorted(first_cells("flag")) == sorted(f"--{name}" for name in defined)
    text = "".join(block.text for block in blocks(DOCUMENT, "sh") if not block.runs).replace("\\\n", "")
    commands = [line for line in text.splitlines() if "cml_tf.analyse" in line]
    used = {name for line in commands for name in re.findall(r"--(\w+)=", line)}
    assert {"workdirs", "names"} <= used <= set(defined)


@pytest.mark.slow
@pytest.mark.long
def test_examples_run(tmp_path):
    printed = run_document(DOCUMENT, tmp_path).printed
    made = {path.name for path in (tmp_path / "runs/waves").iterdir()}
    files = {f"{name}.{kind}" for name in ("gradient_cosine", "linear_cka") for kind in ("csv", "png", "svg")}
    assert made == files | {"index.json"}
    assert printed.strip() == "1.0"
