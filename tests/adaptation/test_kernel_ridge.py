"""Kernel ridge: the numbers of small systems, an independent reference, limits, gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import KernelRidge, kernel_ridge
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.models import randomise, smooth_mlp, two_headed
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode

LINE, CLASSES = Regression(1), Classification(3)


def plain(problem=LINE, **options):
    """A learner whose features are its inputs, one number, and whose head says 0."""
    head = keras.layers.Dense(problem.outputs, kernel_initializer="zeros")
    learner = Learner(keras.layers.Identity(), head, input_shape=(1,))
    rule = KernelRidge(problem, **options)
    return Method.of(learner, rule, [QueryLoss(problem)])


def left(method, points, targets):
    """What the support examples miss after adaptation."""
    learner, rule = method.learner, method.rule
    support = Examples(*(tf.constant(column, tf.float64)[:, None] for column in (points, targets)))
    task = rule.adapt(learner, rule.initial(learner), support, ())
    return (support.targets - task.predict(support.inputs)[1]).numpy()[:, 0]


def test_one_example_keeps_its_share(float64):
    for ridge in (0.01, 0.5, 3.0):
        np.testing.assert_allclose(left(plain(ridge=ridge), [0.3], [2.0]), [2 * ridge / (1 + ridge)], atol=1e-10)


@pytest.mark.parametrize(("targets", "expected"), [((1.0, 1.0), 0.058598), ((1.0, -1.0), 0.202647)])
def test_two_examples(float64, targets, expected):
    # At a distance of one bandwidth the kernel is exp(-1/2).
    received = left(plain(bandwidth=2.0, ridge=0.05), [1.0, 3.0], list(targets))
    np.testing.assert_allclose(np.abs(received), expected, atol=5e-7)


def test_without_a_ridge_it_interpolates(float64):
    np.testing.assert_allclose(left(plain(bandwidth=0.3, ridge=1e-9), [0.0, 1.0, 2.0], [1.0, -1.0, 4.0]), 0, atol=1e-7)


def test_far_from_all_examples_it_is_the_learner(float64):
    learner = smooth_mlp(1)
    method = Method.of(learner, KernelRidge(LINE, bandwidth=1e-3), [QueryLoss(LINE)])
    task = one_task(regression_episode(), 0)
    initial = method.rule.initial(learner)
    adapted = method.rule.adapt(learner, initial, task.support, ())
    alone = method.rule.unadapted(learner, initial, task.support, ())
    inputs = task.query.inputs + 100.0
    np.testing.assert_allclose(adapted.predict(inputs)[1], alone.predict(inputs)[1], atol=1e-12)


def test_a_kernel_of_zero_leaves_the_learners_own_outputs(float64, monkeypatch):
    monkeypatch.setattr(kernel_ridge, "_kernel", lambda left, right, bandwidth: 0 * (left @ tf.transpose(right)))
    learner, rule, task = smooth_mlp(3), KernelRidge(CLASSES), one_task(classification_episode(), 0)
    rule.build(learner)
    _, received = rule.adapt(learner, rule.initial(learner), task.support, ()).predict(task.query.inputs)
    own = learner.call(*learner.initial(), task.query.inputs, (), False).outputs
    np.testing.assert_allclose(received, own, rtol=1e-12)


def test_a_linear_kernel_is_ridge_regression_on_the_features(float64, monkeypatch):
    """The primal form, with as many equations as features: (Phi' Phi + n ridge)^-1 Phi' R."""
    monkeypatch.setattr(kernel_ridge, "_kernel", lambda left, right, bandwidth: left @ tf.transpose(right))
    learner, rule, task = smooth_mlp(3), KernelRidge(CLASSES, ridge=0.2), one_task(classification_episode(), 0)
    rule.build(learner)
    _, received = rule.adapt(learner, rule.initial(learner), task.support, ()).predict(task.query.inputs)
    forward = [learner.call(*learner.initial(), part.inputs, (), False) for part in (task.support, task.query)]
    rows, left = forward[0].features.numpy(), np.eye(3)[task.support.targets] - forward[0].outputs
    weights = np.linalg.solve(rows.T @ rows + len(rows) * 0.2 * np.eye(rows.shape[1]), rows.T @ left)
    np.testing.assert_allclose(received, forward[1].outputs + forward[1].features @ weights, rtol=1e-10)


def test_a_ridge_that_was_learned_away_leaves_a_solution():
    """In float32, examples that are one and the same to the kernel."""
    learner = smooth_mlp(1)
    rule = KernelRidge(LINE, ridge=1e-30)
    rule.build(learner)
    inputs = tf.constant([[0.3, 0.1]] * 25) + tf.linspace(0.0, 1e-4, 25)[:, None]
    support = Examples(inputs, tf.ones([25, 1]))
    _, received = rule.adapt(learner, rule.initial(learner), support, ()).predict(inputs)
    np.testing.assert_allclose(received, 1.0, atol=1e-2)


@pytest.mark.parametrize("problem", [LINE, CLASSES])
def test_it_is_scikit_learns(float64, problem):
    reference_of = pytest.importorskip("sklearn.kernel_ridge", reason="the reference is scikit-learn's").KernelRidge
    episode = regression_episode() if problem is LINE else classification_episode()
    learner, task = smooth_mlp(problem.outputs), one_task(episode, 0)
    rule = KernelRidge(problem, bandwidth=0.8, ridge=0.2, scale=1.5)
    rule.build(learner)
    initial = rule.initial(learner)
    forward = [learner.call(*learner.initial(), part.inputs, (), False) for part in (task.support, task.query)]
    features, outputs = ([np.asarray(f[part]) for f in forward] for part in (0, 1))
    reference = reference_of(alpha=0.2 * len(features[0]), kernel="rbf", gamma=1 / (2 * 0.8**2))
    reference.fit(features[0], problem.as_vectors(task.support.targets, tf.float64).numpy() - outputs[0])
    expected = 1.5 * (outputs[1] + reference.predict(features[1]))
    _, received = rule.adapt(learner, initial, task.support, ()).predict(task.query.inputs)
    np.testing.assert_allclose(received, expected, rtol=1e-10, atol=1e-10)


def test_the_whole_meta_gradient_of_regression(float64):
    """The contract of members has that of classification."""
    method = Method.of(smooth_mlp(1), KernelRidge(LINE), [QueryLoss(LINE)])
    randomise(method.rule.meta_variables, 3, scale=0.2)
    assert_matches_central_differences(method, regression_episode(tasks=1))


@pytest.mark.parametrize("examples", [1, 4])
def test_a_packed_task_grows_with_its_examples(float64, examples):
    learner = smooth_mlp(1)
    rule = KernelRidge(LINE)
    rule.build(learner)
    initial, task = rule.initial(learner), one_task(regression_episode(shots=examples), 0)
    adapted = rule.adapt(learner, initial, task.support, ())
    packed = adapted.pack()
    assert packed.shape == (examples * (3 + 1),)
    again = rule.unpack(learner, initial, packed, ())
    np.testing.assert_allclose(
        again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1], rtol=1e-5, atol=1e-6
    )


def test_what_it_cannot_do_is_refused():
    for options in ({"ridge": 0.0}, {"bandwidth": -1.0}, {"scale": float("nan")}):
        with pytest.raises(UserError, match=f"{next(iter(options))} must be positive, received"):
            KernelRidge(LINE, **options)
    with pytest.raises(UserError, match="a learner with two"):
        KernelRidge(CLASSES).build(two_headed(smooth_mlp()))
    with pytest.raises(UserError, match="KernelRidge takes no inner steps, received 2"):
        KernelRidge(LINE).with_steps(2)
