"""A watched inner loop makes the steps of training, as many and as large as it is asked for, and tells of each."""

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import KernelRidge, make_hypergradient
from cml_tf.adaptation.observed import Pace
from cml_tf.errors import UserError
from tests.helpers.contract_tables import PROBLEM, UPDATE_RULES, make_episode, make_method
from tests.helpers.seeded_episodes import one_task

MOST = 4


def watch(method, episode, steps, scale=1.0, enough=None):
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    pace = Pace(tf.constant(steps), tf.constant(scale), MOST, enough)
    return method.rule.adapt_watched(method.learner, initial, task.support, task.context, pace)


def fixed(method, episode, steps):
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    return method.rule.with_steps(steps).adapt(method.learner, initial, task.support, task.context), task


@pytest.mark.parametrize(
    ("rule", "learner"),
    [
        *((rule, "mlp") for rule in ("meta_sgd", "anil_sgd", "boil_sgd", "frozen")),
        ("per_step_rates", "per_step_normalisation"),
    ],
)
def test_it_makes_the_steps_of_training_and_tells_of_each(float64, rule, learner):
    method, episode = make_method(rule, learner=learner, steps=2), make_episode(learner)
    for steps in (0, 2, MOST):
        found, trace = watch(method, episode, steps)
        expected, task = fixed(method, episode, steps)
        np.testing.assert_allclose(found.pack(), expected.pack(), rtol=1e-6, atol=1e-7)
        assert int(trace.steps) == steps and bool(trace.finite)
        path = expected.path
        losses = [float(method.rule.support_loss(PROBLEM, one, task.support)) for one in path]
        np.testing.assert_allclose(trace.losses, losses + losses[-1:] * (MOST - steps), rtol=1e-6)
        for made, norm in enumerate(trace.norms.numpy()):
            if made >= steps:
                assert norm == 0
                continue
            pairs = zip(*(tf.nest.flatten(one.parameters) for one in path[made : made + 2]), strict=True)
            moved = np.sqrt(sum(np.sum((after - before).numpy() ** 2) for before, after in pairs))
            assert norm == pytest.approx(moved, rel=1e-5, abs=1e-12)


def test_a_scale_is_another_rate(float64):
    method, slower = make_method("sgd"), make_method("sgd")
    slower.rule.update_rule.rate *= 0.25
    found, _ = watch(method, make_episode(), 3, scale=0.25)
    np.testing.assert_allclose(found.pack(), fixed(slower, make_episode(), 3)[0].pack(), rtol=1e-12)


def test_it_ends_once_the_loss_is_low_enough_or_not_finite():
    method, episode = make_method("sgd"), make_episode()
    _, whole = watch(method, episode, MOST)
    losses = whole.losses.numpy()
    assert (np.diff(losses) < 0).all()
    found, trace = watch(method, episode, MOST, enough=float(losses[1:3].mean()))
    assert int(trace.steps) == 2
    np.testing.assert_array_equal(trace.losses[2:], [losses[2]] * 3)
    np.testing.assert_array_equal(trace.norms, [*whole.norms[:2], 0, 0])
    np.testing.assert_array_equal(found.pack(), watch(method, episode, 2)[0].pack())
    _, diverged = watch(method, episode, MOST, scale=float("inf"))
    assert not bool(diverged.finite) and int(diverged.steps) < MOST
    assert np.isfinite(diverged.losses).all() and np.isfinite(diverged.norms).all()


def test_rates_are_one_number_or_learned():
    rates = {name: make_method(name).rule.inner_rate for name in UPDATE_RULES}
    assert {name for name, rate in rates.items() if rate} == {"sgd", "anil_sgd", "boil_sgd"}
    assert rates["anil_sgd"] == make_method("sgd").rule.update_rule.rate


def test_rules_without_plain_steps_say_so():
    with pytest.raises(UserError, match="KernelRidge takes no steps.*most_steps"):
        KernelRidge(PROBLEM).check_watched()
    rule = make_method("sgd").rule
    rule.check_watched()
    rule.hypergradient = make_hypergradient("adjoint_heun")
    with pytest.raises(UserError, match="AdjointHeun does not make plain steps"):
        rule.check_watched()
