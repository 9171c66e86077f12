"""The quickstart from beginning to end, with a budget of next to nothing."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from cml_tf.experiments.runs import RunError
from export.client import Adapted
from export.quickstart import serving
from export.quickstart.plan import CML, MAML, SINUSOID
from export.quickstart.training import train_and_report
from tests.helpers.programs import ROOT, environment
from tests.helpers.small_quickstart import small_plan

pytestmark = pytest.mark.slow


def _quickstart(plan):
    printed = io.StringIO()
    train_and_report(plan, Console(file=printed, width=200), verbose=0)
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished first half: its directory, plan and what it printed."""
    workdir = tmp_path_factory.mktemp("quickstart")
    plan = small_plan(workdir)
    return workdir, plan, _quickstart(plan)


def test_it_trains_scores_and_reports(finished):
    workdir, plan, printed = finished
    for told in (*(f"{stage}/6" for stage in range(1, 7)), *(command.text for command in plan.next_commands())):
        assert told in printed
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
    subprocess.run([*words, "--verbose=0"], cwd=ROOT, check=True, capture_output=True, timeout=300)

    def scores(workdir):
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "tasks_per_second"} for line in lines]

    assert scores(by_hand) == scores(plan.run_directory(CML))


@pytest.fixture(scope="module")
def served(finished):
    """What the second half printed until it served, and its exit code after a Ctrl-C."""
    code = (
        "from pathlib import Path; from rich.console import Console; from export.quickstart import serving; "
        f"serving.export_and_serve(Path({str(finished[0])!r}), Console(width=200), 0, True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "export.client.predict" in line:
            break
    # As a terminal does: to all of its processes.
    os.killpg(process.pid, signal.SIGINT)
    ended = process.wait(60)
    process.stdout.close()
    return "".join(printed), ended


def test_it_exports_adapts_and_serves_until_told(finished, served):
    workdir, (printed, ended) = finished[0], served
    assert ended == 0
    assert "3/3" in printed and "75 others classified correctly" in printed
    assert re.findall(r"http://127\.0\.0\.1:\d+/playground/\?model=(\w+)", printed) == ["letters", "waves"]
    assert (workdir / "letters.html").read_text().count("data:image/png") == 5 + 75
    adapted = Adapted.load(workdir / "letters" / "task.npz")
    assert adapted.model == "letters" and len(adapted.class_names) == 5
    assert sorted(path.name for path in (workdir / "letters" / "support").iterdir()) == list(adapted.class_names)


def test_a_second_time_nothing_is_exported_anew(finished, served, monkeypatch):
    workdir = finished[0]
    monkeypatch.setattr(serving, "export_run", None)
    for run, model in ((CML, "letters"), (SINUSOID, "waves")):
        version = serving._exported(workdir / run, workdir / "models" / model)
        assert version.name == "1" and [path.name for path in version.parent.iterdir()] == ["1"]


def test_without_a_terminal_it_says_how_to_serve():
    printed, config = io.StringIO(), Path("models/models.config")
    serving._conclude(Console(file=printed, width=40), Path("quickstart"), config, None, False)
    assert f"-m export.serve --model_config_file={config} --playground\n" in printed.getvalue()
    assert "export.client.predict --adapted=quickstart/letters/task.npz" in printed.getvalue()
