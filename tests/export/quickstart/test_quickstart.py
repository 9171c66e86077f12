"""The quickstart from beginning to end, with a budget of next to nothing."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from cml_tf.experiments.stored import RunError
from export.client import Adapted
from export.quickstart import plan as plans
from export.quickstart import serving, training
from export.quickstart.plan import CML, IMAGE_OVERRIDES, MAML, SINUSOID, WAVE_OVERRIDES, Plan
from tests.helpers.programs import ROOT, environment

pytestmark = pytest.mark.slow

_TINY = {"train.steps": 2, "train.validate_every": 1, "train.validation_episodes": 2, "train.meta_batch": 1}
_TINY |= {"adaptation.steps": 1, "adaptation.eval_steps": 1}


def _plan(workdir: Path, **images) -> Plan:
    """Two meta-steps a run."""
    small = {"learner.filters": 4, "dataset.queries": 2, "eval.queries": 2}
    made = {**IMAGE_OVERRIDES, **_TINY, **small, **images}
    return Plan(workdir, episodes=4, images=made, waves={**WAVE_OVERRIDES, **_TINY, "learner.hidden": (8,)})


class _Here(Executor):
    """In the place of the second process, which would import TensorFlow and know nothing of patches."""

    def submit(self, function, /, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


def _quickstart(plan):
    printed = io.StringIO()
    training.train_and_report(plan, Console(file=printed, width=200), verbose=0)
    return printed.getvalue()


@pytest.fixture(scope="module")
def evaluations():
    """Scores that were computed, by run, split, episodes and inner steps; they are computed once.

    Second derivatives would be most of what is traced; what the plan says is in test_plan_and_page.py.
    """
    known, honest, words = {}, training.evaluate_run, plans._glyphs

    def evaluate(*given):
        if given not in known:
            known[given] = honest(*given)
        return known[given]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "evaluate_run", evaluate)
        patch.setattr(training, "second_process", _Here)
        patch.setattr(plans, "_glyphs", lambda name: f"{words(name)},first_order")
        yield known


@pytest.fixture(scope="module")
def finished(tmp_path_factory, evaluations):
    """A finished first half: its directory, plan and what it printed."""
    workdir = tmp_path_factory.mktemp("quickstart")
    return workdir, _plan(workdir), _quickstart(_plan(workdir))


def test_it_trains_scores_and_reports(finished, evaluations):
    workdir, plan, printed = finished
    for told in (*(f"{stage}/5" for stage in range(1, 6)), *(command.text for command in plan.next_commands())):
        assert told in printed
    assert [(given[0].name, *given[1:]) for given in evaluations] == [
        (CML, "test", 4, None),
        *((SINUSOID, "test", 4, steps) for steps in (0, 1, 5)),
        (MAML, "test", 4, None),
    ]
    for name, metric in ((MAML, "accuracy"), (CML, "accuracy"), (SINUSOID, "mse")):
        lines = [json.loads(line) for line in (workdir / name / "metrics.jsonl").read_text().splitlines()]
        told = [(line["step"], line["split"]) for line in lines if metric in line]
        assert told == [(step, split) for step in (1, 2) for split in ("train", "validation")]
    page = (workdir / "report.html").read_text()
    difference = next(line for line in printed.splitlines() if "CML − MAML" in line).split("│")[2].strip()
    pictures = sorted(workdir.glob("*.png"))
    assert difference in page and len(pictures) == 5
    for picture in pictures:
        assert f'src="{picture.name}"' in page
        with Image.open(picture) as image:
            assert image.format == "PNG" and min(image.size) > 300


def test_finished_runs_are_used_again_and_others_refused(finished, monkeypatch):
    workdir, plan, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/checkpoints/*")}
    page = (workdir / "report.html").read_text()
    _quickstart(plan)
    assert before and {path: path.stat().st_mtime_ns for path in workdir.glob("*/checkpoints/*")} == before
    # Before one of the runs is trained.
    monkeypatch.setattr(training, "train_run", None)
    with pytest.raises(RunError, match=r"train\.rate"):
        _quickstart(_plan(workdir, **{"train.rate": 0.5}))
    assert (workdir / "report.html").read_text() == page


def test_a_training_by_hand_in_a_fresh_process_is_the_quickstarts(finished, tmp_path):
    # CML is the second run of the quickstart's process; by hand it is the first of its own.
    plan, by_hand = finished[1], tmp_path / "by hand"
    line = shlex.split(plan.reproduce()[1].text.splitlines()[1])
    words = [sys.executable, *(f"--workdir={by_hand}" if word.startswith("--workdir") else word for word in line[1:])]
    subprocess.run([*words, "--verbose=0"], cwd=ROOT, check=True, capture_output=True, timeout=300)

    def scores(workdir):
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "tasks_per_second"} for line in lines]

    assert scores(by_hand) == scores(plan.run_directory(CML))


def test_it_exports_adapts_and_serves_until_told_and_a_second_time_exports_nothing(finished, monkeypatch):
    workdir = finished[0]
    code = (
        "from pathlib import Path; from rich.console import Console; from export.quickstart import serving; "
        f"serving.export_and_serve(Path({str(workdir)!r}), Console(width=200), 0, True)"
    )
    given = {"cwd": ROOT, "env": environment(), "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], **given) as process:
        printed = ""
        while "export.client.predict" not in printed and (line := process.stdout.readline()):
            printed += line
        # As a terminal does: to all of its processes.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert "3/3" in printed and "75 others classified correctly" in printed
    assert re.findall(r"http://127\.0\.0\.1:\d+/playground/\?model=(\w+)", printed) == ["letters", "waves"]
    assert (workdir / "letters.html").read_text().count("data:image/png") == 5 + 75
    adapted = Adapted.load(workdir / "letters" / "task.npz")
    assert adapted.model == "letters" and len(adapted.class_names) == 5
    assert sorted(path.name for path in (workdir / "letters" / "support").iterdir()) == list(adapted.class_names)
    monkeypatch.setattr(serving, "export_run", None)
    for run, model in ((CML, "letters"), (SINUSOID, "waves")):
        version = serving._exported(workdir / run, workdir / "models" / model)
        assert version.name == "1" and [path.name for path in version.parent.iterdir()] == ["1"]


def test_without_a_terminal_it_says_how_to_serve():
    printed, config = io.StringIO(), Path("models/models.config")
    serving._conclude(Console(file=printed, width=40), Path("quickstart"), config, None, False)
    assert f"-m export.serve --model_config_file={config} --playground\n" in printed.getvalue()
    assert "export.client.predict --adapted=quickstart/letters/task.npz" in printed.getvalue()
