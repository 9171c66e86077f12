"""The outer loop: its state, its optimisers, and numbers that are not finite."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import MetaSGD
from cml_tf.training.meta_step import NonFiniteLoss, meta_gradient
from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import image_trainer, sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import assert_same_values, meta_batches, waves


def exploding(episode, task, size=3e19):
    """Targets whose square overflows in one task: finite themselves, as the boundary demands, but not their loss."""
    targets = np.array(episode.query.targets)
    targets[task] = size
    return episode._replace(query=episode.query._replace(targets=targets))


def differs(first, second):
    return any(not np.array_equal(first[name], second[name]) for name in first)


# Its state.


def test_steps_may_grow():
    once, twice = tiny_trainer(), tiny_trainer()
    once.fit(meta_batches(6), 6, verbose=0)
    for steps in (2, 2, 6):
        twice.fit(meta_batches(6), steps, verbose=0)
        assert twice.step == steps
    for name, value in variable_values(once).items():
        np.testing.assert_allclose(value, variable_values(twice)[name], rtol=1e-4, atol=1e-6)


def test_a_restored_trainer_goes_on_as_the_first_would_have():
    def make():
        # In one process two models build two graphs; after this they are the same one.
        keras.backend.clear_session()
        return sinusoid_trainer(update_rule=MetaSGD(0.01))

    def fit(trainer, steps):
        trainer.fit(waves(), steps, (), Validation(waves("validation"), 4), 4, meta_batch=1, verbose=0)

    whole = make()
    fit(whole, 11)
    first = make()
    fit(first, 6)
    values, metadata = first.state()
    second = make()
    second.restore(values, metadata)
    assert second.step == 6
    assert_same_values(variable_values(second), values)
    fit(second, 11)
    assert_same_values(variable_values(second), variable_values(whole))
    assert second.state()[1] == whole.state()[1]


def test_state_of_something_else_is_refused():
    trainer = sinusoid_trainer()
    values, metadata = trainer.state()
    with pytest.raises(ValueError, match="belongs to another model"):
        image_trainer().restore(values, metadata)
    for name in metadata:
        with pytest.raises(ValueError, match=f"not a trainer's: it lacks {name}"):
            trainer.restore(values, {key: value for key, value in metadata.items() if key != name})
    assert trainer.step == 0


def test_optimisers_go_by_group():
    trainer = sinusoid_trainer(
        update_rule=MetaSGD(0.01),
        optimizer={
            "learner": keras.optimizers.SGD(0.01),
            "adaptation": keras.optimizers.SGD(0.0),
            "co_learner": keras.optimizers.Adam(0.02),
        },
    )
    before = variable_values(trainer)
    batch = meta_batches(1)[0]
    gradients = meta_gradient(trainer.method, batch, trainer.method.weights()).gradients
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for position, gradient in enumerate(gradients["learner"]):
        name = f"learner/{position:04d}"
        np.testing.assert_allclose(after[name], before[name] - 0.01 * gradient, rtol=1e-4, atol=1e-6)
    for position, gradient in enumerate(gradients["co_learner"]):
        # Adam's first step is its rate against the sign.
        name = f"co_learner/{position:04d}"
        moved = np.abs(gradient) > 1e-3
        np.testing.assert_allclose((after[name] - before[name])[moved], -0.02 * np.sign(gradient)[moved], rtol=0.01)
    assert_same_values(
        {name: value for name, value in after.items() if name.startswith("adaptation")},
        {name: value for name, value in before.items() if name.startswith("adaptation")},
    )
    assert {name.split("/")[0] for name in after if "optimizer" in name} == {f"optimizer_{i}" for i in range(3)}


def test_optimisers_must_be_those_of_the_groups():
    with pytest.raises(ValueError, match=r"optimizers must be given for \['co_learner', 'learner'\]"):
        sinusoid_trainer(optimizer={"learner": keras.optimizers.SGD(0.1)})


def test_gradients_are_clipped():
    batch = meta_batches(1)[0]
    trainer = sinusoid_trainer(optimizer=keras.optimizers.SGD(1.0), clip_norm=0.125)
    before = variable_values(trainer)
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for group in ("learner", "co_learner"):
        moves = [after[name] - before[name] for name in after if name.startswith(f"{group}/")]
        assert np.sqrt(sum(np.sum(np.square(move)) for move in moves)) == pytest.approx(0.125, rel=1e-3)


def test_training_improves_the_loss():
    trainer = tiny_trainer(optimizer=keras.optimizers.Adam(0.01))
    history = trainer.fit(itertools.repeat(meta_batches(1)[0]), 40, validate_every=10, verbose=0)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


# Numbers that are not finite.


@pytest.mark.parametrize("task", [3])
def test_a_loss_that_is_not_finite_stops_training_and_changes_nothing(task):
    trainer = sinusoid_trainer()
    good = meta_batches(3)
    trainer.fit(good, 2, verbose=0)
    before = variable_values(trainer)
    with pytest.raises(
        NonFiniteLoss, match=rf"step 2 has a loss that is not finite in episode {8 + task} \(task {task}\)"
    ):
        trainer.fit([*good[:2], exploding(good[2], task)], 3, verbose=0)
    assert_same_values(variable_values(trainer), before)
    assert trainer.step == 2
    trainer.fit(good, 3, verbose=0)
    assert trainer.step == 3 and differs(variable_values(trainer), before)


def test_a_gradient_that_is_not_finite_stops_training_too():
    trainer = sinusoid_trainer(
        reducer=lambda losses: tf.reduce_sum(tf.sqrt(losses - tf.stop_gradient(losses))),
    )
    before = variable_values(trainer)
    with pytest.raises(NonFiniteLoss, match="step 0 has a gradient that is not finite, .* in episodes 0 to 3"):
        trainer.fit(waves(), 1, verbose=0)
    assert_same_values(variable_values(trainer), before)
