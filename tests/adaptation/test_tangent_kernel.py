"""The tangent kernel: closed forms, the flow itself, ties, the whole gradient, what a task keeps, and limits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import cml_tf
from cml_tf.adaptation import TangentKernel
from cml_tf.adaptation.linear_flow import JITTER
from cml_tf.adaptation.packing import packed_size
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import make_episode
from tests.helpers.differences import assert_alike_all_at_once, assert_matches_central_differences
from tests.helpers.models import CONV_SHAPE, MLP_SHAPE, embedding, randomise, smooth_conv, smooth_mlp, two_headed
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode

LINE, PLANE, CLASSES = Regression(1), Regression(2), Classification(3)


def method_of(problem=LINE, learner=None, **options):
    return Method.of(learner or smooth_mlp(problem.outputs), TangentKernel(problem, **options), [QueryLoss(problem)])


def wide(problem):
    """A learner with parameters enough for every example to be fitted by itself."""
    learner = mlp(problem.outputs, MLP_SHAPE, hidden=(20, 20), activation="tanh")
    randomise(learner, 0)
    return learner


def task_of(problem, **options):
    if isinstance(problem, Classification):
        return one_task(classification_episode(**options), 0)
    return one_task(regression_episode(outputs=problem.outputs, **options), 0)


def adapted(method, task):
    """The adapted task, and its outputs on the queries, before the scale of classes."""
    made = method.outcome(method.initial(), task).adapted
    scale = tf.nn.softplus(method.initial().meta[0]) if method.rule.meta_variables else 1.0
    return made, made.predict(task.query.inputs)[1].numpy() / np.asarray(scale)


def linearised(method, task, shared=False):
    """Outputs of support and queries, targets, and Jacobians `[examples, outputs, parameters]`, one row at a time."""
    learner, (parameters, state) = method.learner, method.learner.initial()
    flat = tf.nest.flatten(tuple(parameters))
    outputs, jacobians = [], []
    for part in (task.support, task.query):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(flat)
            made = learner.call(parameters, state, part.inputs, (), False).outputs
            asked = tf.reduce_sum(made, 1, keepdims=True) / np.sqrt(made.shape[1]) if shared else made
            singles = [tf.unstack(row) for row in tf.unstack(asked)]
        outputs.append(made.numpy())
        rows = [[np.concatenate([np.ravel(g) for g in tape.gradient(one, flat)]) for one in row] for row in singles]
        jacobians.append(np.array(rows))
    problem = method.rule.problem
    targets = problem.as_vectors(task.support.targets, tf.float64).numpy()
    return *outputs, targets - (1 / problem.ways if hasattr(problem, "ways") else 0), *jacobians


# ---- closed forms


def test_one_example_of_one_number(float64):
    """The kernel of x w + b at x = 1 is 2: in half a unit of time the residual falls to its e-th part."""
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(1), input_shape=(1,))
    method = method_of(LINE, learner, horizon=0.5)
    ones = tf.ones([1, 1], tf.float64)
    task = task_of(LINE)._replace(support=Examples(ones, 3 * ones), query=Examples(ones, ones))
    before = float(learner.call(*learner.initial(), ones, (), False).outputs[0, 0]) - 3
    np.testing.assert_allclose(adapted(method, task)[1][0, 0] - 3, before * np.exp(-1), rtol=1e-12)


def test_it_is_the_flow_of_the_linearised_learner(float64):
    """The parameters themselves, by Runge-Kutta on the sum of squares; the project's own code takes no part."""
    task, method = task_of(CLASSES), method_of(CLASSES, horizon=0.7)
    start, asked, targets, jacobian, of_queries = linearised(method, task)
    wide = jacobian.reshape(-1, jacobian.shape[-1])

    def slope(_, moves):
        return -wide.T @ ((start - targets).ravel() + wide @ moves)

    moves = solve_ivp(slope, (0, 0.7), np.zeros(wide.shape[1]), "RK45", rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(adapted(method, task)[1], asked + of_queries @ moves, atol=1e-6)
    assert np.abs(of_queries @ moves).max() > 0.1, "adaptation does something"


@pytest.mark.parametrize(("problem", "shared", "horizon"), [(PLANE, True, 0.7), (CLASSES, False, None)])
def test_it_is_the_equation(float64, problem, shared, horizon):
    """Of the page, in NumPy with another matrix exponential; with one kernel for all outputs too."""
    task, method = task_of(problem), method_of(problem, shared=shared, horizon=horizon)
    start, asked, targets, jacobian, of_queries = linearised(method, task, shared)
    wide = jacobian.reshape(-1, jacobian.shape[-1])
    gram, cross = wide @ wide.T, of_queries @ wide.T
    identity = np.eye(len(gram))
    left = (start - targets) if shared else (start - targets).reshape(-1, 1)
    if horizon is None:
        weights = np.linalg.solve(gram + JITTER * np.trace(gram) / len(gram) * identity, left)
    else:
        weights = np.linalg.solve(gram, (identity - expm(-horizon * gram)) @ left)
    expected = asked - (cross @ weights).reshape(asked.shape)
    np.testing.assert_allclose(adapted(method, task)[1], expected, rtol=1e-6, atol=1e-7)


def test_no_time_changes_nothing_and_no_end_of_it_interpolates(float64):
    task = task_of(CLASSES)
    task = task._replace(query=task.support)
    soon, never = (method_of(CLASSES, wide(CLASSES), horizon=horizon) for horizon in (1e-9, None))
    start, _, targets, *_ = linearised(soon, task)
    np.testing.assert_allclose(adapted(soon, task)[1], start, atol=1e-6)
    made, outputs = adapted(never, task)
    np.testing.assert_allclose(outputs, targets, atol=5e-4)
    assert np.abs(start - targets).max() > 0.5
    unadapted = never.rule.unadapted(never.learner, never.initial(), task.support, ())
    scale = tf.nn.softplus(never.initial().meta[0]).numpy()
    np.testing.assert_allclose(unadapted.predict(task.query.inputs)[1], scale * start, rtol=1e-12)
    assert float(never.rule.support_loss(CLASSES, made, task.support)) < 0.02


# ---- examples that repeat


def test_repeated_examples_are_no_trouble_in_single_precision():
    """Their rows are equal, so that H has eigenvalues of 0 up to rounding."""
    for horizon in (1000.0, None):
        method = method_of(CLASSES, horizon=horizon)
        task = task_of(CLASSES)
        support = tf.nest.map_structure(lambda part: tf.repeat(part, 5, 0), task.support)
        gradient = meta_gradient(method, batched(task._replace(support=support)), method.weights())
        assert all(np.isfinite(part).all() for group in gradient.gradients.values() for part in group)


def batched(task):
    support, query = tf.nest.map_structure(lambda part: part[None], tuple(task)[:2])
    return task._replace(support=support, query=query)


def test_weights_are_those_of_twice_the_examples_at_half_the_time(float64):
    """An example given twice pulls twice as hard."""
    task = task_of(LINE)
    twice = task._replace(support=tf.nest.map_structure(lambda part: tf.repeat(part, 2, 0), task.support))
    received, expected = adapted(method_of(horizon=0.3), twice)[1], adapted(method_of(horizon=0.6), task)[1]
    np.testing.assert_allclose(received, expected, rtol=1e-9)


# ---- the whole gradient


@pytest.mark.slow
def test_the_whole_meta_gradient_without_end_and_of_one_kernel_for_all(float64):
    """The contract of members has that of classes after some time, each with a kernel of its own."""
    method = method_of(PLANE, wide(PLANE), horizon=None, shared=True)
    assert_matches_central_differences(method, regression_episode(outputs=2, tasks=1))


def test_the_whole_meta_gradient_where_examples_see_each_other(float64):
    """Normalisation over the batch: an output's row of the Jacobian goes through every example."""
    method = method_of(CLASSES, smooth_conv(), horizon=0.5)
    assert_matches_central_differences(method, classification_episode(tasks=1, shape=CONV_SHAPE))


def test_the_whole_meta_gradient_through_tables(float64):
    """Rows of an embedding, whose gradients TensorFlow keeps as slices."""
    assert_matches_central_differences(method_of(CLASSES, embedding(), horizon=0.5), make_episode("embedding", tasks=1))


@pytest.mark.slow
def test_all_tasks_at_once_are_as_one_by_one(float64):
    learner = mlp(3, MLP_SHAPE, hidden=(4,), activation="tanh")
    assert_alike_all_at_once(method_of(CLASSES, learner, horizon=0.7), classification_episode())


# ---- what a task keeps


@pytest.mark.parametrize(("shared", "shots"), [(False, 4), (True, 1)])
def test_a_task_is_as_large_as_the_parameters_however_many_examples(float64, shared, shots):
    method, task = method_of(CLASSES, shared=shared), task_of(CLASSES, shots=shots)
    made, outputs = adapted(method, task)
    parameters = 2 * 4 + 4 + 4 * 3 + 3 + 3 * 3 + 3
    specification = method.rule.packed_spec(method.learner)
    assert packed_size(specification) == parameters * (3 if shared else 1)
    assert all(spec.name.startswith("moves/") for spec in specification)
    again = method.rule.unpack(method.learner, method.initial(), made.pack(), ())
    scale = tf.nn.softplus(method.initial().meta[0]).numpy()
    np.testing.assert_allclose(again.predict(task.query.inputs)[1] / scale, outputs, atol=1e-5)


def test_a_saved_rule_is_the_same():
    for horizon in (2.5, None):
        rule = TangentKernel(CLASSES, horizon, shared=True, scale=2.0, most_numbers=10**6)
        again = TangentKernel.from_config(rule.get_config())
        assert again.get_config() == rule.get_config() and again.horizon == horizon


def test_the_scale_of_classes_is_learned_and_that_of_numbers_is_none(float64):
    assert method_of(LINE).rule.meta_variables == ()
    (scale,) = method_of(CLASSES, scale=3.0).rule.meta_variables
    np.testing.assert_allclose(tf.nn.softplus(scale), 3.0, rtol=1e-12)


# ---- refusals


def test_a_jacobian_without_room_is_refused_before_it_is_made():
    method, task = method_of(CLASSES, most_numbers=702), task_of(CLASSES)
    message = "must hold at most 701 numbers, support examples x outputs x 39 parameters, received 18 x 39: pass fewer"
    assert adapted(method, task)[1].shape == (6, 3), "18 rows of 39 numbers have room"
    method.rule.most_numbers = 701
    with pytest.raises(UserError, match=message):
        adapted(method, task)
    method.rule.shared = True
    assert adapted(method, task)[1].shape == (6, 3), "6 rows have"


def test_a_graph_that_does_not_know_the_examples_refuses_when_it_runs():
    method = method_of(CLASSES, most_numbers=702)

    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32)], autograph=False)
    def packed(inputs, targets):
        return method.rule.adapt(method.learner, method.initial(), Examples(inputs, targets), ()).pack()

    few, many = (task_of(CLASSES, shots=shots).support for shots in (2, 3))
    np.testing.assert_allclose(packed(*few[:2]), adapted(method, task_of(CLASSES))[0].pack(), rtol=1e-4, atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must hold at most 702 numbers"):
        packed(*many[:2])


def test_what_it_cannot_do_is_refused():
    for name, value in (("horizon", 0.0), ("scale", -1.0), ("most_numbers", 0), ("horizon", float("nan"))):
        with pytest.raises(UserError, match=f"{name} must be positive, received {value}"):
            TangentKernel(CLASSES, **{name: value})
    with pytest.raises(UserError, match="adapts one head, received a learner with two"):
        TangentKernel(CLASSES).build(two_headed(smooth_mlp()))
    with pytest.raises(UserError, match="some with state of a task"):
        TangentKernel(CLASSES).build(smooth_conv(mode="support"))
    layers = [keras.layers.Dense(4), keras.layers.LayerNormalization()]
    learner = Learner(keras.Sequential(layers), keras.layers.Dense(3), input_shape=(2,))
    with pytest.raises(ValueError, match="wrong second derivative"):
        TangentKernel(CLASSES).build(learner)
    with pytest.raises(UserError, match="TangentKernel takes no inner steps, received 2"):
        TangentKernel(CLASSES).with_steps(2)


def test_a_notebook_can_flow_without_end():
    method = cml_tf.method_of("tangent_kernel", endless=True)
    built = method.build(cml_tf.mlp(hidden=(8,)), cml_tf.datasets.load("sinusoid"), LINE)
    assert isinstance(built.rule, TangentKernel) and built.rule.horizon is None
