"""The objective of steepest descent on class weights: numbers known by hand, derivatives, where the steps lead."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

import cml_tf
from cml_tf.adaptation.class_objective import (
    ClassObjective,
    LearnedNumbers,
    class_weights,
    entropy,
    entropy_gradient,
    fisher,
)
from cml_tf.adaptation.steepest_descent import normalised, step
from cml_tf.learners import conv4
from cml_tf.learners.learner import feature_rows
from tests.helpers.seeded_episodes import one_task

NUMBERS = LearnedNumbers(4.0, -3.0, 1.2, 0.7, 0.8, 0.3, 0.4, 2.0, 1.5)


def number(value):
    return tf.constant(value, tf.float64)


def objective_of(numbers=NUMBERS, transductive=True, seed=0, ways=3):
    """A random task of 7 support examples and 5 queries with 4 features, and weights for it."""
    generator = np.random.default_rng(seed)
    rows, queries, weights = (number(generator.standard_normal((count, 4))) for count in (7, 5, ways))
    labels = number(np.eye(ways)[np.arange(7) % ways])
    return ClassObjective(normalised(rows), labels, numbers, queries if transductive else None), weights


def descended(objective, weights, steps):
    one = compiled(objective) if steps > 10 else lambda weights: step(objective, weights)
    for _ in range(steps):
        weights = one(weights)
    return weights


def compiled(objective):
    return tf.function(lambda weights: step(objective, weights), autograph=False)


# ---- numbers known by hand


def test_the_closed_form_gives_each_mean_its_label():
    own, other = [1.0, 0.0], [0.6, 0.8]
    weights = class_weights(number([own, other]), number(np.eye(2)), 5.0, -5.0).numpy()
    np.testing.assert_allclose(weights[0], [5, -10], rtol=1e-12)
    np.testing.assert_allclose(np.array([own, other]) @ weights.T, [[5, -5], [-5, 5]], rtol=1e-12)


def test_the_first_step_on_a_quadratic_of_curvatures_1_and_4():
    """The loss falls from 0.625 to 0.225 at the best step, 0.4; damping makes that 2 / 5.1."""
    objective = ClassObjective(number([[1.0, 0.0], [0.0, 2.0]]), number([[1.0], [1.0]]), LearnedNumbers())
    start = number([[5.0 + 1.0, 2.5 + 0.25]])
    np.testing.assert_allclose(objective.gradient(start), [[1, 1]], rtol=1e-12)
    np.testing.assert_allclose(objective.curvature(start, objective.gradient(start)), 5, rtol=1e-12)
    moved = step(objective, start, damping=0.0)
    np.testing.assert_allclose(start - moved, [[0.4, 0.4]], rtol=1e-12)
    np.testing.assert_allclose([objective.loss(start), objective.loss(moved)], [0.625, 0.225], rtol=1e-12)
    np.testing.assert_allclose(start - step(objective, start), [[2 / 5.1, 2 / 5.1]], rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_curvature_is_the_fisher_form_and_not_the_second_derivative_of_the_entropy(temperature):
    """Of five classes equally likely, along the first: 0.16, where the entropy curves by -0.16."""
    numbers = LearnedNumbers(kappa=1.0, temperature=temperature)
    objective = ClassObjective(number([[0.0]]), number([[1.0, 0, 0, 0, 0]]), numbers, number([[1.0]]))
    weights, along = number(np.zeros([5, 1])), number([[1.0], [0], [0], [0], [0]])
    np.testing.assert_allclose(objective.curvature(weights, along), 0.16 * temperature**2, rtol=1e-12)
    with tf.GradientTape() as outer:
        outer.watch(weights)
        inner = objective.gradient(weights)
    second = tf.reduce_sum(outer.gradient(inner, weights, along) * along)
    np.testing.assert_allclose(second, -0.16 * temperature**2, rtol=1e-12)


def test_equally_likely_classes_have_the_largest_entropy():
    np.testing.assert_allclose(entropy(number(np.full([2, 5], 3.0))), np.log([5, 5]), rtol=1e-12)
    assert float(entropy(number([[1e3, 0, 0]]))[0]) == 0
    scores = number(np.random.default_rng(0).standard_normal((4, 5)))
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = entropy(scores)
    np.testing.assert_allclose(entropy_gradient(scores), tape.gradient(value, scores), atol=1e-14)


# ---- derivatives, against a tape and against matrices


@pytest.mark.parametrize("transductive", [False, True])
def test_the_gradient_is_that_of_the_loss(transductive):
    objective, weights = objective_of(transductive=transductive)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = objective.loss(weights)
    np.testing.assert_allclose(objective.gradient(weights), tape.gradient(loss, weights), rtol=1e-12)


def test_the_loss_counts_residuals_by_sign_and_slope():
    """Every entry by itself: v m where the label is not reached, v a m beyond it."""
    objective, weights = objective_of(transductive=False)
    expected = 0.5 * 0.4**2 * np.square(weights).sum()
    for row, labels in zip(objective.rows.numpy(), np.asarray(objective.signs), strict=True):
        for sign, own in zip(labels, weights.numpy(), strict=True):
            label, weight, slope = (4.0, 1.2, 0.8) if sign > 0 else (-3.0, 0.7, 0.3)
            margin = sign * (label - row @ own)
            expected += 0.5 * (weight * (margin if margin > 0 else slope * margin)) ** 2
    np.testing.assert_allclose(objective.loss(weights), expected, rtol=1e-12)


def test_curvature_is_that_of_pieces_of_quadratics_and_of_a_covariance():
    along = number(np.random.default_rng(1).standard_normal((3, 4)))
    fit, weights = objective_of(transductive=False)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        slope = tf.reduce_sum(fit.gradient(weights) * along)
    expected = np.sum(tape.gradient(slope, weights) * along)
    np.testing.assert_allclose(fit.curvature(weights, along), expected, rtol=1e-12)
    whole, _ = objective_of()
    for query in whole.queries.numpy():
        scores, moved = 1.5 * weights.numpy() @ query, 1.5 * along.numpy() @ query
        shares = np.exp(scores) / np.exp(scores).sum()
        form = moved @ (np.diag(shares) - np.outer(shares, shares)) @ moved
        np.testing.assert_allclose(fisher(number([scores]), number([moved])), [form], rtol=1e-10)
        expected += 2.0 / 5 * form
    np.testing.assert_allclose(whole.curvature(weights, along), expected, rtol=1e-12)


# ---- where the steps lead


def test_they_lead_to_ridge_regression():
    objective, weights = objective_of(LearnedNumbers(penalty=0.3), transductive=False)
    targets = np.asarray(objective.labels)
    ridge = Ridge(alpha=0.3**2, fit_intercept=False).fit(objective.rows.numpy(), targets)
    # Nearer than that, the least curvature that counts shortens the steps.
    np.testing.assert_allclose(descended(objective, weights, 1000), ridge.coef_, atol=1e-4)


def test_they_lead_to_the_minimum_where_residuals_bend():
    objective, weights = objective_of(transductive=False)

    def value(flat):
        at = number(flat.reshape(3, 4))
        return float(objective.loss(at)), objective.gradient(at).numpy().ravel()

    best = minimize(value, weights.numpy().ravel(), jac=True, method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(descended(objective, weights, 1000).numpy().ravel(), best.x, atol=1e-4)


@pytest.mark.slow
def test_few_steps_come_nearer_to_ridge_regression_than_plain_gradient_descent(float64):
    """On glyphs seen by Conv-4 as it begins, 5-way 5-shot, penalty 0.1: not within 1 % in five steps, as was hoped.

    Over four tasks, five steps leave 4.0 to 4.4 times the least loss; the start has 16.9 to 18.7 times. It takes 98 to
    121 steps to come within 1 %, at the best constant rate 598 to 689: six times as many. With a penalty of 1 it takes
    2, and 9 to 10.
    """
    keras.utils.set_random_seed(0)
    learner = conv4(None, (28, 28, 1), normalisation="support")
    episode = cml_tf.datasets.load("glyphs").episodes("test", ways=5, shots=5, queries=2, seed=0).batch(0, 1)
    support = one_task(episode, 0).support
    raw = feature_rows(learner.call(*learner.initial(), tf.cast(support.inputs, tf.float64), (), True).outputs)
    labels = tf.one_hot(support.targets, 5, dtype=tf.float64)
    start = class_weights(raw, labels, 5.0, -5.0)
    at_start, after_five, ours, plain = _until_near(normalised(raw), labels, start, 0.1)
    assert 14 < at_start < 22 and 3 < after_five < 5.5
    assert 50 < ours < 200 and plain > 4 * ours
    *_, ours, plain = _until_near(normalised(raw), labels, start, 1.0)
    assert ours == 2 and 9 <= plain <= 10


def _until_near(rows, labels, start, penalty):
    """Loss at the start and after five steps, over the least one; steps to within 1 %, ours and of plain descent."""
    objective = ClassObjective(rows, labels, LearnedNumbers(penalty=penalty))
    rows = rows.numpy()
    ridge = Ridge(alpha=penalty**2, fit_intercept=False, solver="cholesky").fit(rows, np.asarray(objective.labels))
    least = float(objective.loss(number(ridge.coef_)))
    shares = [float(objective.loss(descended(objective, start, steps))) / least for steps in (0, 5)]
    one, weights, ours = compiled(objective), start, 0
    while float(objective.loss(weights)) > 1.01 * least:
        weights, ours = one(weights), ours + 1
    curvatures, axes = np.linalg.eigh(rows.T @ rows + penalty**2 * np.eye(rows.shape[1]))
    plain = _steps_of_plain_descent(curvatures, (start.numpy() - ridge.coef_) @ axes, 0.01 * least)
    return *shares, ours, plain


def _steps_of_plain_descent(curvatures, distance, excess):
    """How many steps at the best constant rate bring the loss to so much above its minimum."""
    parts = 0.5 * curvatures * np.square(distance).sum(0)
    kept = np.square(1 - np.linspace(0.05, 2, 200)[:, None] / curvatures.max() * curvatures)
    left, steps = np.ones_like(kept), 0
    while (left @ parts).min() > excess:
        left, steps = left * kept, steps + 1
    return steps


def test_without_the_entropy_queries_are_of_no_account():
    numbers = NUMBERS._replace(kappa=0.0)
    objective, weights = objective_of(numbers)
    alone, _ = objective_of(numbers, transductive=False)
    np.testing.assert_allclose(descended(objective, weights, 5), descended(alone, weights, 5), rtol=1e-12)
