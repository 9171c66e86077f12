"""Gradient flow of the head: closed forms, gradient descent, an independent solution, what it costs, and limits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import softmax

from cml_tf.adaptation import SGD, GradientDescent, GradientFlow, anil
from cml_tf.adaptation.flow_solver import flow, sensitivities
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.differences import assert_alike_all_at_once, assert_matches_central_differences, gradients_of
from tests.helpers.models import smooth_mlp, two_headed
from tests.helpers.seeded_episodes import classification_episode, one_task

CLASSES = Classification(3)


def numbers(*values):
    return [tf.constant(value, tf.float64) for value in values]


def method_of(**options):
    return Method.of(smooth_mlp(), GradientFlow(CLASSES, **options), [QueryLoss(CLASSES)])


def system(support=5, ways=3, seed=0, scale=1.0):
    """Logits, Gram matrix and labels of a random task."""
    generator = np.random.default_rng(seed)
    rows = scale * generator.standard_normal((support, 4))
    logits = generator.standard_normal((support, ways))
    return numbers(logits, rows @ rows.T, np.eye(ways)[np.arange(support) % ways])


# ---- what is known in closed form


@pytest.mark.parametrize(("solver", "tolerance"), [("rk4", 1e-7), ("dormand_prince", 1e-4)])
def test_one_example_of_two_classes(float64, solver, tolerance):
    """The margin m follows m + e^m = m0 + e^m0 + 2 G T; from that its derivatives too."""

    @tf.function(autograph=False)
    def flowed(logits, gram, horizon):
        with tf.GradientTape() as tape:
            tape.watch((logits, gram, horizon))
            moved = logits - gram @ flow(logits, gram, tf.constant([[1.0, 0.0]], tf.float64), horizon, solver, 64)
            end = moved[0, 0] - moved[0, 1]
        return end, *tape.gradient(end, (logits, gram, horizon))

    for margin, gram, horizon in ((0.0, 1.0, 1.0), (-1.5, 0.7, 2.0), (0.4, 3.0, 0.6)):
        end, of_logits, of_gram, of_horizon = flowed(*numbers([[margin, 0.0]], [[gram]], horizon))
        total = margin + np.exp(margin) + 2 * gram * horizon
        expected = brentq(lambda m, total=total: m + np.exp(m) - total, -10, 10, xtol=1e-13)
        slope, of_margin = 1 / (1 + np.exp(expected)), (1 + np.exp(margin)) / (1 + np.exp(expected))
        np.testing.assert_allclose(end, expected, rtol=tolerance)
        np.testing.assert_allclose(of_horizon, 2 * gram * slope, rtol=tolerance)
        np.testing.assert_allclose(of_gram, [[2 * horizon * slope]], rtol=tolerance)
        np.testing.assert_allclose(of_logits, [[of_margin, -of_margin]], rtol=tolerance)
        if margin == 0:
            np.testing.assert_allclose([end, of_horizon, of_logits[0, 0]], [0.792060, 0.623453, 0.623453], atol=2e-5)


def test_kernel_and_bias_flow_together(float64):
    """An input of 1 and the 1 of the bias: G = 2, so that half the time leads to the same margin."""
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(2, kernel_initializer="zeros"), input_shape=(1,))
    rule = GradientFlow(Classification(2), horizon=0.5)
    rule.build(learner)
    support = one_task(classification_episode(ways=2, shots=1, shape=(1,)), 0).support
    support = support._replace(inputs=tf.ones([1, 1], tf.float64), targets=support.targets[:1] * 0)
    task = rule.adapt(learner, rule.initial(learner), support, ())
    outputs = task.predict(support.inputs)[1].numpy()[0]
    np.testing.assert_allclose(outputs[0] - outputs[1], 0.792060, atol=1e-6)
    np.testing.assert_allclose(task.kernel[0], task.bias, rtol=1e-12)


def test_no_time_changes_nothing(float64):
    logits, gram, labels = system()
    with tf.GradientTape() as tape:
        tape.watch((logits, gram))
        pulls = flow(logits, gram, labels, tf.constant(0.0, tf.float64), steps=2)
    of_logits, of_gram = tape.gradient(pulls, (logits, gram))
    for zeros in (pulls, of_logits, of_gram):
        np.testing.assert_array_equal(zeros, np.zeros(zeros.shape))


def test_in_no_time_the_layer_gets_the_gradient_of_its_end_and_the_features_none(float64):
    """As the horizon goes to 0: dW = g and db = g, and what is left for the rows falls as the time does."""
    method, task = method_of(solver_steps=1), one_task(classification_episode(), 0)
    generator = np.random.default_rng(1)
    sources = numbers(*(generator.standard_normal(shape) for shape in ((6, 4), (4, 3), (3,))))
    upstream = numbers(*(generator.standard_normal(shape) for shape in ((4, 3), (3,))))
    lengths = []
    for horizon in (1e-8, 1e-9):
        initial = method.initial()._replace(meta=(tf.constant(np.log(horizon), tf.float64),))
        with tf.GradientTape() as tape:
            tape.watch(sources)
            end = method.rule.fit(sources[0], task.support, *sources[1:], initial)
        of_rows, *of_layer = tape.gradient(end, sources, upstream)
        lengths.append(np.linalg.norm(of_rows))
        for received, expected in zip(of_layer, upstream, strict=True):
            np.testing.assert_allclose(received, expected, atol=10 * horizon)
    np.testing.assert_allclose(lengths[0] / lengths[1], 10, rtol=1e-5)
    assert lengths[1] < 1e-7


# ---- the same by other means


def test_euler_is_gradient_descent_on_the_head(float64):
    """Value and gradients, which there pass back through a tape over all steps."""
    method, episode = method_of(horizon=0.9, solver="euler", solver_steps=3), classification_episode(tasks=1)
    descent = replaced(method, GradientDescent(CLASSES, anil(SGD(0.3)), 3))
    ours, theirs = gradients_of(method, episode), gradients_of(descent, episode)
    np.testing.assert_allclose(evaluate_losses(method, episode)[0], evaluate_losses(descent, episode)[0], rtol=1e-10)
    for one, other in zip(ours["learner"], theirs["learner"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def replaced(method, rule):
    return Method.of(method.learner, rule, [QueryLoss(CLASSES)])


@tf.function(autograph=False)
def runge_kutta_on_the_layer(rows, kernel, bias, labels, horizon):
    """200 steps of the layer itself, for a tape to go back through: no pulls, no Gram matrix."""
    length = horizon / 200

    def slope(weights):
        errors = (tf.nn.softmax(rows @ weights[0] + weights[1]) - labels) / rows.shape[0]
        return -tf.matmul(rows, errors, transpose_a=True), -tf.reduce_sum(errors, 0)

    def along(weights, slopes, share):
        return [value + share * length * move for value, move in zip(weights, slopes, strict=True)]

    def step(made, *weights):
        first = slope(weights)
        second = slope(along(weights, first, 0.5))
        third = slope(along(weights, second, 0.5))
        fourth = slope(along(weights, third, 1.0))
        moves = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)]
        return made + 1, *along(weights, moves, 1.0)

    return tf.while_loop(lambda made, *_: made < 200, step, (tf.constant(0), kernel, bias))[1:]


@pytest.mark.parametrize(("solver", "tolerance", "horizon"), [("rk4", 1e-6, 0.2), ("dormand_prince", 2e-4, 3.0)])
def test_it_is_the_flow_that_a_tape_goes_back_through(float64, solver, tolerance, horizon):
    method, task = method_of(solver=solver), one_task(classification_episode(), 0)
    generator = np.random.default_rng(1)
    rows, kernel, bias = numbers(*(generator.standard_normal(shape) for shape in ((6, 4), (4, 3), (3,))))
    upstream = numbers(*(generator.standard_normal(shape) for shape in ((4, 3), (3,))))
    labels, log_horizon = tf.one_hot(task.support.targets, 3, dtype=tf.float64), tf.constant(np.log(horizon))
    sources, results = (rows, kernel, bias, log_horizon), []
    for layer in (
        lambda: method.rule.fit(rows, task.support, kernel, bias, method.initial()._replace(meta=(log_horizon,))),
        lambda: runge_kutta_on_the_layer(rows, kernel, bias, labels, tf.exp(log_horizon)),
    ):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            end = layer()
        results.append([*end, *tape.gradient(end, sources, upstream)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_steps_that_choose_their_length_follow_a_stiff_flow(float64):
    """Where 32 steps of one length are too long; the reference is an implicit method of scipy's."""
    task, horizon = system(scale=10.0), tf.constant(20.0, tf.float64)
    logits, gram, labels = (part.numpy() for part in task)

    def slope(_, flat):
        return ((softmax(logits - gram @ flat.reshape(5, 3), axis=1) - labels) / 5).ravel()

    expected = solve_ivp(slope, (0, 20), np.zeros(15), "Radau", rtol=1e-10, atol=1e-12).y[:, -1].reshape(5, 3)
    np.testing.assert_allclose(flow(*task, horizon, "dormand_prince"), expected, atol=1e-4)
    assert np.abs(flow(*task, horizon) - expected).max() > 0.1


# ---- the whole gradient


@pytest.mark.parametrize("options", [{"solver_steps": 2}, {"solver": "euler", "solver_steps": 3}])
def test_the_gradient_is_that_of_what_is_computed(float64, options):
    """However coarse the steps are, for the horizon as well."""
    assert_matches_central_differences(method_of(horizon=2.0, **options), classification_episode(tasks=1))


def test_every_entry_of_the_gram_matrix_has_its_own_derivative(float64):
    """Which a symmetric matrix, moved symmetrically, cannot show."""
    logits, gram, labels = system()
    generator, at = np.random.default_rng(1), [logits, gram, *numbers(1.5)]
    ways = numbers(*(generator.standard_normal(np.shape(part)) for part in at))
    upstream = generator.standard_normal(logits.shape)

    @tf.function(autograph=False)
    def value(*at):
        return tf.reduce_sum(upstream * flow(at[0], at[1], labels, at[2], steps=3))

    with tf.GradientTape() as tape:
        tape.watch(at)
        made = value(*at)
    for place, gradient in enumerate(tape.gradient(made, at)):
        moved = [[*at[:place], at[place] + length * ways[place], *at[place + 1 :]] for length in (1e-5, -1e-5)]
        expected = (value(*moved[0]) - value(*moved[1])) / 2e-5
        np.testing.assert_allclose(tf.reduce_sum(gradient * ways[place]), expected, atol=1e-9)


@pytest.mark.slow
def test_all_tasks_at_once_are_as_one_by_one(float64):
    assert_alike_all_at_once(method_of(solver="euler", solver_steps=2), classification_episode())


def test_all_at_once_each_task_makes_the_steps_that_it_needs(float64):
    tasks = [(*system(seed=seed, scale=scale), *numbers(1.5)) for seed, scale in ((0, 0.5), (1, 4.0))]
    together = tf.vectorized_map(
        lambda task: flow(*task, "dormand_prince"), tuple(map(tf.stack, zip(*tasks, strict=True)))
    )
    for pulls, task in zip(together, tasks, strict=True):
        np.testing.assert_allclose(pulls, flow(*task, "dormand_prince"), rtol=1e-9)


# ---- what is kept


def operations(steps, solver):
    """Of the graph of loss and gradient, loops' bodies included."""

    @tf.function(autograph=False)
    def gradient(logits, gram, labels):
        with tf.GradientTape() as tape:
            tape.watch((logits, gram))
            loss = tf.reduce_sum(flow(logits, gram, labels, tf.constant(1.0, tf.float64), solver, steps) ** 2)
        return tape.gradient(loss, (logits, gram))

    graph = gradient.get_concrete_function(*system()).graph.as_graph_def()
    return [node.op for nodes in (graph.node, *(one.node_def for one in graph.library.function)) for node in nodes]


@pytest.mark.slow
def test_no_step_is_kept():
    """A tape through a loop keeps what it needs of each step in lists of tensors; here are none, however many steps."""
    few, many, chosen = operations(10, "rk4"), operations(1000, "rk4"), operations(10, "dormand_prince")
    assert len(few) == len(many) and not [name for name in few + chosen if name.startswith("TensorList")]


def test_derivatives_have_the_size_that_the_paper_says(float64):
    """5-way 5-shot: 25 examples, 5 classes, and the horizon's own derivative besides."""
    logits, gram, labels = system(25, 5)
    for steps in (1, 3):
        sizes = [
            tf.size(part) for part in sensitivities(logits, gram, labels, tf.constant(1.0, tf.float64), "rk4", steps)
        ]
        assert sizes == [125, 15_625, 78_125, 125]


# ---- properties


def test_neither_the_order_of_examples_nor_that_of_classes_matters(float64):
    logits, gram, labels = system()
    horizon = tf.constant(1.3, tf.float64)
    pulls = flow(logits, gram, labels, horizon)
    turned = flow(*(tf.reverse(part, [0]) for part in (logits, tf.reverse(gram, [1]), labels)), horizon)
    np.testing.assert_allclose(turned[::-1], pulls, rtol=1e-12)
    turned = flow(tf.reverse(logits, [1]), gram, tf.reverse(labels, [1]), horizon)
    np.testing.assert_allclose(turned[:, ::-1], pulls, rtol=1e-12)


@pytest.mark.parametrize("solver", ["euler", "dormand_prince"])
def test_the_number_of_examples_may_be_open_and_what_is_no_number_ends(solver):
    traced = tf.function(
        lambda logits, gram, labels: flow(logits, gram, labels, tf.constant(1.0), solver, 4),
        input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([None, None]), tf.TensorSpec([None, 3])],
        autograph=False,
    )
    for support in (1, 5):
        given = [tf.cast(part, tf.float32) for part in system(support)]
        np.testing.assert_allclose(traced(*given), flow(*given, tf.constant(1.0), solver, 4), rtol=1e-5, atol=1e-6)
    assert np.isnan(traced(given[0] * np.nan, *given[1:])).all()


def test_the_horizon_stays_in_its_range_and_comes_back():
    method = method_of(horizon=148.0, solver="euler", solver_steps=2)
    # So small a rate moves nothing: what is out of range is brought back to its end.
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(1e-12)), vectorised=False)
    (variable,) = method.rule.meta_variables
    for given, expected in ((9.0, 5.0), (-7.0, -5.0), (1.0, 1.0)):
        variable.assign(given)
        assert bool(step(classification_episode()).finite) and float(variable) == expected
    variable.assign(5.0)
    rate = keras.optimizers.SGD(1.0)
    rate.build([variable])
    rate.apply([tf.constant(0.5)], [variable])
    assert float(variable) == 4.5


# ---- refusals and saving


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="needs classification, received Regression"):
        GradientFlow(Regression(1))
    for horizon in (0.0, 200.0, float("nan")):
        with pytest.raises(UserError, match="horizon must be between 0.007 and 148, received"):
            GradientFlow(CLASSES, horizon=horizon)
    with pytest.raises(UserError, match="solver must be one of rk4, dormand_prince, euler, received 'heun'"):
        GradientFlow(CLASSES, solver="heun")
    for steps in (0, 2.5):
        with pytest.raises(UserError, match=f"solver_steps must be a whole number of 1 or more, received {steps}"):
            GradientFlow(CLASSES, solver_steps=steps)
    with pytest.raises(UserError, match="a head of one trainable linear layer"):
        GradientFlow(CLASSES).build(two_headed(smooth_mlp()))
    with pytest.raises(UserError, match="GradientFlow takes no inner steps, received 2"):
        GradientFlow(CLASSES).with_steps(2)


def test_it_is_made_again_from_its_configuration():
    rule = GradientFlow(CLASSES, horizon=0.1, solver="dormand_prince", solver_steps=7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert again.get_config() == rule.get_config() and again.solver_steps == 7
