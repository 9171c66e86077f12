"""Adjoints: closed forms with the errors that Heun's method must make, and against reverse mode on learners."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf.adaptation import (
    SGD,
    AdjointBacksolve,
    AdjointDiscrete,
    AdjointHeun,
    ContextScaling,
    GradientDescent,
    MetaSGD,
    PerStepRates,
    anil,
    make_hypergradient,
)
from cml_tf.errors import UserError
from cml_tf.learners import conv4
from cml_tf.objectives import QueryLoss
from cml_tf.training.method import Method
from tests.adaptation.test_bilevel_hypergradients import UPDATES
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method
from tests.helpers.differences import (
    assert_matches_central_differences,
    assert_same_gradients,
    gradients_of,
    outer_loss,
)
from tests.helpers.models import smooth_conv, smooth_mlp
from tests.helpers.quadratics import gradients_of_quadratic
from tests.helpers.seeded_episodes import one_task

FLOWS = {"heun": AdjointHeun, "backsolve": AdjointBacksolve}
of_flows = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def under(method, order, episode=None):
    """The meta-gradient with another hypergradient."""
    method.rule.hypergradient = order
    return gradients_of(method, episode or make_episode())


# ---- any field


def gradients(flow, field, start, constants=(), steps=10, loss=lambda end: end[0]):
    """The end, and the gradients of a loss by start and constants."""
    start, constants = (tuple(tf.constant(one, tf.float64) for one in part) for part in (start, constants))

    @tf.function(autograph=False)
    def taken(start, constants):
        with tf.GradientTape() as tape:
            tape.watch((start, constants))
            end = flow.flowed(field, start, constants, steps)
            value = loss(end)
        return end, *tape.gradient(value, (start, constants), unconnected_gradients="zero")

    end, *found = taken(start, constants)
    return [part.numpy() for part in end], *found


def decay(count):
    """`y' = -c y` over a time of 1 in so many steps; the curvature c is a constant."""
    return lambda state, constants: (-constants[0] * state[0] / count,)


# Of exp(-1), for 10, 20 and 40 steps.
HEUN = {10: 1.798e-3, 20: 4.327e-4, 40: 1.061e-4}


def ratios(errors):
    """How much smaller each is than the one before."""
    return np.array(errors[:-1]) / errors[1:]


def test_heun_has_its_own_error_on_the_quadratic_which_falls_by_four():
    """`(1 - h + h^2 / 2)^n`, however the states are stored."""
    errors = []
    for (steps, error), stored in zip(HEUN.items(), (3, 1, 100), strict=True):
        _, (of_start,), _ = gradients(AdjointHeun(stored_every=stored), decay(steps), (2.0,), (1.0,), steps)
        errors.append(float(of_start) / np.exp(-1) - 1)
        np.testing.assert_allclose(errors[-1], error, atol=5e-7)
        np.testing.assert_allclose(of_start, (1 - 1 / steps + 0.5 / steps**2) ** steps, rtol=1e-13)
    assert all(4.0 < ratio < 4.2 for ratio in ratios(errors))


def test_the_error_of_the_discrete_adjoint_falls_by_two():
    """As a solution of the flow; as the adjoint of its own steps, `(1 - h)^n`, it is exact."""
    errors = []
    for steps, error in ((10, -5.2e-2), (20, -2.6e-2), (40, -1.3e-2)):
        start, _, arriving = gradients_of_quadratic(AdjointDiscrete(), ((10.0 / steps,),), steps)
        np.testing.assert_allclose(start, arriving * (1 - 1 / steps) ** steps, rtol=1e-12)
        errors.append(float(start[0] / arriving[0]) / np.exp(-1) - 1)
        # Two digits are known of each.
        np.testing.assert_allclose(errors[-1], error, atol=5e-4)
    assert all(2.0 < ratio < 2.1 for ratio in ratios(errors))


@of_flows
def test_the_constants_of_a_field_get_their_integral(flow):
    """`y' = -c y - y^2 / 2` over a time of 1: `1 / y = (1 / y_0 + 1 / 2c) exp(c) - 1 / 2c`, differentiated by c."""
    c, start, errors = 0.7, 2.0, []
    inverse = (1 / start + 0.5 / c) * np.exp(c) - 0.5 / c
    expected = -((1 / start + 0.5 / c - 0.5 / c**2) * np.exp(c) + 0.5 / c**2) / inverse**2
    for steps in (20, 40):
        (end,), _, (of_c,) = gradients(
            flow(),
            lambda state, constants, count=steps: ((-constants[0] * state[0] - state[0] ** 2 / 2) / count,),
            (start,),
            (c,),
            steps,
        )
        np.testing.assert_allclose(end, 1 / inverse, rtol=1e-6)
        errors.append(float(of_c) / expected - 1)
    assert abs(errors[1]) < 1e-3
    assert 3.8 < errors[0] / errors[1] < 4.3 if flow is AdjointHeun else abs(errors[0]) < 1e-6


@pytest.mark.parametrize(("time", "error"), [(1.0, 3.32e-5), (2.0, 2.23e-3)])
def test_the_equation_of_the_paper_has_the_published_accuracy(time, error):
    """`y' = -2 t^3 - 2 t y`: y = 1 - t^2 + c exp(-t^2), L = (y - 3)^6, 100 steps. The paper: 1.7e-5 and 1.4e-3."""
    steps = 100

    def field(state, constants):
        y, t = state
        length = time / steps
        return length * (-2 * t**3 - 2 * t * y), length * tf.ones_like(t)

    loss = lambda end: (end[0] - 3) ** 6  # noqa: E731
    (y, t), (of_start, _), _ = gradients(AdjointHeun(), field, (2.0, 0.0), (), steps, loss)
    exact = 1 - time**2 + np.exp(-(time**2))
    np.testing.assert_allclose([y, t], [exact, time], rtol=1e-6)
    expected = 6 * (exact - 3) ** 5 * np.exp(-(time**2))
    np.testing.assert_allclose(abs(of_start / expected - 1), error, rtol=2e-3)


def around_one(steps, time):
    """`y' = -(y - 1) - (y - 1)^3`, and with y = 1 + u the derivative of `y(T)` by `y(0)` in closed form."""

    def field(state, constants):
        away = state[0] - 1
        return (-(away + away**3) * time / steps,)

    def derivative(u):
        # u^2 / (1 + u^2) falls as exp(-2 t).
        share = u**2 / (1 + u**2) * np.exp(-2 * time)
        return np.sqrt(share / (1 - share)) / u * (1 + u**2) ** -1 * (1 - share) ** -1

    return field, derivative


def test_states_solved_for_backwards_are_right_over_short_times_and_lost_over_long_ones():
    """Backwards the rounding of the end grows by `exp(T)`, so from T = 37 on nothing is left in float64."""
    for time, steps, trusted in ((2.0, 40, True), (40.0, 800, False)):
        field, derivative = around_one(steps, time)
        _, (stored,), _ = gradients(AdjointHeun(), field, (2.0,), (), steps)
        _, (solved,), _ = gradients(AdjointBacksolve(), field, (2.0,), (), steps)
        expected = derivative(1.0)
        np.testing.assert_allclose(stored, expected, rtol=2e-2)
        wrong = abs(float(solved) / expected - 1)
        assert wrong < 1e-4 if trusted else not wrong < 0.5


# ---- the adjoint of the steps themselves


# Every step stored, or more steps than there are, is a matter of one rule. Losses on the way need the way.
STORED = [*((name, 2) for name in UPDATES if name != "losses on the way"), ("momentum", 1), ("momentum", 7)]


@pytest.mark.parametrize(("name", "stored"), STORED)
def test_the_discrete_adjoint_is_reverse_mode(float64, name, stored):
    """Whatever the update rule carries from step to step; three steps, so that two at a time leave one over."""
    method, episode = UPDATES[name](), make_episode(tasks=1)
    method = Method.of(method.learner, method.rule.with_steps(3), method.terms)
    expected = under(method, make_hypergradient("reverse"), episode)
    assert_same_gradients(under(method, AdjointDiscrete(stored), episode), expected, tolerance=1e-12)


@pytest.mark.parametrize("learner", ["per_step_normalisation", "embedding", "gcn"])
def test_the_discrete_adjoint_is_reverse_mode_for_learners(float64, learner):
    method, episode = make_method("meta_sgd", learner=learner, steps=3), make_episode(learner, tasks=1)
    expected = under(method, make_hypergradient("reverse"), episode)
    assert_same_gradients(under(method, AdjointDiscrete(2), episode), expected, tolerance=1e-12)


# ---- flows of learners


@pytest.mark.slow
def test_flows_have_the_derivative_of_where_they_end(float64):
    """Frozen parts and rates too: the solver's fourth order against differences, Heun's second against that."""
    wrong, episode = [], make_episode(tasks=1)
    for steps in (4, 8):
        # The same time in more steps.
        rule = GradientDescent(PROBLEM, anil(MetaSGD(0.6 / steps)), steps)
        method = Method.of(smooth_mlp(), rule, [QueryLoss(PROBLEM)])
        exact = under(method, AdjointBacksolve(), episode)
        if steps == 8:
            assert_matches_central_differences(method, episode, exact)
        approximate = under(method, AdjointHeun(), episode)
        # As a share, since rates are smaller in more steps and their gradients larger.
        wrong.append([furthest(approximate[group], exact[group]) / furthest(exact[group]) for group in exact])
    for coarse, fine in zip(*wrong, strict=True):
        assert fine < 1e-3 and 3.7 < coarse / fine < 4.3


def furthest(tensors, others=None):
    others = [0.0] * len(tensors) if others is None else others
    return max(np.abs(one - other).max() for one, other in zip(tensors, others, strict=True))


def test_eulers_way_forwards_is_that_of_the_update_rule_and_the_other_one_is_not(float64):
    method = make_method("sgd")
    expected = outer_loss(method, make_episode())
    losses = {}
    for solver in ("euler", "rk4"):
        method.rule.hypergradient = AdjointHeun(solver)
        losses[solver] = outer_loss(method, make_episode())
    np.testing.assert_allclose(losses["euler"], expected, rtol=1e-13)
    assert abs(losses["rk4"] - expected) > 1e-3


@of_flows
def test_a_flow_of_no_time_is_of_first_order(float64, flow):
    wrong, episode = [], make_episode(tasks=1)
    for rate in (1e-4, 1e-5):
        method = Method.of(smooth_mlp(), GradientDescent(PROBLEM, SGD(rate), 1), [QueryLoss(PROBLEM)])
        orders = make_hypergradient("first_order"), flow()
        expected, received = (under(method, order, episode)["learner"] for order in orders)
        wrong.append(furthest(received, expected))
    assert wrong[1] < 1e-4 and 9 < wrong[0] / wrong[1] < 11, "as the time, so the difference"


@pytest.mark.parametrize(("flow", "rule"), [(AdjointHeun, "sgd"), (AdjointBacksolve, "anil_sgd")])
def test_a_flow_of_first_order_holds_inner_gradients_constant(float64, flow, rule):
    method, episode = make_method(rule), make_episode(tasks=1)
    expected = under(method, make_hypergradient("first_order"), episode)
    method.rule.hypergradient = flow("euler")
    assert_same_gradients(gradients_of(method.of_first_order(), episode), expected, tolerance=1e-12)
    method.rule.hypergradient = flow("rk4")
    lower = method.of_first_order()
    assert not lower.rule.second_order
    np.testing.assert_allclose(outer_loss(lower, episode), outer_loss(method, episode), rtol=1e-13)


def test_statistics_of_the_task_may_follow_a_flow(float64):
    """Mode `support`: one more pass at the end makes them those of the parameters that predict."""
    learner = smooth_conv(mode="support")
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.02), 1, AdjointBacksolve()), [QueryLoss(PROBLEM)])
    assert_matches_central_differences(method, make_episode("conv", tasks=1))


# ---- what is kept, and what is refused


@pytest.mark.slow
def test_a_saved_model_flows_as_it_was_trained(tmp_path):
    order = AdjointHeun(stored_every=2)
    rule = GradientDescent(PROBLEM, SGD(0.3), 4, order)
    trainer = cml_tf.Trainer(smooth_mlp(), rule, [QueryLoss(PROBLEM)], PROBLEM)
    model, task = cml_tf.FewShotModel.of(trainer), one_task(make_episode(), 0)
    model.save(tmp_path / "model")
    names = [f"class {label}" for label in task.support.targets.numpy()]
    expected, received = (
        one.adapt(task.support.inputs.numpy(), names).predict(task.query.inputs.numpy())
        for one in (model, cml_tf.load(tmp_path / "model"))
    )
    np.testing.assert_allclose(received, expected, rtol=1e-6)
    plain = trainer.method.rule._with(hypergradient=make_hypergradient("reverse"))
    again = GradientDescent.from_config(rule.get_config()).hypergradient
    assert (type(again), vars(again)) == (AdjointHeun, vars(order))
    ends = [
        one.adapt(trainer.method.learner, one.initial(trainer.method.learner), task.support, ()).predict(
            task.query.inputs
        )[1]
        for one in (rule, plain)
    ]
    assert np.abs(ends[0] - ends[1]).max() > 1e-3, "steps would have ended elsewhere"


def test_what_has_no_meaning_between_steps_is_refused():
    flow = AdjointHeun
    for make, learner in ((lambda: PerStepRates(0.1, 2), smooth_mlp), (lambda: ContextScaling(0.1), images)):
        with pytest.raises(UserError, match="remembers nothing.*adjoint_discrete"):
            Method.of(learner(), GradientDescent(PROBLEM, make(), 2, flow()), [QueryLoss(PROBLEM)])
    with pytest.raises(UserError, match="counts passes.*adjoint_discrete"):
        learner = smooth_conv(mode="per_step", steps=2)
        Method.of(learner, GradientDescent(PROBLEM, SGD(0.1), 2, flow()), [QueryLoss(PROBLEM)])
    with pytest.raises(UserError, match="solver must be one of rk4, euler, received 'dormand_prince'"):
        flow("dormand_prince")
    for order in (AdjointDiscrete, AdjointHeun):
        with pytest.raises(ValueError, match="stored_every must be 1 or more, received 0"):
            order(stored_every=0)


def images():
    return conv4(3, (16, 16, 1), filters=2)
