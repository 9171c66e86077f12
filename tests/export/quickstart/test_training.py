"""The quickstart from beginning to end, with a budget of next to nothing."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from cml_tf.experiments.runs import RunError
from export.quickstart.plan import CML, MAML, SINUSOID
from export.quickstart.training import train_and_report
from tests.helpers.small_quickstart import small_plan

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[3]


def _quickstart(plan):
    printed = io.StringIO()
    train_and_report(plan, Console(file=printed, width=200), verbose=0)
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished quickstart: its directory, plan and what it printed."""
    workdir = tmp_path_factory.mktemp("quickstart")
    plan = small_plan(workdir)
    return workdir, plan, _quickstart(plan)


def test_it_trains_scores_and_reports(finished):
    workdir, plan, printed = finished
    for stage in range(1, 7):
        assert f"{stage}/6" in printed
    for command in plan.next_commands():
        assert command.text in printed
    for name, metric in ((MAML, "accuracy"), (CML, "accuracy"), (SINUSOID, "mse")):
        lines = [json.loads(line) for line in (workdir / name / "metrics.jsonl").read_text().splitlines()]
        assert [(line["step"], line["split"]) for line in lines] == [
            (step, split) for step in (1, 2) for split in ("train", "validation")
        ]
        assert all(metric in line for line in lines)
    page = (workdir / "report.html").read_text()
    difference = next(line for line in printed.splitlines() if "CML − MAML" in line).split("│")[2].strip()
    assert difference in page
    pictures = sorted(workdir.glob("*.png"))
    assert len(pictures) == 5
    for picture in pictures:
        assert f'src="{picture.name}"' in page
        with Image.open(picture) as image:
            assert image.format == "PNG" and min(image.size) > 300


def test_finished_runs_are_used_again_and_others_refused(finished):
    workdir, plan, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/checkpoints/*")}
    page = (workdir / "report.html").read_text()
    assert before
    _quickstart(plan)
    assert {path: path.stat().st_mtime_ns for path in workdir.glob("*/checkpoints/*")} == before
    assert (workdir / "report.html").read_text() == page
    with pytest.raises(RunError, match=r"train\.rate"):
        _quickstart(small_plan(workdir, **{"train.rate": 0.5}))
    assert (workdir / "report.html").read_text() == page


def test_a_training_by_hand_in_a_fresh_process_is_the_quickstarts(finished, tmp_path):
    # CML is the second run of the quickstart's process; by hand it is the first of its own.
    _, plan, _ = finished
    line = shlex.split(plan.reproduce()[1].text.splitlines()[1])
    by_hand = tmp_path / "by hand"
    words = [sys.executable, *(f"--workdir={by_hand}" if word.startswith("--workdir") else word for word in line[1:])]
    subprocess.run([*words, "--verbose=0"], cwd=_ROOT, check=True, capture_output=True, timeout=300)

    def scores(workdir):
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "tasks_per_second"} for line in lines]

    assert scores(by_hand) == scores(plan.run_directory(CML))


def test_the_program_refuses_a_foreign_directory_in_one_line(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    words = [sys.executable, "-m", "export.quickstart", f"--workdir={tmp_path}"]
    result = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
