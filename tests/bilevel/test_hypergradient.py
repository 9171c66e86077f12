"""Gradients of bilevel problems: closed forms, each solver beside the others, and differences of the upper loss."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.bilevel import BilevelProblem, DescentAggregation, hypergradient, make_solver
from cml_tf.errors import UserError

HALF, ALL = 0.8**5, 0.8**10
CURVATURE, RATE, STEPS, TARGET = 2.0, 0.1, 10, 0.4
# By name and options: what y_T - c is multiplied by for x and for the start, on L = h (y - x)^2 / 2, rate * h = 0.2.
FACTORS = [
    ("reverse", {}, 1 - ALL, ALL),
    ("reverse_rematerialised", {}, 1 - ALL, ALL),
    ("forward", {}, 1 - ALL, None),
    ("finite_difference", {}, 1 - ALL, ALL),
    ("adjoint_discrete", {"stored_every": 3}, 1 - ALL, ALL),
    ("truncated", {"kept_steps": 5}, 1 - HALF, HALF),
    ("first_order", {}, 0.0, 1.0),
    ("implicit", {}, 1.0, 0.0),
]
EXACT = {
    "reverse_rematerialised": {},
    "forward": {},
    "adjoint_discrete": {"stored_every": 2},
    "truncated": {"kept_steps": 100},
}
AVOIDING_SECOND = ("finite_difference", {"radius": 1e-4})


def double(*values):
    return tf.constant(values, tf.float64)


QUADRATIC = BilevelProblem(
    lower=lambda y, x: CURVATURE * tf.reduce_sum(tf.square(y - x)) / 2,
    upper=lambda y, x: tf.reduce_sum(tf.square(y - TARGET)) / 2,
)


def assert_closed_form(found, x, start, name, of_x, of_start):
    arriving = x * (1 - ALL) + start * ALL - TARGET
    np.testing.assert_allclose(found.final, arriving + TARGET, rtol=1e-12)
    np.testing.assert_allclose(found.value, tf.reduce_sum(tf.square(arriving)) / 2, rtol=1e-12)
    np.testing.assert_allclose(found.of_x, arriving * of_x, rtol=1e-12, atol=1e-15)
    if of_start is None:
        assert found.of_start is None
    else:
        np.testing.assert_allclose(found.of_start, arriving * of_start, rtol=1e-12, atol=1e-15)
    assert (found.residual is None) == (name != "implicit")


@pytest.mark.parametrize(("name", "options", "of_x", "of_start"), FACTORS)
def test_the_quadratic_has_its_closed_form_and_a_second_call_traces_nothing(name, options, of_x, of_start):
    """Of steps that only the run knows, none too, and of x as it is at each call."""
    solver, x = make_solver(name, **options), tf.Variable(double(1.5, 0.3))

    @tf.function(autograph=False)
    def gradient(y, state, steps):
        return hypergradient(QUADRATIC, x, y, steps, RATE, solver, state=state)

    y = double(0.0, 0.0)
    found = gradient(y, tf.zeros_like(y) if name == "implicit" else (), tf.constant(STEPS))
    assert_closed_form(found, x, y, name, of_x, of_start)
    x.assign_add(double(0.5, 0.5))
    again = gradient(found.final, found.state, tf.constant(STEPS))
    assert_closed_form(again, x, found.final, name, of_x, of_start)
    none = gradient(y, found.state, tf.constant(0))
    np.testing.assert_array_equal((none.final, none.of_x), (y, y))
    assert gradient.experimental_get_tracing_count() == 1


# ---- a problem without a closed form: nests, three sizes, x in both losses


def drawn(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


INPUTS, OUTPUTS = drawn(9, 3, seed=1), drawn(9, 2, seed=2)


def predicted(y):
    return tf.tanh(INPUTS @ y["kernel"] + y["bias"][0])


def weighted(y, x):
    """Ridge-like and not quadratic: x weighs examples and penalties."""
    weights, decay = tf.sigmoid(x[0]), tf.exp(x[1]["decay"])
    penalty = decay * (tf.reduce_sum(tf.square(y["kernel"])) + tf.reduce_sum(tf.square(y["bias"][0])))
    return tf.reduce_mean(weights[:, None] * tf.square(predicted(y) - OUTPUTS)) + penalty


def upper(y, x):
    return tf.reduce_mean(tf.square(tf.sin(2.0 * predicted(y)) - tf.cos(OUTPUTS))) + 0.05 * tf.square(x[1]["decay"])


SMOOTH = BilevelProblem(weighted, upper)


def start():
    return {"kernel": drawn(3, 2, seed=3), "bias": [drawn(2, seed=4)]}


def meta():
    return drawn(9, seed=5), {"decay": tf.constant(-1.5, tf.float64)}


def flat(structure):
    return np.concatenate([np.ravel(part) for part in tf.nest.flatten(structure)])


def along(value, structure, distance=1e-5):
    """A random direction, and a function's slope along it by central differences."""
    way = tf.nest.map_structure(lambda part: drawn(*part.shape, seed=6), structure)
    ends = [
        value(tf.nest.map_structure(lambda at, move, sign=sign: at + sign * distance * move, structure, way))
        for sign in (1, -1)
    ]
    return flat(way), float(ends[0] - ends[1]) / (2 * distance)


def value_of(steps=3, rate=0.3, aggregation=None):
    """The upper loss as a function of x and start, by steps alone."""

    @tf.function(autograph=False)
    def value(x, y):
        return hypergradient(SMOOTH, x, y, steps, rate, "first_order", aggregation=aggregation).value

    return value


MIXED = DescentAggregation(0.6, 0.9, 1.3)


@pytest.mark.parametrize("aggregation", [None, MIXED], ids=["plain", "aggregated"])
def test_solvers_agree_with_differences(aggregation):
    """Those that are exact by way of reverse mode, with which they agree below."""
    value = value_of(aggregation=aggregation)
    (of_x, expected), (of_start, expected_start) = (
        along(lambda x: value(x, start()), meta()),
        along(lambda y: value(meta(), y), start()),
    )
    assert min(abs(expected), abs(expected_start)) > 0.01
    for name, options in (("reverse", {}), AVOIDING_SECOND):
        found = hypergradient(SMOOTH, meta(), start(), 3, 0.3, make_solver(name, **options), aggregation=aggregation)
        tf.nest.assert_same_structure((found.of_x, found.final), (meta(), start()))
        np.testing.assert_allclose(flat(found.of_x) @ of_x, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(flat(found.of_start) @ of_start, expected_start, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_exact_solvers_agree_to_twelve_digits():
    def gradient(solver):
        run = lambda x, y: hypergradient(SMOOTH, x, y, 3, 0.3, solver, aggregation=MIXED)  # noqa: E731
        return tf.function(run, autograph=False)(meta(), start())

    expected = gradient(make_solver("reverse"))
    for name, options in EXACT.items():
        received = gradient(make_solver(name, **options))
        tf.nest.assert_same_structure(received.of_x, meta())
        np.testing.assert_allclose(flat(received.of_x), flat(expected.of_x), rtol=1e-12, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(received.value, expected.value, rtol=1e-13, err_msg=name)
        if name != "forward":
            np.testing.assert_allclose(flat(received.of_start), flat(expected.of_start), rtol=1e-12, atol=1e-14)
    none = hypergradient(SMOOTH, meta(), start(), 3, 0.3, "first_order", aggregation=MIXED)
    assert np.linalg.norm(flat(none.of_x) - flat(expected.of_x)) > 1e-2, "nothing would be noticed"


def implicit_of(iterations, tolerance):
    """A compiled function of x, start, the number of steps and the state of the last call."""
    solver = make_solver("implicit", iterations=iterations, tolerance=tolerance)
    return tf.function(
        lambda x, y, steps, state: hypergradient(SMOOTH, x, y, steps, 0.6, solver, state=state), autograph=False
    )


def zeros():
    return tf.nest.map_structure(tf.zeros_like, start())


def test_implicit_is_the_derivative_of_the_minimum():
    """Steps to the minimum, and differences of the upper loss there."""
    steps = tf.constant(600)
    value = value_of(steps, rate=0.6)
    found = implicit_of(30, 1e-12)(meta(), start(), steps, zeros())
    way, expected = along(lambda x: value(x, start()), meta())
    np.testing.assert_allclose(flat(found.of_x) @ way, expected, rtol=1e-6, atol=1e-10)
    assert np.abs(flat(found.of_start)).max() < 1e-10 and float(found.residual) < 1e-12


def test_without_a_step_the_direct_part_is_all():
    for name, _, _, _ in FACTORS:
        state = start() if name == "implicit" else None
        found = hypergradient(SMOOTH, meta(), start(), 0, 0.3, name, state=state)
        np.testing.assert_array_equal(found.of_x[0], np.zeros(9))
        np.testing.assert_allclose(found.of_x[1]["decay"], 0.1 * -1.5, rtol=1e-14)


def test_forward_works_on_convolutions_at_once():
    images, kernel = drawn(2, 6, 6, 1), drawn(3, 3, 1, 2, seed=1)

    def lower(y, x):
        return tf.reduce_mean(tf.square(tf.nn.conv2d(images, y, 1, "SAME") - x[0])) + x[1] * tf.reduce_mean(y**4)

    problem = BilevelProblem(lower, lambda y, x: tf.reduce_sum(tf.sin(y)))
    run = tf.function(
        lambda x, solver: hypergradient(problem, x, kernel, tf.constant(2), 0.1, solver).of_x, autograph=False
    )
    expected, received = (run(double(0.3, 0.2), name) for name in ("reverse", "forward"))
    np.testing.assert_allclose(received, expected, rtol=1e-12)


# ---- implicit, again and again


def test_a_warm_start_goes_on_where_the_last_call_ended():
    """Two iterations a call are not enough from zero, and are from where the last ones ended, though x moves."""
    gradient, steps = implicit_of(2, 0.0), tf.constant(50)
    y, state, residuals = start(), zeros(), []
    for call in range(6):
        x = (meta()[0] + 1e-3 * call, meta()[1])
        found = gradient(x, y, steps, state)
        y, state = found.final, found.state
        tf.nest.assert_same_structure(state, y)
        residuals.append(float(found.residual))
    cold = gradient(x, y, steps, zeros())
    none = hypergradient(SMOOTH, x, y, 2, 0.6, make_solver("implicit", iterations=2, tolerance=0.0))
    still = gradient(x, y, tf.constant(2), zeros())
    assert float(none.residual) == pytest.approx(float(still.residual), rel=1e-12), "without a state it begins at zero"
    assert residuals[-1] < 0.1 * float(cold.residual), (residuals, cold.residual)
    exact = implicit_of(30, 1e-13)(x, y, steps, zeros())
    errors = [np.linalg.norm(flat(one.of_x) - flat(exact.of_x)) for one in (found, cold)]
    assert errors[0] < 0.2 * errors[1], errors


def test_the_reported_residual_is_that_of_the_system():
    curvature = np.diag([1.0, 2.0, 4.0])
    problem = BilevelProblem(
        lambda y, x: tf.tensordot(y - x, tf.linalg.matvec(tf.constant(curvature), y - x), 1) / 2,
        lambda y, x: tf.reduce_sum(y),
    )
    solver = make_solver("implicit", iterations=1, tolerance=0.0)
    found = hypergradient(problem, double(1.0, 1.0, 1.0), double(0.0, 0.0, 0.0), 5, 0.1, solver)
    # One iteration from zero: (v'v / v'Hv) v with v = 1.
    np.testing.assert_allclose(found.state, 3 / 7, rtol=1e-12)
    left = 1 - curvature @ found.state.numpy()
    np.testing.assert_allclose(found.residual, np.linalg.norm(left) / np.sqrt(3), rtol=1e-12)
    np.testing.assert_allclose(found.of_x, curvature @ found.state.numpy(), rtol=1e-12)


# ---- bilevel descent aggregation

CENTRE = 0.3
# y[1] is free below; of all minima the upper loss wants the one at 1.
FREE = BilevelProblem(
    lower=lambda y, x: tf.square(y[0]) / 2,
    upper=lambda y, x: (tf.square(y[0] - x) + tf.square(y[1] - 1.0)) / 2,
)


def free(aggregation, steps=100, solver="first_order"):
    return hypergradient(
        FREE, tf.constant(CENTRE, tf.float64), double(1.0, 0.0), steps, 0.5, solver, aggregation=aggregation
    )


def test_aggregation_finds_the_minimum_that_the_upper_loss_wants():
    plain, aggregated = free(None), free(DescentAggregation(0.9))
    assert float(plain.value) >= 0.5 and float(plain.final[1]) == 0.0
    np.testing.assert_allclose(aggregated.final[1], 1 - np.prod(1 - 0.45 / np.arange(1, 101)), rtol=1e-12)
    assert round(float(aggregated.final[1]), 3) == 0.922
    assert float(aggregated.value) < 0.06


def test_nothing_mixed_is_the_plain_solver():
    """Bit for bit, gradients too."""
    for name in ("reverse", "adjoint_discrete"):
        plain, mixed = (
            hypergradient(SMOOTH, meta(), start(), 2, 0.3, name, aggregation=aggregation)
            for aggregation in (None, DescentAggregation(0.0))
        )
        np.testing.assert_array_equal(flat(mixed), flat(plain), err_msg=name)


def test_the_direction_is_that_of_the_paper():
    one, y = DescentAggregation(0.6, lower_scale=0.7, upper_scale=1.9), np.array([1.0, 0.0])
    for turn in (1, 2, 3):
        lower, higher = np.array([y[0], 0.0]), np.array([y[0] - CENTRE, y[1] - 1.0])
        y = y - 0.5 * ((1 - 0.6 / turn) * 0.7 * lower + 0.6 / turn * 1.9 * higher)
        np.testing.assert_allclose(free(one, turn).final, y, rtol=1e-13)


# ---- calls


def no_gradient(y, x):
    return tf.stop_gradient(tf.reduce_sum(y))


REFUSED = {
    "solver": (dict(solver="backward"), "solver must be one of .*forward.*implicit.*reverse.*'backward'"),
    "x": (dict(x=(tf.constant(1),)), "x must be .*floating.*int32"),
    "y": (dict(y_start=()), "y_start must be .*received none"),
    "steps": (dict(steps=-1), "steps must be a whole number of 0 or more, received -1"),
    "part of a step": (dict(steps=1.5), "steps must be a whole number of 0 or more, received 1.5"),
    "rate": (dict(rate=-1.0), "rate must be positive, received -1.0"),
    "state": (dict(solver="reverse", state=double(0.0)), "state must be left out"),
    "aggregation": (dict(solver="implicit", aggregation=MIXED), "cannot be combined"),
    "aggregation and a flow": (dict(solver="adjoint_heun", aggregation=MIXED), "the number of the step: use only one"),
    "numbers": (dict(x=tf.zeros([101], tf.float64), solver="forward"), "at most 100 numbers .* 101: use reverse_rem"),
    "lower": (dict(problem=BilevelProblem(lambda y, x: y * x, lambda y, x: y[0])), "lower must return one .*float64"),
    "constant": (dict(problem=BilevelProblem(no_gradient, lambda y, x: y[0])), "lower must depend on y"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(what):
    changes, words = REFUSED[what]
    arguments = dict(problem=QUADRATIC, x=double(1.0), y_start=double(0.0), steps=1, rate=0.1, solver="reverse")
    with pytest.raises(UserError, match=words):
        hypergradient(**{**arguments, **changes})


@pytest.mark.parametrize("options", [dict(mixing=1.1), dict(mixing=-0.1), dict(mixing=0.5, lower_scale=0.0)])
def test_aggregation_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="must be"):
        DescentAggregation(**options)
