"""What the outer loop is fed, and what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.trainer import Trainer, Validation
from tests.helpers.few_shot import IMAGE_SHAPE, image_trainer, tiny_trainer, variable_values
from tests.helpers.seeded_episodes import classification_episode, regression_episode
from tests.helpers.wave_training import assert_same_values, meta_batches, waves

ITERABLES = {
    "list": lambda batches: batches,
    "generator": lambda batches: (batch for batch in batches),
    "tf.data": lambda batches: waves().batches(0, 4),
    "arrays": lambda batches: [
        Episode(*tf.nest.map_structure(lambda t: t.numpy().astype(np.float64), tuple(batch)[:2])) for batch in batches
    ],
    # Lists are taken where the learner takes one array.
    "lists": lambda batches: [
        Episode(*(Examples(part.inputs.numpy().tolist(), part.targets.numpy().tolist()) for part in batch[:2]))
        for batch in batches
    ],
}


@pytest.fixture(scope="module")
def from_source():
    trainer = tiny_trainer()
    return trainer.fit(waves(), 3, validate_every=3, verbose=0), variable_values(trainer)


@pytest.mark.parametrize("kind", ITERABLES)
def test_any_iterable_of_episodes_trains_as_its_source_does(from_source, kind):
    trainer = tiny_trainer()
    history = trainer.fit(ITERABLES[kind](meta_batches(3)), 3, validate_every=3, verbose=0)
    assert trainer.step == 3 and trainer.meta_step.traces == 1
    for name, value in variable_values(trainer).items():
        # One process, two graphs: equal to rounding.
        np.testing.assert_allclose(value, from_source[1][name], rtol=1e-4, atol=1e-6)
    assert history["loss"] == pytest.approx(from_source[0]["loss"], rel=1e-4)


def test_the_position_of_a_bad_episode_and_an_early_end_are_told():
    good = meta_batches(3)
    inputs = good[2].query.inputs.numpy()
    inputs[1, 0] = np.nan
    bad = good[2]._replace(query=good[2].query._replace(inputs=inputs))
    trainer = tiny_trainer()
    with pytest.raises(ValueError, match=r"episode 2 of the iterable: query.inputs must be finite, received 1 NaN"):
        trainer.fit([*good[:2], bad], 3, verbose=0)
    assert trainer.step == 2
    with pytest.raises(ValueError, match="the iterable of episodes ended after 2 steps"):
        trainer.fit(good[:2], 3, verbose=0)


@pytest.mark.parametrize("use", [lambda model: model(np.zeros((2, 1))), lambda model: model.predict(np.zeros((2, 1)))])
def test_callbacks_cannot_call_the_model_that_carries_their_state(use):
    callback = keras.callbacks.LambdaCallback()
    callback.on_epoch_end = lambda epoch, logs=None: use(callback.model)
    with pytest.raises(ValueError, match=r"^this model only carries state for callbacks: call cml_tf.FewShotModel.of"):
        tiny_trainer().fit(waves(), 1, callbacks=[callback], verbose=0)


def images_of(shape, queries=3, **changes):
    episode = classification_episode(ways=3, shots=1, queries=1, shape=shape)
    parts = [Examples(part.inputs.numpy(), part.targets.numpy()) for part in (episode.support, episode.query)]
    parts[1] = tf.nest.map_structure(lambda array: array[:, :queries], parts[1])
    return Episode(*parts)._replace(**changes)


def asked(inputs):
    return images_of(IMAGE_SHAPE, query=Examples(inputs, np.zeros((2, 3), int)))


def single():
    return Episode(*tf.nest.map_structure(lambda tensor: tensor[0], images_of(IMAGE_SHAPE)[:2]))


QUERIES = np.zeros((2, 3, *IMAGE_SHAPE))
UNFITTING = {
    "channels first": (lambda: images_of((1, 16, 16)), r"support.inputs must be .*\[16, 16, 1\].*channels last"),
    "two inputs": (lambda: asked((QUERIES, QUERIES)), r"query.inputs must be .*received .*\[2, 2, 3, 16, 16, 1\]"),
    "a context": (lambda: images_of(IMAGE_SHAPE, context=np.zeros(2)), "takes no context, received ndarray"),
    "no axis of tasks": (single, r"support.targets must be integer labels .*\[tasks"),
    "a pair": (lambda: (QUERIES, QUERIES), "episodes must be cml_tf.Episode"),
}


@pytest.mark.parametrize(("make", "message"), UNFITTING.values(), ids=UNFITTING)
def test_episodes_that_do_not_fit_the_learner_are_refused(make, message):
    """As `FewShotModel.adapt` refuses them, with the position."""
    trainer = image_trainer()
    before = variable_values(trainer)
    with pytest.raises(ValueError, match=f"episode 0 of the iterable: .*{message}") as refusal:
        trainer.fit([make()], 1, verbose=0)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
    assert_same_values(variable_values(trainer), before)


def test_episodes_without_queries_are_refused():
    with pytest.raises(ValueError, match="the query set must contain at least one example, received none"):
        image_trainer().fit([images_of(IMAGE_SHAPE, queries=0)], 1, verbose=0)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_sources_that_do_not_fit_are_refused_before_the_first_step(part):
    problem = Regression(1)
    two = Trainer(mlp(1, (2,), hidden=(4,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem)
    for trainer, fitting, message in (
        (two, regression_episode(inputs=2), r"inputs of episodes must be .*, 2\], received float32 \[4, \d+, 1\]"),
        (
            image_trainer(),
            classification_episode(shape=IMAGE_SHAPE),
            r"episodes must be of Classification\(ways=3\), received .*Regression",
        ),
    ):
        validation = Validation(waves(), 4) if part == "validation" else None
        with pytest.raises(ValueError, match=message):
            trainer.fit(waves() if part == "training" else [fitting], 1, validation=validation, verbose=0)
        assert trainer.step == 0
