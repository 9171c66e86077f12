"""What a run survives: damaged files, signals, killed writers, and disks that are full, read-only or gone."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.reliability.kills import kill_all
from cml_tf.errors import Interrupted, UserError
from cml_tf.experiments.callbacks import PauseAt
from cml_tf.experiments.runs import load_run, train_run
from cml_tf.experiments.stored import check_files, check_metrics, clear_killed, stored_checkpoint
from cml_tf.system.file_faults import file_fault
from cml_tf.system.manifest import DamagedFile
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint
from tests.helpers.damage import damaged_copies, flipped
from tests.helpers.programs import run_programs
from tests.helpers.run_folders import checkpoint, metrics_lines
from tests.helpers.small_configs import waves

pytestmark = pytest.mark.slow

SIX = {"train.steps": 6}


def flip(path):
    path.write_bytes(flipped(path.read_bytes(), 8 * (path.stat().st_size // 2)))


def steps_kept(run):
    return {path.name: read_checkpoint(path)[1]["step"] for path in (run / "checkpoints").iterdir()}


def written_half(path):
    path.write_text("half")
    return path


def test_damage_is_told_or_refused_and_training_goes_on_from_the_newest_sound_checkpoint(run, caplog):
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes().replace(b'"loss"', b'"lozs"', 1))
    with pytest.raises(DamagedFile, match=r"metrics\.jsonl is damaged"):
        train_run(waves(**SIX), run, verbose=0, strict=True)
    flip(run / "checkpoints" / "latest.npz")
    for use in (lambda: train_run(waves(**SIX), run, verbose=0, strict=True), lambda: load_run(run, "latest", True)):
        with pytest.raises(CheckpointError, match=r"latest\.npz is damaged"):
            use()
    best = read_checkpoint(run / "checkpoints" / "best.npz")[1]["step"]
    caplog.clear()
    assert load_run(run, "latest").trainer.step == max(best, 2)
    assert "latest.npz is damaged" in caplog.text and f"after step {max(best, 2)}." in caplog.text
    # Of writers that were killed, and files that are none of ours.
    names = (".config.json.abcdefgh", "checkpoints/.step-00000300.npz.a1_defgh")
    ours = [written_half(run / name) for name in names]
    names = (".config.json.swp", ".notes.txt.abcdefgh", "checkpoints/.latest.npz.abc")
    others = [written_half(run / name) for name in names]
    train_run(waves(**SIX), run, verbose=0)
    assert "metrics.jsonl is damaged" in caplog.text
    assert [line["step"] for line in metrics_lines(run)] == [2, 2, 4, 4, 6, 6]
    assert not any(path.exists() for path in ours) and all(path.exists() for path in others)
    others[-1].unlink()
    kept = steps_kept(run)
    assert kept["latest.npz"] == 6
    # What was damaged is not kept as an earlier one.
    assert set(kept) <= {"latest.npz", "best.npz", "step-00000002.npz", "step-00000004.npz"}
    (run / "checkpoints" / "latest.npz").unlink()
    assert stored_checkpoint(run, "latest", strict=True).path.name != "latest.npz"


def test_files_of_killed_writers_are_cleared_in_a_finished_run_too_but_not_those_of_living_ones(run):
    ours = [written_half(run / name) for name in (".config.json.abcdefgh", "checkpoints/.latest.npz.a1_defgh")]
    train_run(waves(), run, verbose=0)
    assert not any(path.exists() for path in ours)
    with ours[0].open("w") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        clear_killed(run)
        assert ours[0].exists()


def test_a_checkpoint_of_another_configuration_is_refused(run):
    text = (run / "config.json").read_text()
    (run / "manifest.json").unlink()
    (run / "config.json").write_text(text.replace('"gamma": 0.2', '"gamma": 0.3'))
    with pytest.raises(CheckpointError, match=r"another configuration \(objective.gamma: 0.2 there, 0.3 in the run"):
        load_run(run)


def test_runs_of_before_are_used_with_one_warning_and_the_last_ones_and_the_best_are_kept(run, caplog):
    (run / "manifest.json").unlink()
    for path in (run / "checkpoints").iterdir():
        values, metadata = read_checkpoint(path)
        del metadata["config"], metadata["callbacks"]["MetricsFile:0"]
        encoded = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        np.savez(path, **{"metadata.json": encoded, **values})
    for _ in range(2):
        assert load_run(run).trainer.step in (2, 4)
    assert caplog.text.count("best.npz is from before checkpoints had a SHA-256") == 1
    train_run(waves(**{"train.steps": 8}), run, verbose=0, keep=3)
    assert [line["step"] for line in metrics_lines(run)] == [2, 2, 4, 4, 6, 6, 8, 8]
    kept = steps_kept(run)
    assert kept.pop("best.npz") <= 8
    assert kept == {"latest.npz": 8, "step-00000004.npz": 4, "step-00000006.npz": 6}, "the last three"


def refuses(run):
    """Whether a start of the run, or an evaluation, would use no variable of it."""
    try:
        check_files(run)
        for name in ("latest", "best"):
            check_metrics(run, stored_checkpoint(run, name, strict=True).metadata, strict=True)
        for path in (run / "checkpoints").glob("step-*"):
            read_checkpoint(path)
        for path in (run / "tensorboard").rglob("events*"):
            # Nothing reads them but TensorBoard; their records have checksums.
            for _ in tf.data.TFRecordDataset(str(path)):
                pass
    except (UserError, tf.errors.DataLossError):
        return True
    return False


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_truncation_is_noticed(run, count):
    assert not refuses(run)
    for path, what in damaged_copies(run, count, seed=count):
        assert refuses(run), f"{what} of {path.name}"
    assert not refuses(run)


class SignalIn(keras.callbacks.Callback):
    """Sends SIGTERM to its own process after the first batch of a validation, or before the first step."""

    def __init__(self, hook):
        super().__init__()
        self.sent = False
        setattr(self, hook, self.send)

    def send(self, *given, **logs):
        if not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


class TwoSignals(SignalIn):
    """Sends SIGTERM in the second step, and does what a second Ctrl-C does there."""

    def __init__(self):
        super().__init__("unused")
        self._begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        self._begun += 1
        if self._begun == 2:
            self.send()
            raise KeyboardInterrupt


# What stops each start of one run, how many steps it has by then, what it says of them, and the step of its checkpoint.
STOPS = [
    # Nothing was made.
    (lambda: SignalIn("on_train_batch_begin"), 0, "", None),
    # Its first epoch has ended, but for the validation.
    (lambda: SignalIn("on_test_batch_end"), 2, "", 2),
    (TwoSignals, 3, "; those since the last checkpoint are lost", 2),
]


def test_signals_killed_starts_and_pauses_change_nothing_in_the_end(finished, tmp_path):
    """Before the first step, in a validation, and a second one: each is honoured at once. A pause is no stop."""
    # Killed before it wrote its configuration.
    written_half(tmp_path / ".config.json.abcdefgh")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {}, "format": 1}, indent=2, sort_keys=True) + "\n")
    for stop, steps, lost, stored in STOPS:
        told = f"^stopped after {steps} of 4 steps{lost}. Run the same command again to resume.$"
        with pytest.raises(Interrupted, match=told):
            train_run(waves(), tmp_path, 0, [stop()])
        there = tmp_path / "checkpoints" / "latest.npz"
        assert (read_checkpoint(there)[1]["step"] if there.exists() else None) == stored
        assert (tmp_path / "metrics.jsonl").exists() == (steps == 3), "the validation was not finished"
    paused = train_run(waves(), tmp_path, 0, [PauseAt(asked=lambda: True)]).trainer
    assert paused.step == 3 == checkpoint(tmp_path, "latest")[1]["step"] and not paused.stopped
    assert train_run(waves(), tmp_path, verbose=0).trainer.step == 4
    assert not list(tmp_path.glob(".*"))
    values, others = (checkpoint(path, "latest")[0] for path in (finished, tmp_path))
    for name, value in values.items():
        # Two builds in one process need not agree in the last bit; docs/RUNS.md.
        np.testing.assert_allclose(value, others[name], rtol=1e-5, atol=1e-7, err_msg=name)
    for line, other in zip(metrics_lines(finished), metrics_lines(tmp_path), strict=True):
        assert (line["step"], line["split"]) == (other["step"], other["split"])
        assert other["mse"] == pytest.approx(line["mse"], rel=1e-5)
    assert steps_kept(finished)["best.npz"] == steps_kept(tmp_path)["best.npz"]


class Vanishing(keras.callbacks.Callback):
    """Removes the run after its first epoch."""

    def __init__(self, run):
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch, logs=None):
        shutil.rmtree(self._run, ignore_errors=True)


def test_a_run_whose_directory_vanishes_ends_in_one_line_and_is_not_made_anew(tmp_path):
    with pytest.raises(OSError) as caught:
        train_run(waves("maml"), tmp_path / "run", 0, [Vanishing(tmp_path / "run")])
    told = file_fault(caught.value)
    assert told.startswith(f"{tmp_path / 'run'}/") and "\n" not in told and not (tmp_path / "run").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_full_and_a_read_only_disk_are_one_line_and_the_last_checkpoint_stays(small_disk):
    config = "--config=configs/sinusoid.py:5shot,smoke"
    words = [config, "--config.learner.hidden=(4,)", "--verbose=0", f"--workdir={small_disk / 'run'}"]

    def start(steps):
        (done,) = run_programs([["cml_tf.train", *words, f"--config.train.steps={steps}"]])
        return done

    assert start(2).code == 0
    before = checkpoint(small_disk / "run", "latest")
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(b"x" * 512)
    full = start(4)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    read_only = start(4)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    for done, reason in ((full, "no space left"), (read_only, "read-only file system")):
        assert done.code == 2 and "Traceback" not in done.err, done
        assert done.messages[-1].startswith(f"error: {small_disk}") and reason in done.messages[-1], done
    after = checkpoint(small_disk / "run", "latest")
    assert before[1] == after[1] and all(np.array_equal(before[0][name], after[0][name]) for name in before[0])
    (small_disk / "filler").unlink()
    assert start(4).code == 0 and checkpoint(small_disk / "run", "latest")[1]["step"] == 4


@pytest.mark.slow
@pytest.mark.long
def test_killed_runs_end_as_undisturbed_ones(tmp_path):
    """A small version of `python -m benchmarks.reliability.kills`."""
    told = kill_all(tmp_path, ["waves", "workers", "glyphs"], kills=12, seed=1)
    assert not told["faults"] and all(told[kind]["kills"] >= 4 for kind in ("waves", "workers", "glyphs")), told
