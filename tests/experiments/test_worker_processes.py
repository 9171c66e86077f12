"""Runs of several processes on loopback, killed and resumed, beside those of one."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from cml_tf.system.command_line import LOST, STOPPED
from tests.helpers.clusters import run_cluster
from tests.helpers.run_folders import assert_same_runs, checkpoint, metrics_lines

TRAIN = ["--config=configs/sinusoid.py:cml,5shot,smoke", "--config.learner.dtype_policy=float64", "--verbose=0"]
TRAIN += ["--config.train.meta_batch=12", "--config.train.steps=20", "--config.train.validate_every=6"]
TRAIN += ["--config.train.clip_norm=1.0", "--config.train.patience=9"]


def train(workdir: Path, *more: str) -> list[str]:
    return ["cml_tf.train", *TRAIN, f"--workdir={workdir}", *more]


def signalled(name: str, step: int, workdir: Path) -> list[str]:
    _, *flags = train(workdir, "--strategy=multi_worker")
    return ["tests.helpers.signalled_train", name, str(step), *flags]


def assert_close_runs(first: Path, second: Path) -> None:
    """The same numbers up to rounding, in float64."""
    for name in ("latest", "best"):
        (values, metadata), (others, other) = checkpoint(first, name), checkpoint(second, name)
        assert values.keys() == others.keys() and metadata["step"] == other["step"]
        for key, value in values.items():
            np.testing.assert_allclose(value, others[key], rtol=0, atol=1e-10, err_msg=key)
    for line, other in zip(metrics_lines(first), metrics_lines(second), strict=True):
        assert line == pytest.approx(other, abs=1e-10)


@pytest.mark.slow
@pytest.mark.long
def test_processes_train_as_one_does_through_kills_and_other_numbers_of_them(tmp_path):
    alone, whole, killed, changed = (tmp_path / name for name in ("alone", "whole", "killed", "changed"))
    assert run_cluster(tmp_path, train(alone))[0].code == 0
    worker = "--strategy=multi_worker"
    for done in run_cluster(tmp_path, *[train(whole, worker)] * 2):
        assert (done.code, done.messages) == (0, [])
    assert_close_runs(alone, whole)
    assert sorted(path.name for path in whole.iterdir()) == sorted(path.name for path in alone.iterdir())

    # The second process dies in the middle of an epoch: the first one says so, and its checkpoint is whole.
    left, dead = run_cluster(tmp_path, train(killed, worker), signalled("SIGKILL", 9, killed))
    assert (left.code, dead.code) == (LOST, -signal.SIGKILL)
    (message,) = left.messages
    assert message.startswith("error: another process has ended, or cannot be reached ("), message
    assert checkpoint(killed, "latest")[1]["step"] == 6
    assert [done.code for done in run_cluster(tmp_path, *[train(killed, worker)] * 2)] == [0, 0]
    assert_same_runs(whole, killed)

    # One of three is told to stop (a node is drained): all stop after the same step, and four devices go on.
    stopped = run_cluster(tmp_path, *[train(changed, worker)] * 2, signalled("SIGTERM", 8, changed))
    assert {done.code for done in stopped} == {STOPPED}
    for done in stopped:
        assert done.messages == ["stopped after 9 of 20 steps. Run the same command again to resume."]
    assert checkpoint(changed, "latest")[1]["step"] == 9
    (refused,) = run_cluster(tmp_path, train(changed, "--strategy=mirrored", "--cpu_devices=5"))
    assert refused.code == 2 and "must be a multiple of 5 for 5 replicas, received 12" in refused.messages[0]
    (done,) = run_cluster(
        tmp_path, train(changed, "--strategy=mirrored", "--cpu_devices=4", "--config.train.accumulate=3")
    )
    assert (done.code, done.messages) == (0, [])
    assert_close_runs(alone, changed)

    # Episodes that no number of replicas divides; only the first process prints.
    score = ["cml_tf.evaluate", f"--workdir={alone}", "--episodes=19"]
    (one,) = run_cluster(tmp_path, score)
    first, second = run_cluster(tmp_path, *[[*score, worker]] * 2)
    assert (first.code, second.code, second.out) == (0, 0, "")
    assert first.last_json == pytest.approx(one.last_json, abs=1e-10)

    # Processes that were started differently do not train together.
    others = tmp_path / "others"
    both = run_cluster(tmp_path, train(others, worker), train(others, worker, "--config.seed=1"))
    assert {done.code for done in both} == {2}
    assert all("must have the same configuration, data and checkpoint" in done.messages[0] for done in both)
    assert not others.exists()


@pytest.mark.slow
def test_a_process_waits_for_the_others_no_longer_than_it_is_told(tmp_path):
    (alone,) = run_cluster(tmp_path, train(tmp_path / "run", "--strategy=multi_worker", "--worker_wait=1"), missing=1)
    assert alone.code == -signal.SIGUSR1 and signal.SIGUSR1 + 128 == LOST
    (message,) = alone.messages
    assert message.startswith("error: the other processes of TF_CONFIG did not all come within 1 seconds: run all of")
    assert not (tmp_path / "run").exists()
