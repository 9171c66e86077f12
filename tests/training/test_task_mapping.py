"""Tasks one by one, in chunks, all at once, or compiled: the same numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import conv4, conv4_co_learner, mlp, mlp_co_learner
from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.task_axis import tasks_at_once
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from cml_tf.training.task_mapping import tasks_at_a_time
from tests.helpers.differences import assert_same_gradients
from tests.helpers.models import two_blocks
from tests.helpers.seeded_episodes import classification_episode, regression_episode, tasks_of
from tests.helpers.steps import eagerly

TASKS = 4


def dense(hypergradient="reverse"):
    problem = Regression(1)
    terms = [QueryLoss(problem), CoLearner(mlp_co_learner(1, 4), problem, weight=0.5)]
    rule = GradientDescent(problem, SGD(0.1), 1, make_hypergradient(hypergradient))
    return Method.of(mlp(1, (2,), (4,)), rule, terms), regression_episode(tasks=TASKS)


def convolutional():
    problem = Classification(3)
    terms = [QueryLoss(problem), CoLearner(conv4_co_learner(3, 2, blocks=0), problem, weight=0.5)]
    method = Method.of(two_blocks(conv4, 3, (8, 8, 1), 2), GradientDescent(problem, SGD(0.1), 1), terms)
    return method, classification_episode(tasks=TASKS, shape=(8, 8, 1))


def step_of(method, **arguments):
    return MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1)), **arguments)


def assert_equal_gradients(received, expected, tolerance):
    np.testing.assert_allclose(received.term_losses, expected.term_losses, rtol=tolerance)
    assert_same_gradients(received.gradients, expected.gradients, tolerance)


def test_chunks_that_leave_a_task_over_and_all_tasks_at_once_give_the_same(float64):
    method, episode = dense()
    expected = meta_gradient(method, episode, method.weights())
    assert_equal_gradients(meta_gradient(method, episode, method.weights(), vectorised=True), expected, 1e-10)
    # In a graph: eagerly there is no loop to be cut.
    received = tf.function(lambda: meta_gradient(method, episode, method.weights(), task_chunk=3), autograph=False)()
    assert_equal_gradients(received, expected, 1e-12)


def test_untraced_a_step_takes_arrays_too(float64):
    method, episode = dense()
    expected = meta_gradient(method, episode, method.weights())
    arrays = tf.nest.map_structure(np.asarray, episode)
    with eagerly():
        received = step_of(method, vectorised=False)(arrays)
    np.testing.assert_array_equal(received.term_losses, expected.term_losses)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_all_tasks_of_a_convolutional_learner_at_once_give_the_same(precision, tolerance):
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    method, episode = convolutional()
    step = step_of(method, vectorised=True)
    graph = tf.function(
        lambda: meta_gradient(method, episode, method.weights(), vectorised=step.vectorised), autograph=False
    )
    # Nothing is left that goes through the tasks one by one.
    traced = graph.get_concrete_function()
    assert not [operation for operation in traced.graph.get_operations() if "While" in operation.type]
    assert_equal_gradients(graph(), meta_gradient(method, episode, method.weights()), tolerance)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [1, 2, 3, (4, 3)])
def test_a_product_of_patches_is_a_convolution(float64, padding, size):
    layer = Convolution(3, size, padding=padding)
    maps = np.random.default_rng(0).standard_normal((2, 6, 7, 2))
    expected = layer(maps)
    with tasks_at_once():
        np.testing.assert_allclose(layer(maps), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, pytest.param(convolutional, marks=pytest.mark.slow)])
def test_a_compiled_step_is_the_same_step(make):
    results = []
    for compiled in (False, True):
        keras.utils.set_random_seed(0)
        method, episode = make()
        losses = step_of(method, jit_compile=compiled)(tasks_of(episode, [0, 1])).term_losses
        results.append([losses, *(v for group in method.trained_variables().values() for v in group)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "task_chunk", "expected"),
    [
        (dense, 0, True),
        (lambda: dense("first_order"), 0, True),
        (dense, 2, False),
        (lambda: dense("reverse_rematerialised"), 0, False),
        (convolutional, 0, False),
    ],
)
def test_dense_layers_are_vectorised_unless_memory_is_to_be_bounded(make, task_chunk, expected):
    method, _ = make()
    assert step_of(method, task_chunk=task_chunk).vectorised is expected
    if not expected and make is not convolutional:
        with pytest.raises(UserError, match="vectorised needs a method of dense or plain convolutional layers"):
            step_of(method, task_chunk=task_chunk, vectorised=True)
    with pytest.raises(UserError, match="task_chunk must be an integer of at least 0"):
        step_of(method, task_chunk=-1)


def test_large_tasks_are_taken_one_at_a_time():
    small = Examples(tf.TensorSpec([100, 28, 28, 1]), tf.TensorSpec([100], tf.int32))
    large = Examples(tf.TensorSpec([100, 84, 84, 3]), tf.TensorSpec([100], tf.int32))
    unknown = Examples(tf.TensorSpec([None, 84, 84, 3]), tf.TensorSpec([None], tf.int32))
    assert [tasks_at_a_time(task) for task in (small, large, unknown)] == [2, 1, 2]
