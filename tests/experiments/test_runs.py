"""Runs: what a working directory may be asked for, what is left alone, and what is said of damaged files."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from cml_tf.datasets import DatasetError
from cml_tf.experiments import presets, runs
from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.experiments.experiment import Data, build_experiment
from cml_tf.experiments.runs import evaluate_run, load_run, train_run, trained_on
from cml_tf.experiments.stored import RunError, check_data
from cml_tf.problems import Classification
from cml_tf.system.files import locked
from cml_tf.system.machine import machine
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from cml_tf.training.meta_step import NonFiniteLoss
from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.run_folders import checkpoint, metrics_lines, snapshot
from tests.helpers.small_configs import changed, own_pictures, waves

SIX = {"train.steps": 6}


def config_of(run):
    return json.loads((run / "config.json").read_text())


def rewrite(path, change=lambda values: values, without=()):
    values, metadata = read_checkpoint(path)
    write_checkpoint(path, change(values), {key: value for key, value in metadata.items() if key not in without})


def test_a_run_has_its_files(finished):
    files = {"config.json", "machine.json", "manifest.json", "metrics.jsonl", "checkpoints", "tensorboard"}
    assert {path.name for path in finished.iterdir()} == files and trained_on(finished) == machine()
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {
        "latest.npz",
        "best.npz",
        "step-00000002.npz",
    }
    terms = ["query_loss", "co_learner"]
    assert config_of(finished)["objective"] == {"terms": terms, "reducer": "mean", "co_learners": 1, "gamma": 0.2}
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    told = [(line["step"], line["split"]) for line in lines]
    assert told == [(step, split) for step in (2, 4) for split in ("train", "validation")]
    metrics = {"step", "split", "loss", "mse", "co_loss", "co_mse"}
    assert set(lines[0]) == metrics | {"tasks_per_second"} and set(lines[1]) == metrics
    best, latest = checkpoint(finished, "best"), checkpoint(finished, "latest")
    scores = {line["step"]: line["mse"] for line in lines if line["split"] == "validation"}
    assert best[1]["score"] == min(scores.values()) == scores[best[1]["step"]]
    assert latest[1]["step"] == 4
    groups = {name.split("/")[0] for name in latest[0]}
    assert groups == {"learner", "co_learner", "optimizer_0"}, "learner and co-learner are saved together"


@pytest.mark.parametrize("text", [None, "{", "[]", '{"processor": "Z80", "flags": 3, "cores": 1, "packages": 0}'])
def test_a_machine_is_described_or_not_known(tmp_path, text):
    if text is None:
        assert trained_on(tmp_path) is None
        return
    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(RunError, match=r"machine\.json must describe the machine"):
        trained_on(tmp_path)


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_may_be_moved_and_grow(run, tmp_path):
    before, lines = snapshot(run), metrics_lines(run)
    assert train_run(waves(), run, verbose=0).trainer.step == 4
    assert snapshot(run) == before
    with locked(run), pytest.raises(RunError, match="another process is training in"):
        train_run(waves(**SIX), run, verbose=0)
    assert snapshot(run) == before
    moved = tmp_path / "elsewhere" / "moved"
    shutil.move(run, moved)
    # Written whole but for the line end: it is written again.
    path = moved / "metrics.jsonl"
    path.write_text(path.read_text().removesuffix("\n"))
    train_run(waves(**SIX), moved, verbose=0, keep=1)
    assert {path.name for path in (moved / "checkpoints").iterdir()} == {"latest.npz", "best.npz"}
    assert checkpoint(moved, "latest")[1]["step"] == 6 == config_of(moved)["train"]["steps"]
    assert metrics_lines(moved)[:3] == lines[:3] and not run.exists()
    assert [line["step"] for line in metrics_lines(moved)] == [2, 2, 4, 6, 6]
    assert len(list((moved / "tensorboard" / "train").iterdir())) == 2
    with pytest.raises(RunError, match="train.steps: 6 in the run, 4 requested"):
        train_run(waves(), moved, verbose=0)


def test_a_process_that_cannot_be_started_is_no_other_training(tmp_path, monkeypatch):
    def fails(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(runs, "_fit", fails)
    with pytest.raises(BlockingIOError, match="temporarily unavailable"):
        train_run(waves(), tmp_path / "run", verbose=0)


OTHERS = {
    **{
        f"{key}: .* in the run, .* requested": lambda key=key, value=value: waves(**{key: value})
        for key, value in {
            "seed": 1,
            "dataset.shots": 4,
            "learner.hidden": (5,),
            "objective.gamma": 0.3,
            "train.steps": 3,
            "train.validate_every": 1,
            "eval.episodes": 5,
        }.items()
    },
    "objective.terms: ": lambda: presets.sinusoid("maml,3shot,smoke"),
    "'reverse' in the run, 'first_order' requested;.*first_order_steps: 0 .*none requested": lambda: presets.sinusoid(
        "cml,first_order,3shot,smoke"
    ),
    "train.rate: 0.001 in the run, 0.5 requested": lambda: waves(**{"train.steps": 8, "train.rate": 0.5}),
}


@pytest.mark.parametrize("told", OTHERS)
def test_another_configuration_is_refused_and_nothing_written(run, told):
    before = snapshot(run)
    with pytest.raises(RunError, match=told):
        train_run(OTHERS[told](), run, verbose=0)
    assert snapshot(run) == before


def test_what_is_no_directory_of_a_run_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for use, error, message in (
        (lambda: train_run(waves(), tmp_path, verbose=0), RunError, "is not empty and contains no run"),
        (lambda: train_run(waves(), tmp_path / "thesis.txt", verbose=0), RunError, "received a file"),
        (lambda: load_run(tmp_path), RunError, "contains no run"),
        (lambda: train_run(own_pictures(tmp_path / "nowhere"), tmp_path / "run", verbose=0), DatasetError, None),
    ):
        with pytest.raises(error, match=message):
            use()
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {tmp_path / "thesis.txt": "years of work"}


@pytest.mark.slow
def test_its_data_may_be_moved_and_no_other_data_take_their_name(pictured, tmp_path):
    run, images = (Path(shutil.copytree(pictured / name, tmp_path / name)) for name in ("run", "images"))
    before, there = snapshot(run / "checkpoints"), load_run(pictured / "run")
    fingerprint = there.episodes("test").fingerprint
    config = changed(there.config, **{"dataset.root": str(images)})
    train_run(config, run, verbose=0)
    here = load_run(run)
    assert here.config.dataset.root == str(images) and here.episodes("test").fingerprint == fingerprint
    (images / "train" / "train a" / "0.png").write_bytes(encoded(pixels(99)))
    with pytest.raises(CheckpointError, match="was trained on other data"):
        train_run(changed(config, **{"train.steps": 2}), run, verbose=0)
    assert snapshot(run / "checkpoints") == before
    shutil.rmtree(images)
    # Trained models need no data, episodes do.
    assert load_run(run).problem.ways == 2
    with pytest.raises(DatasetError):
        evaluate_run(run)


def test_data_of_before_there_was_a_number_are_the_same_data():
    now = Data(Classification(5), (28, 28, 1), (0.0, 1.0), "f" * 64, node_features=7, classes=136)
    old = {key: value for key, value in now.to_json().items() if key not in ("classes", "node_features")}
    check_data(now, Data.from_json(old), Path("latest.npz"))
    for other in (now._replace(classes=135), now._replace(node_features=8), now._replace(fingerprint="e" * 64)):
        with pytest.raises(CheckpointError, match="was trained on other data"):
            check_data(now, other, Path("latest.npz"))


@pytest.mark.slow
def test_evaluation_reads_the_checkpoint_it_is_told_to(run):
    # All weights 0: whatever the input, the prediction is 0.
    rewrite(
        run / "checkpoints" / "latest.npz",
        lambda values: {name: value * 0 if name.startswith("learner/") else value for name, value in values.items()},
    )
    best, zero = (evaluate_run(run, steps=0, checkpoint=name) for name in ("best", "latest"))
    assert best.manifest_hash == zero.manifest_hash and best.mean != zero.mean and best.episodes == 4
    loaded = load_run(run, "latest")
    targets = loaded.episodes("test").batch(0, 4).query.targets.numpy()
    assert loaded.trainer.step == 4
    np.testing.assert_allclose(zero.scores, np.mean(targets**2, axis=(1, 2)), rtol=1e-5)
    shifted = evaluate_run(run, steps=0, checkpoint="latest", dataset="shifted_sinusoid")
    np.testing.assert_allclose(shifted.scores, zero.scores, rtol=1e-4, err_msg="upside down: the same squares")
    assert shifted.manifest_hash != zero.manifest_hash
    (run / "checkpoints" / "best.npz").unlink()
    with pytest.raises(CheckpointError, match="checkpoint must be one of best, latest, received 'lastest'"):
        evaluate_run(run, checkpoint="lastest")
    with pytest.raises(CheckpointError, match="before the first validation: .* --checkpoint=latest"):
        load_run(run)


def test_what_was_validated_in_training_is_what_is_evaluated(finished):
    validation = evaluate_run(finished, "validation", episodes=12)
    assert validation.episodes == 12 and validation.seed == 0
    assert validation.mean == pytest.approx(checkpoint(finished, "best")[1]["score"], rel=1e-5)


@pytest.mark.slow
def test_the_seed_that_is_told_is_that_of_the_episodes(run):
    config = {**config_of(run), "seed": 3}
    (run / "manifest.json").unlink()
    (run / "config.json").write_text(json.dumps(config))
    for path in (run / "checkpoints").iterdir():
        rewrite(path, without=("config",))
    assert [evaluate_run(run, split).seed for split in ("train", "test")] == [3, 0]


# ---- damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def configured(**changes):
    def write(run):
        values = {f"{key}": {**config_of(run)[key], **value} for key, value in changes.items()}
        (run / "config.json").write_text(json.dumps({**config_of(run), **values}))

    return write


def on_checkpoints(damage):
    return lambda run: [damage(path) for path in (run / "checkpoints").glob("*.npz")]


UNREADABLE = (RunError, ConfigurationError), "config.json cannot be read"
DAMAGE = {
    "configuration cut short": (lambda run: (run / "config.json").write_text('{"seed": 0'), *UNREADABLE),
    "another program's": (lambda run: (run / "config.json").write_text('{"a": 1}'), *UNREADABLE),
    "no text": (lambda run: (run / "config.json").write_bytes(b"\xff\xfe\x00"), *UNREADABLE),
    "no number of steps": (configured(train={"steps": None}), UNREADABLE[0], None),
    "half a shot": (configured(dataset={"shots": 2.5}), UNREADABLE[0], None),
    "checkpoints cut short": (on_checkpoints(cut), CheckpointError, None),
    "another shape": (
        on_checkpoints(lambda path: rewrite(path, lambda values: {**values, "learner/0000": np.zeros((9, 9))})),
        CheckpointError,
        None,
    ),
    "no data": (on_checkpoints(lambda path: rewrite(path, without=["data"])), CheckpointError, None),
    "no step": (on_checkpoints(lambda path: rewrite(path, without=["step"])), CheckpointError, None),
}


@pytest.mark.parametrize(("damage", "error", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_runs_are_refused_and_left_alone(run, damage, error, message):
    """Whether or not there is a manifest, which would tell at once."""
    (run / "manifest.json").unlink()
    damage(run)
    before = snapshot(run)
    for use in (lambda: train_run(waves(**SIX), run, verbose=0), lambda: load_run(run)):
        with pytest.raises(error, match=message):
            use()
    assert snapshot(run) == before


class Epochs(keras.callbacks.Callback):
    """Counts them, and may fail in the one after."""

    def __init__(self, fails=False):
        super().__init__()
        self.ended, self._fails = 0, fails

    def on_epoch_end(self, epoch, logs=None):
        self.ended += 1

    def on_train_batch_begin(self, batch, logs=None):
        if self._fails and self.ended:
            raise InterruptedError


@pytest.mark.slow
def test_a_state_of_a_callback_is_saved_with_its_own_epoch(tmp_path):
    config = waves(**{"train.steps": 4, "train.validate_every": 2})
    with pytest.raises(InterruptedError):
        train_run(config, tmp_path / "run", verbose=0, callbacks=[Epochs(fails=True)])
    again = Epochs()
    train_run(config, tmp_path / "run", verbose=0, callbacks=[again])
    assert again.ended == 2


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(run):
    # What a user cannot write into a configuration and keep the run: a checkpoint of weights that explode.
    rewrite(
        run / "checkpoints" / "latest.npz", lambda values: {**values, "learner/0000": values["learner/0000"] * 1e30}
    )
    exploding = snapshot(run / "checkpoints")
    with pytest.raises(NonFiniteLoss, match=r"step 4 has a loss that is not finite in episode 4 \(task 0\)"):
        train_run(waves(**SIX), run, verbose=0)
    assert snapshot(run / "checkpoints") == exploding


def test_training_classes_may_be_fewer():
    """Of the training split alone; what has no classes has no such key."""
    all_, fewer = (
        build_experiment(changed(presets.images("glyphs", "maml,mlp,smoke"), **{"dataset.train_classes": count}))
        for count in (0, 7)
    )
    assert set(fewer.episodes("train").indices(0, 30)[:, :, 0].flat) == set(range(7))
    assert all_.episodes("train").fingerprint != fewer.episodes("train").fingerprint
    assert all_.episodes("test").fingerprint == fewer.episodes("test").fingerprint
    assert "train_classes" not in presets.sinusoid().dataset
