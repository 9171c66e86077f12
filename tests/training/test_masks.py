"""Tasks of different sizes in one meta-batch: what does not count changes nothing, whatever it holds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, KernelRidge
from cml_tf.episodes import Episode, Examples, validate_episode
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.differences import assert_same_gradients
from tests.helpers.models import CONV_SHAPE, smooth_co_learner, smooth_conv
from tests.helpers.seeded_episodes import classification_episode, regression_episode, tasks_of

CLASSES = Classification(3)
NUMBERS = Regression(1)
# Of each task, out of 6 examples.
SIZES = {"support": (3, 6), "query": (5, 2)}


def images():
    terms = [QueryLoss(CLASSES), smooth_co_learner(CLASSES)]
    method = Method.of(smooth_conv(), GradientDescent(CLASSES, SGD(0.1), 1), terms)
    return CLASSES, method, classification_episode(tasks=2, shape=CONV_SHAPE)


def waves():
    method = Method.of(mlp(1, (2,), (4,)), GradientDescent(NUMBERS, SGD(0.1)), [QueryLoss(NUMBERS)])
    return NUMBERS, method, regression_episode(tasks=2, shots=6, queries=6)


def ridge():
    method = Method.of(mlp(1, (2,), (4,)), KernelRidge(NUMBERS), [QueryLoss(NUMBERS)])
    return NUMBERS, method, regression_episode(tasks=2, shots=6, queries=6)


def masked(episode: Episode, filling: float) -> Episode:
    """The first examples of each task count; inputs of the others, and targets that are floats, hold `filling`."""

    def part(name: str) -> Examples:
        inputs, targets, _ = getattr(episode, name)
        mask = np.arange(6) < np.array(SIZES[name])[:, None]
        own = np.where(mask.reshape(2, 6, *[1] * (inputs.ndim - 2)), inputs, filling)
        hidden = -1 if targets.dtype.is_integer else filling
        return Examples(own, np.where(mask.reshape(2, 6, *[1] * (targets.ndim - 2)), targets, hidden), mask)

    return episode._replace(support=part("support"), query=part("query"))


def alone(episode: Episode, task: int) -> Episode:
    """One task cut to its size, as a meta-batch."""
    one = tasks_of(episode, [task])
    cut = {
        name: Examples(*(leaf[:, : SIZES[name][task]] for leaf in getattr(one, name)[:2]))
        for name in ("support", "query")
    }
    return one._replace(**cut)


@pytest.mark.parametrize("make", [images, waves, ridge])
def test_rows_that_do_not_count_change_nothing(float64, make):
    problem, method, episode = make()
    cut = [alone(episode, task) for task in range(2)]
    losses = [evaluate_losses(method, one)[0] for one in cut]
    both = [meta_gradient(method, one, method.weights()).gradients for one in cut]
    expected = tf.nest.map_structure(lambda first, second: (first + second) / 2, *both)
    padded = validate_episode(masked(episode, np.nan), problem)
    in_float64 = tf.nest.map_structure(
        lambda leaf: tf.cast(leaf, tf.float64) if leaf.dtype.kind == "f" else tf.constant(leaf), padded[:2]
    )
    padded = Episode(*in_float64)
    received = tf.function(lambda: meta_gradient(method, padded, method.weights()), autograph=False)()
    # The boundary hands on float32: data differ by its rounding.
    np.testing.assert_allclose(received.term_losses, tf.concat(losses, 0), rtol=1e-5)
    assert_same_gradients(received.gradients, expected, 1e-5)
    exact = masked(episode, 0.5)
    assert_same_gradients(meta_gradient(method, exact, method.weights()).gradients, expected, 1e-10)


def test_masks_of_other_sizes_trace_nothing_anew_and_ask_for_tasks_one_by_one():
    _, method, episode = waves()
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1)))
    assert step.vectorised
    for mask in (np.tri(2, 6, 3, bool), np.ones((2, 6), bool)):
        parts = [Examples(*part[:2], mask) for part in (episode.support, episode.query)]
        assert step(Episode(*parts)).finite
    assert step.traces == 1
    asked = MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1)), vectorised=True)
    with pytest.raises(UserError, match=r"vectorised .* mask.* leave vectorised at auto"):
        asked(Episode(*parts))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((2, 6)), "booleans .*float64"),
        (np.ones((2, 5), bool), r"= \[2, 6\].*\[2, 5\]"),
        (np.eye(2, 6, 4, bool) * np.array([[True], [False]]), r"at least one .* tasks \[1\]"),
    ],
)
def test_wrong_masks_are_refused(mask, words):
    _, _, episode = waves()
    with pytest.raises(UserError, match=f"support.mask must .*{words}"):
        validate_episode(episode._replace(support=Examples(*episode.support[:2], mask)), NUMBERS)
