"""Task weights: their numbers, what holds bit for bit, whose gradients they read, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, KernelRidge
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss, TaskWeights
from cml_tf.objectives.task_weights import agreements
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.contract_tables import make_episode, make_method
from tests.helpers.differences import assert_same_gradients
from tests.helpers.models import randomise, smooth_mlp
from tests.helpers.seeded_episodes import regression_episode

LINE = Regression(1)


def weights_of(gradients, agreement=1.0):
    """How much each task counts, by what the outer loss makes of its loss."""
    losses = tf.ones(len(gradients[0]), gradients[0].dtype)
    with tf.GradientTape() as tape:
        tape.watch([losses, *gradients])
        loss = TaskWeights(agreement)(losses, {"extractor": (), "head": tuple(gradients)}, ())
    received, *others = tape.gradient(loss, [losses, *gradients])
    assert others == [None] * len(gradients), "weights are constants"
    return received.numpy()


def test_the_numbers_of_three_tasks():
    first = tf.constant([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], tf.float64)
    np.testing.assert_allclose(weights_of([first]), [0.468311, 0.468311, 0.063379], atol=5e-7)
    # Split over two variables it is one vector still.
    pieces = [tf.reshape(first[:, :1], [3, 1, 1]), first[:, 1:]]
    np.testing.assert_array_equal(weights_of(pieces), weights_of([first]))
    doubled = np.exp([2.0, 2.0, -2.0])
    np.testing.assert_allclose(weights_of([first], agreement=2.0), doubled / doubled.sum(), rtol=1e-12)


def test_directions_count_and_lengths_only_through_the_mean():
    generator = np.random.default_rng(0)
    kernel, bias = generator.standard_normal((5, 3, 2)), generator.standard_normal((5, 2))
    flat = np.concatenate([kernel.reshape(5, -1), bias], 1)
    mean = flat.mean(0)
    cosines = flat @ mean / (np.linalg.norm(flat, axis=1) * np.linalg.norm(mean))
    np.testing.assert_allclose(agreements((tf.constant(kernel), tf.constant(bias))), cosines, rtol=1e-12)
    np.testing.assert_allclose(agreements((tf.constant(7 * kernel), tf.constant(7 * bias))), cosines, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 7, 25])
def test_equal_gradients_or_no_agreement_give_the_mean_bit_for_bit(tasks, dtype):
    generator = np.random.default_rng(tasks)
    for shape in ((1,), (41,), (64, 5)):
        one, own = (tf.constant(generator.standard_normal((count, *shape)), dtype) for count in (1, tasks))
        exact = np.full(tasks, 1, dtype) / np.array(tasks, dtype)
        np.testing.assert_array_equal(weights_of([tf.repeat(one, tasks, 0)]), exact)
        np.testing.assert_array_equal(weights_of([own], agreement=0.0), exact)


def test_short_gradients_have_no_direction():
    opposite = tf.constant([[1.0, 2.0], [-1.0, -2.0]], tf.float64)
    np.testing.assert_array_equal(weights_of([opposite]), [0.5, 0.5])
    np.testing.assert_array_equal(agreements((tf.constant([[3.0, 0.0], [0.0, 0.0]]),)), [1.0, 0.0])
    for length, expected in ((9e-13, 0.0), (2e-12, 1.0)):
        lone = agreements((tf.constant([[1.0], [length]], tf.float64),))
        np.testing.assert_allclose(lone, [1.0, expected], rtol=1e-12)
    assert np.isnan(weights_of([tf.constant([[1.0], [np.nan]])])).all(), "not taken for short"


def wave_method(rule):
    method = Method.of(smooth_mlp(1), rule, [QueryLoss(LINE)], TaskWeights(2.0))
    randomise(method.rule.meta_variables, 3, scale=0.2)
    return method, regression_episode(tasks=3, shots=6, queries=6)


def classes_method(terms, rule):
    plain = make_method(rule, terms)
    return Method.of(plain.learner, plain.rule, plain.terms, TaskWeights(2.0)), make_episode(tasks=3)


CASES = {
    "cl": lambda: classes_method("cl", "meta_sgd"),
    "boil": lambda: classes_method("query_loss", "boil_sgd"),
    "kernel_ridge": lambda: wave_method(KernelRidge(LINE)),
    "regression": lambda: wave_method(GradientDescent(LINE, SGD(0.1), 2)),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_it_is_the_weighed_sum_of_what_the_tasks_give_alone(float64, make):
    """The whole definition, from one task at a time: weights by numpy, of the head at the initial parameters."""
    method, episode = make()
    plain = Method.of(method.learner, method.rule, method.terms)
    ones = [tf.nest.map_structure(lambda tensor, i=i: tensor[i][None], episode) for i in range(3)]
    alone = [meta_gradient(plain, one, plain.weights()) for one in ones]
    extractor = len(method.learner.variables.extractor)
    flat = np.stack([np.concatenate([g.numpy().ravel() for g in a.gradients["learner"][extractor:]]) for a in alone])
    cosines = flat @ flat.mean(0) / np.linalg.norm(flat, axis=1) / np.linalg.norm(flat.mean(0))
    weights = np.exp(2 * cosines) / np.exp(2 * cosines).sum()
    assert np.ptp(weights) > 1e-3
    expected = {
        group: tuple(sum(w * a.gradients[group][i] for w, a in zip(weights, alone, strict=True)) for i in range(len(g)))
        for group, g in alone[0].gradients.items()
    }
    received = meta_gradient(method, episode, method.weights())
    assert_same_gradients(received.gradients, expected, 1e-9)
    total = sum(w * float(a.loss) for w, a in zip(weights, alone, strict=True))
    assert float(received.loss) == pytest.approx(total, rel=1e-10)


def test_all_tasks_at_once_and_one_by_one_give_the_same(float64):
    """The gradients of the tasks, whatever they come from, meet the reducer in the same place."""
    method, episode = CASES["kernel_ridge"]()
    expected = meta_gradient(method, episode, method.weights())
    received = tf.function(lambda: meta_gradient(method, episode, method.weights(), vectorised=True), autograph=False)()
    assert_same_gradients(received.gradients, expected.gradients, 1e-9)


def test_rows_that_a_mask_hides_do_not_count(float64):
    method, episode = wave_method(GradientDescent(LINE, SGD(0.1)))
    mask = np.arange(6) < np.array([[3], [6], [4]])
    received = []
    for filling in (0.5, -2.0):
        parts = [
            Examples(tf.where(mask[:, :, None], part.inputs, filling), part.targets, mask)
            for part in (episode.support, episode.query)
        ]
        hidden = episode._replace(support=parts[0], query=parts[1])
        received.append(meta_gradient(method, hidden, method.weights()))
    assert_same_gradients(received[0].gradients, received[1].gradients, 1e-12)
    assert float(received[0].loss) == pytest.approx(float(received[1].loss), rel=1e-12)


def test_without_agreement_training_is_that_of_the_mean_bit_for_bit():
    trained = []
    for reducer in (None, TaskWeights(0.0)):
        plain = make_method("anil_sgd", "query_loss", steps=1)
        method = Method.of(plain.learner, plain.rule, plain.terms, reducer)
        step = MetaStep(
            method, dict.fromkeys(method.trained_variables(), keras.optimizers.Adam(0.01)), vectorised=False
        )
        for seed in range(2):
            assert bool(step(make_episode(seed=seed, tasks=3)).finite)
        trained.append([v.numpy() for v in tf.nest.flatten(method.trained_variables())])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_there_is_nothing_to_weigh_by_is_refused():
    for agreement in (-0.1, float("inf"), float("nan")):
        with pytest.raises(UserError, match="agreement must be 0 or more, received"):
            TaskWeights(agreement)
    learner = Learner(keras.layers.Dense(3), keras.layers.Identity(), input_shape=(2,))
    with pytest.raises(UserError, match="task weights need a head with trainable weights, .* received a head without"):
        Method.of(learner, GradientDescent(Classification(3), SGD(0.1)), [QueryLoss(Classification(3))], TaskWeights())
    frozen = keras.layers.Dense(1, trainable=False)
    with pytest.raises(UserError, match="trainable weights"):
        TaskWeights().build(Learner(keras.layers.Dense(3), frozen, input_shape=(2,)))
    TaskWeights().build(mlp(3, (2,)))
