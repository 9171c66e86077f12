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
from cml_tf.experiments.runs import load_run, train_run
from cml_tf.experiments.stored import check_files, check_metrics, clear_killed, stored_checkpoint
from cml_tf.system.file_faults import file_fault
from cml_tf.system.manifest import DamagedFile
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint
from tests.helpers.damage import damaged_copies, flipped
from tests.helpers.programs import run_programs
from tests.helpers.run_folders import checkpoint, metrics_lines
from tests.helpers.small_configs import waves

SIX = {"train.steps": 6}


def flip(path):
    path.write_bytes(flipped(path.read_bytes(), 8 * (path.stat().st_size // 2)))


def steps_kept(run):
    return {path.name: read_checkpoint(path)[1]["step"] for path in (run / "checkpoints").iterdir()}


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    config = waves(**SIX, **{"train.validate_every": 1})
    train_run(config, tmp_path / "three", verbose=0, keep=3)
    kept = steps_kept(tmp_path / "three")
    assert kept.pop("best.npz") <= 6
    assert kept == {"latest.npz": 6, "step-00000004.npz": 4, "step-00000005.npz": 5}
    train_run(waves(**{"train.validate_every": 1, "train.steps": 7}), tmp_path / "three", verbose=0, keep=1)
    assert set(steps_kept(tmp_path / "three")) == {"best.npz", "latest.npz"}


def test_the_newest_sound_checkpoint_is_used_with_a_warning_or_refused(run, caplog):
    flip(run / "checkpoints" / "latest.npz")
    best = read_checkpoint(run / "checkpoints" / "best.npz")[1]["step"]
    with pytest.raises(CheckpointError, match=r"latest\.npz is damaged"):
        train_run(waves(**SIX), run, verbose=0, strict=True)
    with pytest.raises(CheckpointError, match=r"latest\.npz is damaged"):
        load_run(run, "latest", strict=True)
    caplog.clear()
    assert load_run(run, "latest").trainer.step == max(best, 2)
    assert "latest.npz is damaged" in caplog.text and f"after step {max(best, 2)}." in caplog.text
    train_run(waves(**SIX), run, verbose=0)
    assert [line["step"] for line in metrics_lines(run)] == [2, 2, 4, 4, 6, 6]
    assert steps_kept(run)["latest.npz"] == 6
    # What was damaged is not kept as an earlier one.
    assert set(steps_kept(run)) <= {"latest.npz", "best.npz", "step-00000002.npz", "step-00000004.npz"}
    (run / "checkpoints" / "latest.npz").unlink()
    assert stored_checkpoint(run, "latest", strict=True).path.name != "latest.npz"


def test_a_checkpoint_of_another_configuration_is_refused(run):
    text = (run / "config.json").read_text()
    (run / "manifest.json").unlink()
    (run / "config.json").write_text(text.replace('"gamma": 0.2', '"gamma": 0.3'))
    with pytest.raises(CheckpointError, match=r"another configuration \(objective.gamma: 0.2 there, 0.3 in the run"):
        load_run(run)


def test_runs_of_before_are_used_with_one_warning(run, caplog):
    (run / "manifest.json").unlink()
    for path in (run / "checkpoints").iterdir():
        values, metadata = read_checkpoint(path)
        del metadata["config"], metadata["callbacks"]["MetricsFile:0"]
        encoded = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        np.savez(path, **{"metadata.json": encoded, **values})
    for _ in range(2):
        assert load_run(run).trainer.step in (2, 4)
    assert caplog.text.count("best.npz is from before checkpoints had a SHA-256") == 1
    train_run(waves(**SIX), run, verbose=0)
    assert [line["step"] for line in metrics_lines(run)] == [2, 2, 4, 4, 6, 6]


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


def test_damaged_metrics_are_told_and_training_goes_on(run, caplog):
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"loss"', b'"lozs"', 1))
    with pytest.raises(DamagedFile, match=r"metrics\.jsonl is damaged"):
        train_run(waves(**SIX), run, verbose=0, strict=True)
    train_run(waves(**SIX), run, verbose=0)
    assert "metrics.jsonl is damaged" in caplog.text and [line["step"] for line in metrics_lines(run)][-1] == 6


def test_files_of_killed_writers_are_cleared_and_no_others(run):
    ours = [run / ".config.json.abcdefgh", run / "checkpoints" / ".step-00000300.npz.a1_defgh"]
    others = [run / ".config.json.swp", run / ".notes.txt.abcdefgh", run / "checkpoints" / ".latest.npz.abc"]
    for path in (*ours, *others):
        path.write_text("half")
    train_run(waves(**SIX), run, verbose=0)
    assert not any(path.exists() for path in ours) and all(path.exists() for path in others)
    ours[1].write_text("killed in the last write of all")
    train_run(waves(**SIX), run, verbose=0)
    assert not ours[1].exists(), "of a finished run too"
    with ours[0].open("w") as held:
        # Somebody alive writes it.
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        clear_killed(run)
        assert ours[0].exists()


def test_a_start_that_was_killed_before_it_wrote_its_configuration_begins_anew(tmp_path):
    (tmp_path / ".config.json.abcdefgh").write_text("half")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {}, "format": 1}, indent=2, sort_keys=True) + "\n")
    assert train_run(waves(), tmp_path, verbose=0).trainer.step == 4
    assert not list(tmp_path.glob(".*"))


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


@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_train_batch_begin"])
def test_a_signal_in_a_validation_or_before_the_first_step_is_honoured_at_once(tmp_path, hook):
    config = waves(**{"train.validation_episodes": 12})
    train_run(config, tmp_path / "whole", verbose=0)
    with pytest.raises(Interrupted, match=r"stopped after \d of 4 steps\. Run"):
        train_run(config, tmp_path / "broken", 0, [SignalIn(hook)])
    there = tmp_path / "broken" / "checkpoints" / "latest.npz"
    assert there.exists() == (hook == "on_test_batch_end"), "nothing was made before the first step"
    assert not (tmp_path / "broken" / "metrics.jsonl").exists(), "the validation was not finished"
    train_run(config, tmp_path / "broken", verbose=0)
    lines, others = metrics_lines(tmp_path / "whole"), metrics_lines(tmp_path / "broken")
    assert [(line["step"], line["split"]) for line in lines] == [(line["step"], line["split"]) for line in others]
    for line, other in zip(lines, others, strict=True):
        assert other["mse"] == pytest.approx(line["mse"], rel=1e-5)
    (_, one), (_, two) = (checkpoint(tmp_path / name, "best") for name in ("whole", "broken"))
    assert one["step"] == two["step"]


class TwoSignals(SignalIn):
    """Sends SIGTERM in the fourth step, and does what a second Ctrl-C does there."""

    def __init__(self):
        super().__init__("unused")
        self._begun = 0

    def on_train_batch_begin(self, batch, logs=None):
        self._begun += 1
        if self._begun == 4:
            self.send()
            raise KeyboardInterrupt


def test_a_second_signal_says_what_is_lost_and_the_run_goes_on(tmp_path):
    told = (
        "^stopped after 3 of 4 steps; those since the last checkpoint are lost. Run the same command again to resume.$"
    )
    with pytest.raises(Interrupted, match=told):
        train_run(waves(), tmp_path, 0, [TwoSignals()])
    assert steps_kept(tmp_path)["latest.npz"] == 2
    assert train_run(waves(), tmp_path, verbose=0).trainer.step == 4


class Vanishing(keras.callbacks.Callback):
    """Removes the run after its first epoch."""

    def __init__(self, run):
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch, logs=None):
        shutil.rmtree(self._run, ignore_errors=True)


def test_a_run_whose_directory_vanishes_ends_in_one_line_and_is_not_made_anew(tmp_path):
    with pytest.raises(OSError) as caught:
        train_run(waves(), tmp_path / "run", 0, [Vanishing(tmp_path / "run")])
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
