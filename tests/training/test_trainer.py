"""The outer loop: its state, its optimisers, and numbers that are not finite."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cml_tf.adaptation import MetaSGD
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.meta_step import NonFiniteLoss
from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import image_trainer, sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import InfiniteGradient, assert_same_values, meta_batches, waves


def exploding(episode, task, size=3e19):
    """Targets whose square overflows in one task: finite themselves, as the boundary demands, but not their loss."""
    targets = np.array(episode.query.targets)
    targets[task] = size
    return episode._replace(query=episode.query._replace(targets=targets))


def group_of(values, name):
    return {key: value for key, value in values.items() if key.startswith(f"{name}/")}


def test_steps_may_grow():
    once, twice = tiny_trainer(), tiny_trainer()
    once.fit(meta_batches(4), 4, verbose=0)
    for steps in (2, 2, 4):
        twice.fit(meta_batches(4), steps, verbose=0)
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
        return trainer

    first = fit(make(), 6)
    at_six = first.state()
    fit(first, 7)
    second = make()
    second.restore(*at_six)
    assert second.step == 6
    assert_same_values(variable_values(second), at_six[0])
    fit(second, 7)
    assert_same_values(variable_values(second), variable_values(first))
    assert second.state()[1] == first.state()[1]


def test_state_of_something_else_is_refused():
    trainer = sinusoid_trainer()
    values, metadata = trainer.state()
    with pytest.raises(ValueError, match="belongs to another model"):
        image_trainer().restore(values, metadata)
    for name in metadata:
        with pytest.raises(ValueError, match=f"not from a trainer: it lacks {name}"):
            trainer.restore(values, {key: value for key, value in metadata.items() if key != name})
    assert trainer.step == 0


def test_optimisers_go_by_group():
    sgd, frozen, adam = keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.0), keras.optimizers.Adam(0.02)
    optimizers = {"learner": sgd, "adaptation": frozen, "co_learner": adam}
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01), optimizer=optimizers)
    before, batch = variable_values(trainer), meta_batches(1)[0]
    gradients = meta_gradient(trainer.method, batch, trainer.method.weights()).gradients
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for gradient, name in zip(gradients["learner"], group_of(after, "learner"), strict=True):
        np.testing.assert_allclose(after[name], before[name] - 0.01 * gradient, rtol=1e-4, atol=1e-6)
    for gradient, name in zip(gradients["co_learner"], group_of(after, "co_learner"), strict=True):
        # Adam's first step is its rate against the sign.
        moved = np.abs(gradient) > 1e-3
        np.testing.assert_allclose((after[name] - before[name])[moved], -0.02 * np.sign(gradient)[moved], rtol=0.01)
    assert_same_values(group_of(after, "adaptation"), group_of(before, "adaptation"))
    assert {name.split("/")[0] for name in after if "optimizer" in name} == {f"optimizer_{i}" for i in range(3)}
    with pytest.raises(ValueError, match=r"optimizers must have the keys \['co_learner', 'learner'\]"):
        sinusoid_trainer(optimizer={"learner": sgd})


def test_gradients_are_clipped():
    trainer = sinusoid_trainer(optimizer=keras.optimizers.SGD(1.0), clip_norm=0.125)
    before = variable_values(trainer)
    trainer.fit(meta_batches(1), 1, verbose=0)
    after = variable_values(trainer)
    for group in ("learner", "co_learner"):
        moves = [value - before[name] for name, value in group_of(after, group).items()]
        assert np.sqrt(sum(np.sum(np.square(move)) for move in moves)) == pytest.approx(0.125, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_training_and_changes_nothing():
    trainer, good = tiny_trainer(), meta_batches(3)
    trainer.fit(good, 2, verbose=0)
    before = variable_values(trainer)
    with pytest.raises(NonFiniteLoss, match=r"step 2 has a loss that is not finite in episode 11 \(task 3\)"):
        trainer.fit([*good[:2], exploding(good[2], 3)], 3, verbose=0)
    assert_same_values(variable_values(trainer), before)
    assert trainer.step == 2
    trainer.fit(good, 3, verbose=0)
    assert trainer.step == 3 and not np.array_equal(variable_values(trainer)["learner/0000"], before["learner/0000"])


def test_a_gradient_that_is_not_finite_stops_training_too():
    trainer = tiny_trainer(reducer=InfiniteGradient())
    before = variable_values(trainer)
    with pytest.raises(NonFiniteLoss, match="step 0 has a gradient that is not finite, .* in episodes 0 to 3"):
        trainer.fit(waves(), 1, verbose=0)
    assert_same_values(variable_values(trainer), before)
