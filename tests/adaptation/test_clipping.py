"""Clipped inner gradients: their length, their derivatives, and that nothing changes where the bound is not reached."""

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.adaptation.gradients import clipped
from cml_tf.errors import UserError
from tests.helpers.contract_tables import PROBLEM, RATE, make_episode, make_method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.seeded_episodes import one_task


def clipping(norm, rule="sgd", steps=1, terms="query_loss"):
    method = make_method(rule, terms, steps=steps)
    method.rule.clip_norm = norm
    return method


def moves(method, episode):
    """What one task's adaptation adds to the parameters."""
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    adapted = method.rule.adapt(method.learner, initial, task.support, task.context)
    pairs = zip(tf.nest.flatten(adapted.parameters), tf.nest.flatten(initial.parameters), strict=True)
    return [(after - before).numpy() for after, before in pairs]


def length(arrays):
    return np.sqrt(sum(np.sum(array**2) for array in arrays))


def test_a_long_gradient_is_shortened_and_keeps_its_direction(float64):
    episode = make_episode()
    plain = moves(clipping(0.0), episode)
    bound = length(plain) / RATE / 3
    short = moves(clipping(bound), episode)
    assert length(short) == pytest.approx(RATE * bound, rel=1e-12)
    for one, other in zip(short, plain, strict=True):
        np.testing.assert_allclose(one, other / 3, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("rule", "hypergradient"), [("meta_sgd", "reverse"), ("anil_sgd", "reverse_rematerialised")])
def test_second_order_gradients_flow_through_the_clip(float64, rule, hypergradient):
    method, episode = clipping(0.05, rule, steps=2, terms="co_learner"), make_episode(tasks=1)
    method.rule.hypergradient = make_hypergradient(hypergradient)
    assert_matches_central_differences(method, episode)


def test_a_bound_that_is_never_reached_changes_no_bit():
    episode = make_episode(tasks=1)
    for one, other in zip(moves(clipping(1e3), episode), moves(clipping(0.0), episode), strict=True):
        np.testing.assert_array_equal(one, other)
    gradients = [gradients_of(clipping(norm, "meta_sgd"), episode) for norm in (1e3, 0.0)]
    assert_same_gradients(*gradients, tolerance=1e-6)


@pytest.mark.parametrize("length", [1e10, 1e18, 1e20, 1e38])
def test_the_longest_gradient_is_as_long_as_the_bound(length):
    """Of most of these the square is infinite in float32."""
    three, four = clipped([tf.constant([0.6 * length]), tf.constant([[0.0, -0.8 * length]])], 2.0)
    np.testing.assert_allclose(three, [1.2], rtol=1e-6)
    np.testing.assert_allclose(four, [[0.0, -1.6]], rtol=1e-6)


def test_a_gradient_of_zero_has_derivatives():
    point = tf.zeros([3])
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = tf.reduce_sum(clipped([point], 1.0)[0])
    np.testing.assert_array_equal(tape.gradient(value, point), np.ones(3))
    assert clipped((), 1.0) == ()


def test_it_is_saved_with_the_rule_and_refused_where_it_would_be_wrong():
    rule = GradientDescent(PROBLEM, SGD(0.1), clip_norm=2.0)
    config = rule.get_config()
    assert GradientDescent.from_config(config).clip_norm == 2.0
    config.pop("clip_norm")
    assert GradientDescent.from_config(config).clip_norm == 0.0
    for norm in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="clip_norm must be 0"):
            GradientDescent(PROBLEM, SGD(0.1), clip_norm=norm)
    for name in ("implicit", "finite_difference"):
        with pytest.raises(UserError, match="clip_norm must be 0 with the hypergradient"):
            GradientDescent(PROBLEM, SGD(0.1), 1, make_hypergradient(name), clip_norm=1.0)
