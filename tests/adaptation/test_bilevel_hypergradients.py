"""BOML's hypergradients: closed forms of quadratics with numbers, and against reverse mode on learners."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, Implicit, Truncated, anil, make_hypergradient
from cml_tf.adaptation.hypergradients.rematerialised import rematerialised_path
from cml_tf.learners import Learner, Parameters
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.method import Method
from tests.adaptation.test_update_hooks import Rescaled
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import randomise
from tests.helpers.quadratics import TARGET, gradients_of_quadratic
from tests.helpers.seeded_episodes import one_task, regression_episode
from tests.helpers.toy_rules import ContextShift, Momentum

HALF = 0.8**5
PROXIMITY = 3.0
# By name and options: what d F / d y_T = y_T - c is multiplied by for y_0 and for x; rate * h = 0.2, ten steps.
FACTORS = [
    ("reverse", {}, 0.8**10, 1 - 0.8**10),
    ("reverse_rematerialised", {}, 0.8**10, 1 - 0.8**10),
    ("finite_difference", {}, 0.8**10, 1 - 0.8**10),
    ("adjoint_discrete", {}, 0.8**10, 1 - 0.8**10),
    ("adjoint_discrete", {"stored_every": 3}, 0.8**10, 1 - 0.8**10),
    ("first_order", {}, 1.0, 0.0),
    ("truncated", {"kept_steps": 5}, HALF, 1 - HALF),
    ("truncated", {"kept_steps": 11}, 0.8**10, 1 - 0.8**10),
    ("implicit", {"proximity": 0.0}, 0.0, 1.0),
    ("implicit", {"proximity": PROXIMITY}, PROXIMITY / (2.0 + PROXIMITY), 2.0 / (2.0 + PROXIMITY)),
]


@pytest.mark.parametrize(("name", "options", "of_start", "of_x"), FACTORS)
def test_the_quadratic_has_its_closed_form(name, options, of_start, of_x):
    start, x, arriving = gradients_of_quadratic(make_hypergradient(name, **options))
    np.testing.assert_allclose(arriving, 1.5 * (1 - 0.8**10) - TARGET, rtol=1e-14)
    np.testing.assert_allclose(start, arriving * of_start, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(x, arriving * of_x, rtol=1e-12, atol=1e-15)


def random_curvature(size=6, least=0.5):
    matrix = np.random.default_rng(0).standard_normal((size, size))
    return matrix @ matrix.T + least * np.eye(size)


@pytest.mark.parametrize("proximity", [0.0, 0.7])
def test_implicit_solves_for_every_direction(proximity):
    curvature = random_curvature()
    order = Implicit(proximity, iterations=30, tolerance=1e-13)
    start, x, arriving = gradients_of_quadratic(order, curvature / 20, steps=3, size=6)
    solved = np.linalg.solve(curvature / 20 + proximity * np.eye(6), arriving)
    np.testing.assert_allclose(x, curvature / 20 @ solved, rtol=1e-9)
    np.testing.assert_allclose(start, proximity * solved, rtol=1e-9, atol=1e-11)


def test_implicit_without_a_step_and_where_nothing_curves_up_is_of_first_order():
    for order, curvature, steps in ((Implicit(0.0), 2.0, 0), (Implicit(0.5), -2.0, 4)):
        start, x, arriving = gradients_of_quadratic(order, ((curvature,),), steps)
        np.testing.assert_allclose(start, arriving, rtol=1e-14)
        np.testing.assert_array_equal(x, 0.0)


def test_finite_differences_of_a_quadratic_are_exact_whatever_the_radius():
    curvature = random_curvature() / 20
    expected = gradients_of_quadratic(make_hypergradient("reverse"), curvature, 4, 6)
    for radius in (1e-2, 10.0):
        received = gradients_of_quadratic(make_hypergradient("finite_difference", radius=radius), curvature, 4, 6)
        np.testing.assert_allclose(received, expected, rtol=1e-12)


def test_one_tensor_in_two_places_has_both_gradients():
    start, same = tf.constant(2.0), tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch((start, same))
        path = rematerialised_path(lambda value, pair: value * pair[0] + pair[1], start, (same, same), 2)
        end = path[1]
    np.testing.assert_array_equal(path, [9.0, 30.0])
    # The second is start * same^2 + same^2 + same.
    assert float(tape.gradient(end, same)) == 2 * 2.0 * 3.0 + 2 * 3.0 + 1


# ---- truncated


def test_truncated_is_reverse_mode_from_where_the_kept_steps_begin(float64):
    """One task, so that there is one such place."""
    method, episode = make_method("sgd", steps=3), make_episode(tasks=1)
    method.rule.hypergradient = Truncated(2)
    received = gradients_of(method, episode)
    early = method.rule.with_steps(1)
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    middle = early.adapt(method.learner, initial, task.support, ()).parameters
    for variable, value in zip(
        tf.nest.flatten(tuple(method.learner.variables)), tf.nest.flatten(tuple(middle)), strict=True
    ):
        variable.assign(value)
    method.rule.steps, method.rule.hypergradient = 2, make_hypergradient("reverse")
    assert_same_gradients(received, gradients_of(method, episode), tolerance=1e-13)


# ---- finite differences


def with_rule(make):
    method = make_method()
    rule = GradientDescent(PROBLEM, make(), 2)
    return Method.of(method.learner, rule, method.terms)


UPDATES = {
    "a counter and a context": lambda: with_rule(lambda: ContextShift(0.4)),
    "momentum": lambda: with_rule(lambda: Momentum(0.3)),
    "gradients elsewhere": lambda: with_rule(Rescaled),
    "ANIL": lambda: make_method("anil_meta_sgd"),
    "rates of each step": lambda: make_method("per_step_rates"),
    "losses on the way": lambda: make_method("sgd", "multi_step"),
}


def furthest(received, expected):
    return max(
        np.abs(left - right).max()
        for group in expected
        for left, right in zip(received[group], expected[group], strict=True)
    )


@pytest.mark.parametrize("name", UPDATES)
def test_finite_differences_agree_with_reverse_mode(float64, name):
    """The error falls with the square of the radius."""
    method, episode = UPDATES[name](), make_episode(tasks=1)
    method.rule.sharpness = 0.2
    expected = gradients_of(method, episode)
    errors = []
    for radius in (1e-2, 1e-3):
        method.rule.hypergradient = make_hypergradient("finite_difference", radius=radius)
        errors.append(furthest(gradients_of(method, episode), expected))
    assert errors[1] < 1e-7 and errors[0] < 1e-4
    assert errors[0] < 1e-12 or 80 < errors[0] / errors[1] < 120


def test_finite_differences_take_layers_without_second_derivatives(float64):
    """Against differences of the outer loss itself, which reverse mode would miss."""
    layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.LayerNormalization()]
    learner = Learner(keras.Sequential(layers), keras.layers.Dense(3), input_shape=(2,))
    randomise(learner, 0)
    rule = GradientDescent(PROBLEM, SGD(0.3), 2)
    with pytest.raises(ValueError, match="wrong second derivative"):
        Method.of(learner, rule, [QueryLoss(PROBLEM)])
    rule = GradientDescent(PROBLEM, SGD(0.3), 2, make_hypergradient("finite_difference", radius=1e-4))
    method, episode = Method.of(learner, rule, [QueryLoss(PROBLEM)]), make_episode()
    assert_matches_central_differences(method, episode)


# ---- implicit


def test_implicit_is_the_derivative_of_where_a_linear_head_ends(float64):
    """A linear head has one minimum, in closed form; how far the frozen extractor moves it is all there is."""
    extractor = keras.Sequential([keras.layers.Dense(3, activation="tanh"), keras.layers.Dense(2, activation="tanh")])
    learner, numbers = Learner(extractor, keras.layers.Dense(1), input_shape=(2,)), Regression(1)
    randomise(learner, 0, scale=1.5)
    rule = GradientDescent(numbers, anil(SGD(0.1)), 2, Implicit(0.0, tolerance=1e-14))
    method, episode = Method.of(learner, rule, [QueryLoss(numbers)]), regression_episode(shots=12, tasks=1)
    (support, query), (parameters, state) = one_task(episode, 0)[:2], learner.initial()

    def with_one(inputs):
        features = learner.call(parameters, state, inputs, (), True).features
        return tf.concat([features, tf.ones_like(features[:, :1])], 1)

    with tf.GradientTape() as tape:
        tape.watch(parameters.extractor)
        rows = with_one(support.inputs)
        square = tf.linalg.matmul(rows, rows, transpose_a=True)
        end = tf.linalg.solve(square, tf.linalg.matmul(rows, support.targets, transpose_a=True))
        loss = tf.reduce_mean(tf.square(tf.linalg.matmul(with_one(query.inputs), end) - query.targets))
    expected = tape.gradient(loss, parameters.extractor)
    # The loop begins in the minimum and stays there.
    for variable, value in zip(learner.variables.head, (end[:-1], end[-1]), strict=True):
        variable.assign(value)
    received = gradients_of(method, episode)["learner"]
    for left, right in zip(received[:4], expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-10)
    assert max(np.abs(part).max() for part in received[:4]) > 1e-2
    assert max(np.abs(part).max() for part in received[4:]) < 1e-10, "the head's own start is forgotten"


def test_implicit_is_the_solution_with_the_whole_hessian(float64):
    """With everything adapting, sharpness, co-learner and all; H from reverse mode through one step."""
    method, episode = make_method("sgd", steps=2), make_episode(tasks=1)
    method.rule.sharpness = 0.2
    proximity = 5.0
    method.rule.hypergradient = Implicit(proximity, iterations=60, tolerance=1e-12)
    received = np.concatenate([np.ravel(part) for part in gradients_of(method, episode)["learner"]])
    method.rule.hypergradient = make_hypergradient("first_order")
    arriving = np.concatenate([np.ravel(part) for part in gradients_of(method, episode)["learner"]])
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    end = method.rule.adapt(method.learner, initial, task.support, ()).parameters
    flat = tf.nest.flatten(tuple(end))
    one = method.rule.with_steps(1)
    one.hypergradient = make_hypergradient("reverse")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        parameters = Parameters(*tf.nest.pack_sequence_as(tuple(end), flat))
        after = one.adapt(method.learner, initial._replace(parameters=parameters), task.support, ()).parameters
        together = tf.concat([tf.reshape(part, [-1]) for part in tf.nest.flatten(tuple(after))], 0)
    jacobian = np.concatenate(
        [np.reshape(part, (len(together), -1)) for part in tape.jacobian(together, flat, experimental_use_pfor=False)],
        1,
    )
    hessian = (np.eye(len(together)) - jacobian) / 0.3
    np.testing.assert_allclose(
        received, proximity * np.linalg.solve(hessian + proximity * np.eye(len(hessian)), arriving), rtol=1e-8
    )


def test_rates_do_not_move_a_minimum_and_a_context_starts_anywhere(float64):
    method, episode = make_method("meta_sgd"), make_episode(tasks=1)
    method.rule.hypergradient = Implicit()
    for gradient in gradients_of(method, episode)["adaptation"]:
        np.testing.assert_array_equal(gradient, 0.0)
    method = with_rule(lambda: ContextShift(0.4))
    method.rule.hypergradient = Implicit()
    assert all(np.abs(gradient).max() > 1e-4 for gradient in gradients_of(method, episode)["adaptation"])


# ---- all of them


@pytest.mark.slow
def test_how_near_they_come_to_reverse_mode(float64):
    """The figures of docs/systems/boml.md."""
    method, episode = make_method("sgd", "co_learner", "conv", steps=5), make_episode("conv")

    def gradient(name="reverse", **options):
        method.rule.hypergradient = make_hypergradient(name, **options)
        return np.concatenate([np.ravel(part) for part in gradients_of(method, episode)["learner"]])

    expected = gradient()
    cases = [
        ("first_order", {}, 0.61),
        ("truncated", {"kept_steps": 1}, 0.47),
        ("truncated", {"kept_steps": 3}, 0.28),
        ("finite_difference", {}, 6.5e-5),
        ("implicit", {"proximity": 1.0}, 0.23),
        ("implicit", {"proximity": 1 / (0.3 * 5)}, 0.90),
    ]
    for name, options, share in cases:
        error = np.linalg.norm(gradient(name, **options) - expected) / np.linalg.norm(expected)
        np.testing.assert_allclose(error, share, rtol=0.03, err_msg=name)


ALL = {"truncated": {"kept_steps": 2}, **dict.fromkeys(("implicit", "finite_difference", "first_order"), {})}


@pytest.mark.parametrize("name", ALL)
def test_the_adapted_task_is_that_of_reverse_mode(float64, name):
    method, task = make_method("per_step_rates", steps=3), one_task(make_episode(), 0)
    adapt = lambda: method.rule.adapt(method.learner, method.rule.initial(method.learner), task.support, ())  # noqa: E731
    expected = adapt()
    method.rule.hypergradient = make_hypergradient(name, **ALL[name])
    received = adapt()
    np.testing.assert_allclose(received.pack(), expected.pack(), rtol=1e-12)
    assert (received.path is None) == (name == "implicit")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("truncated", {"kept_steps": 0}, "1 or more .*received 0"),
        ("finite_difference", {"radius": 0.0}, "positive, received 0.0"),
        ("implicit", {"proximity": -1.0}, "0 or more .*received -1.0"),
        ("implicit", {"iterations": 0}, "1 or more, received .* and 0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        make_hypergradient(name, **options)
