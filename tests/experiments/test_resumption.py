"""Interrupted and resumed equals uninterrupted, bit for bit, each in fresh processes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.helpers.forked_programs import Program
from tests.helpers.programs import environment, run_program, run_programs
from tests.helpers.run_folders import assert_same_runs, checkpoint, metrics_lines

pytestmark = pytest.mark.slow

SETTINGS = {
    "sinusoid": [
        "--config=configs/sinusoid.py:cml,5shot,smoke,meta_sgd",
        "--config.learner.hidden=(8,8)",
        "--config.train.clip_norm=1.0",
    ],
    "glyphs": [
        "--config=configs/glyphs.py:smoke",
        "--config.dataset.ways=3",
        "--config.learner.filters=4",
    ],
}
CHEAP = ["--config=configs/sinusoid.py:maml,5shot,smoke", "--config.learner.hidden=(4,)"]
# Validation after steps 3, 6 and 8.
EPOCHS = ["--config.train.steps=8", "--config.train.validate_every=3", "--config.train.patience=5", "--verbose=0"]


@pytest.mark.slow
@pytest.mark.parametrize("data", ["sinusoid", pytest.param("glyphs", marks=pytest.mark.long)])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, data):
    flags = [*SETTINGS[data], *EPOCHS]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # Not forked, so that hashes of texts, and with them the order of sets, are others than in what follows.
    assert run_program("cml_tf.train", *flags, f"--workdir={whole}").code == 0

    def train(module, *arguments):
        (done,) = run_programs([[module, *arguments, *flags, f"--workdir={broken}"]])
        return done

    # A Ctrl-C in the middle of the first epoch: it arrives after step 1 and is honoured after step 2.
    interrupted = train("tests.helpers.signalled_train", "SIGINT", "1")
    assert interrupted.code == 130
    assert interrupted.messages == ["stopped after 2 of 8 steps. Run the same command again to resume."]
    assert checkpoint(broken, "latest")[1]["step"] == 2
    assert not (broken / "metrics.jsonl").exists() and not (broken / "checkpoints" / "best.npz").exists()

    # The machine dies in the middle of the second epoch: what came after the checkpoint is lost, and made again.
    assert train("tests.helpers.signalled_train", "SIGKILL", "5").code == -signal.SIGKILL
    assert checkpoint(broken, "latest")[1]["step"] == 3
    assert {line["step"] for line in metrics_lines(broken)} == {3}

    # It took lines with it that the checkpoint knows nothing of, the last one cut short.
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "split": "train", "loss": 1.0}\n{"step": 6, "split": "valid')
    resumed = train("cml_tf.train")
    assert (resumed.code, resumed.messages) == (0, [])
    assert_same_runs(whole, broken)
    assert [line["step"] for line in metrics_lines(broken)] == [3, 3, 6, 6, 8, 8]
    assert sorted(path.name for path in broken.iterdir()) == [
        "checkpoints",
        "config.json",
        "machine.json",
        "manifest.json",
        "metrics.jsonl",
        "tensorboard",
    ]
    names = ["best.npz", "latest.npz", "step-00000006.npz"]
    assert sorted(path.name for path in (broken / "checkpoints").iterdir()) == names


def test_a_real_interrupt_from_outside(tmp_path):
    """What Ctrl-C in a terminal does; the training would go on for hours."""
    words = ["cml_tf.train", *CHEAP, "--verbose=2", f"--workdir={tmp_path / 'run'}"]
    words += ["--config.train.steps=100000000", "--config.train.validate_every=20"]
    os.mkfifo(tmp_path / "out")
    process = Program(words, tmp_path / "out", tmp_path / "errors", environment())
    with (tmp_path / "out").open() as out:
        # The second epoch has begun: signals are taken, and there is a checkpoint.
        for line in out:
            if line.startswith("Epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out.read()
    assert process.wait() == 130
    step, errors = checkpoint(tmp_path / "run", "latest")[1]["step"], (tmp_path / "errors").read_text()
    assert step >= 20
    assert f"stopped after {step} of 100000000 steps. Run the same command again to resume." in errors
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["steps"] == 100000000
