"""Gradients of the analyses against those of the meta-step, which tests/proofs prove, and the paper's theorem."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.learners import Learner, conv4, mlp, mlp_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Regression
from cml_tf.studies.analyses.gradients import (
    comparison,
    cosine,
    inner_products,
    outer_gradients,
    parameter_layers,
    query_gradient,
)
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.models import randomise
from tests.helpers.nodes import random_gcn, random_sgc
from tests.helpers.seeded_episodes import one_task, regression_episode, tasks_of

RATE, STEPS = 0.2, 2
LEARNER, CO_LEARNER = (1.0, 0.0), (0.0, 1.0)


def make(hypergradient="reverse") -> Method:
    """2-4-3-2 with tanh and a co-learner 3-3-2, whose weight (0.7) is not to be seen in any gradient."""
    problem = Regression(2)
    learner = mlp(2, (2,), hidden=(4, 3), activation="tanh")
    randomise(learner, 0)
    terms = [QueryLoss(problem), CoLearner(mlp_co_learner(2, 3, "tanh"), problem, weight=0.7)]
    rule = GradientDescent(problem, SGD(RATE), STEPS, make_hypergradient(hypergradient))
    method = Method.of(learner, rule, terms)
    randomise(terms[1].variables, 1)
    return method


@pytest.mark.parametrize("hypergradient", ["reverse", "reverse_rematerialised", "first_order"])
def test_gradients_are_those_that_the_proven_meta_step_takes(float64, hypergradient):
    """Each loss alone; that of the queries after adaptation is the learner's of first order."""
    method, episode = make(hypergradient), regression_episode(0, outputs=2)
    task, meta_batch = one_task(episode, 0), tasks_of(episode, [0])
    expected = [meta_gradient(method, meta_batch, tf.constant(w)).gradients["learner"] for w in (LEARNER, CO_LEARNER)]
    expected = [[part.numpy() for part in parts[:-2]] for parts in expected]
    received = outer_gradients(method, (LEARNER, CO_LEARNER), task)
    layers = parameter_layers(method.learner)
    for left, right in zip(received, expected, strict=True):
        for one, other in zip(left, right, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for row, places in zip(cosine(comparison(*received, layers)), (slice(2), slice(2, 4), slice(4)), strict=True):
        one, other = (np.concatenate([part.ravel() for part in gradient[places]]) for gradient in expected)
        assert row == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), rel=1e-9)
        assert abs(row) < 0.999
    if hypergradient == "first_order":
        path = method.rule.adapt(method.learner, method.rule.initial(method.learner), task.support, ()).path
        after = query_gradient(method.learner, method.rule.problem, path[-1], task.query)
        for one, other in zip(after, expected[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)
        first, second = (np.sqrt(sum(np.sum(part**2) for part in expected[0][2 * i : 2 * i + 2])) for i in range(2))
        norms = np.sqrt(inner_products(after, after, layers))
        np.testing.assert_allclose(norms, [first, second, np.hypot(first, second)], rtol=1e-9)


def test_cosines_of_known_vectors():
    layers = parameter_layers(mlp(1, (1,), hidden=(1,)))
    left = [tf.constant([[3.0]]), tf.constant([4.0])]
    for right, expected in (([6.0, 8.0], 1.0), ([-3.0, -4.0], -1.0), ([4.0, -3.0], 0.0), ([0.0, 0.0], np.nan)):
        vectors = [tf.constant([[right[0]]]), tf.constant([right[1]])]
        np.testing.assert_allclose(cosine(comparison(left, vectors, layers)), [expected] * 2, atol=1e-12)
    # The product of the squares would be below the smallest float.
    assert cosine(np.array([1e-200, 1e-200, 1e-200])) == 1.0


def test_positive_inner_products_make_the_augmented_direction_a_descent_direction(float64):
    """The paper's theorem: where <g, g_co> > 0 in all tasks, a small step along -(g + gamma g_co) lowers the base loss.

    Where the inner product is very negative, the same step need not: the premise is what carries it.
    """
    method = make()
    episode = regression_episode(0, outputs=2)
    variables = method.learner.variables.extractor
    start = [variable.numpy() for variable in variables]

    def base_loss(factors) -> float:
        """At the start plus a combination of the two gradients."""
        for variable, value, *parts in zip(variables, start, own, co, strict=True):
            variable.assign(value + sum(factor * part for factor, part in zip(factors, parts, strict=True)))
        return float(np.mean(evaluate_losses(method, episode)[0][:, 0]))

    pairs = [outer_gradients(method, (LEARNER, CO_LEARNER), one_task(episode, task)) for task in range(2)]
    layers = parameter_layers(method.learner)
    inner = [float(comparison(own, co, layers)[-1, 0]) for own, co in pairs]
    # Mirrored where the seed has it the other way round, so that the premise holds in every task.
    mirrored = [(own, [np.sign(value) * part for part in co]) for (own, co), value in zip(pairs, inner, strict=True)]
    own, co = ([np.mean(parts, 0) for parts in zip(*side, strict=True)] for side in zip(*mirrored, strict=True))
    across = sum(float(np.sum(one * other)) for one, other in zip(own, co, strict=True))
    assert across > 0
    step, gamma = 1e-4, 0.7
    before, after = base_loss((0, 0)), base_loss((-step, -step * gamma))
    squared = sum(float(np.sum(part**2)) for part in own)
    assert after < before and (before - after) / step == pytest.approx(squared + gamma * across, rel=1e-2)
    assert base_loss((-step, 2 * step * squared / across)) > before


def dense(*trainable):
    layers = [keras.layers.Dense(3, trainable=trains) for trains in trainable]
    return Learner(keras.Sequential(layers), keras.layers.Dense(2), input_shape=(2,))


def strange():
    extractor = keras.Sequential([keras.layers.Conv1D(2, 1, name="strange"), keras.layers.Flatten()])
    return Learner(extractor, keras.layers.Dense(2), input_shape=(3, 1))


CONVOLUTIONS = ["graph convolution 1", "graph convolution 2"]
CONV4 = [f"{kind} {number}" for number in range(1, 5) for kind in ("convolution", "normalisation")]
LAYERS = [
    (lambda: conv4(3, (16, 16, 1), filters=2), CONV4),
    (lambda: mlp(3, (2, 2), hidden=(4, 3)), ["dense 1", "dense 2"]),
    (lambda: dense(False, True), ["dense 1"]),
    (strange, ["strange 1"]),
    (lambda: random_gcn(matching=True), [*CONVOLUTIONS, "attribute matching 1"]),
    (random_sgc, ["linear 1"]),
]


@pytest.mark.parametrize("make, names", LAYERS)
def test_every_parameter_of_the_extractor_belongs_to_one_named_layer(make, names):
    learner = make()
    layers = parameter_layers(learner)
    assert [layer.name for layer in layers] == names
    assert all(layer.has_kernel != layer.name.startswith("normalisation") for layer in layers)
    places = [place for layer in layers for place in layer.positions]
    assert sorted(places) == list(range(len(learner.variables.extractor)))
