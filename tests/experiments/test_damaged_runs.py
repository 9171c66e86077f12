"""Runs whose files are damaged or missing, and one whose weights explode."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.experiments.runs import RunError, load_run, train_run
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from cml_tf.training.meta_step import NonFiniteLoss
from tests.helpers.run_folders import snapshot
from tests.helpers.small_configs import waves

CONFIGURATIONS = {
    "cut short": '{"seed": 0',
    "a list": "[1, 2]",
    "another program's": '{"model_type": "bert"}',
    "empty": "",
}


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_damaged_configuration_is_refused(run, text):
    (run / "config.json").write_text(text)
    before = snapshot(run)
    for use in (lambda: train_run(waves(), run, verbose=0), lambda: load_run(run)):
        with pytest.raises(ConfigurationError, match="config.json cannot be read"):
            use()
    assert snapshot(run) == before


def test_a_configuration_that_is_no_text_is_refused(run):
    (run / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="config.json cannot be read"):
        train_run(waves(), run, verbose=0)


def test_values_of_the_wrong_kind_in_a_configuration_are_refused(run):
    config = json.loads((run / "config.json").read_text())
    for section, key, value in (("train", "steps", None), ("train", "rate", "fast"), ("dataset", "shots", 2.5)):
        (run / "config.json").write_text(json.dumps({**config, section: {**config[section], key: value}}))
        with pytest.raises(ConfigurationError):
            load_run(run)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path):
    values, metadata = read_checkpoint(path)
    write_checkpoint(path, {**values, "learner/0000": np.zeros((9, 9))}, metadata)


def without_data(path):
    values, metadata = read_checkpoint(path)
    write_checkpoint(path, values, {key: value for key, value in metadata.items() if key != "data"})


def without_step(path):
    values, metadata = read_checkpoint(path)
    write_checkpoint(path, values, {key: value for key, value in metadata.items() if key != "step"})


@pytest.mark.parametrize("damage", [cut, foreign, without_data, without_step])
def test_a_damaged_checkpoint_is_refused_and_left_alone(run, damage):
    for name in ("latest", "best"):
        damage(run / "checkpoints" / f"{name}.npz")
    before = snapshot(run)
    uses = (lambda: train_run(waves(**{"train.steps": 6}), run, verbose=0), lambda: load_run(run))
    for use in uses:
        with pytest.raises(CheckpointError):
            use()
    assert snapshot(run) == before


def test_a_run_without_validation_yet_says_so(run):
    (run / "checkpoints" / "best.npz").unlink()
    with pytest.raises(CheckpointError, match="before the first validation: .* --checkpoint=latest"):
        load_run(run)
    assert load_run(run, "latest").trainer.step == 4


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(run):
    before = snapshot(run / "checkpoints")
    config = waves(**{"train.steps": 6})
    # What a user cannot write into a configuration and keep the run: a checkpoint of weights that explode.
    for name in ("latest",):
        path = run / "checkpoints" / f"{name}.npz"
        values, metadata = read_checkpoint(path)
        write_checkpoint(path, {**values, "learner/0000": values["learner/0000"] * 1e30}, metadata)
    exploding = snapshot(run / "checkpoints")
    assert exploding != before
    with pytest.raises(NonFiniteLoss, match=r"step 4 has a loss that is not finite in episode 4 \(task 0\)"):
        train_run(config, run, verbose=0)
    assert snapshot(run / "checkpoints") == exploding
