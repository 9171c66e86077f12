"""What the co-learner may and may not do: affine in gamma, phi left alone, and where theta's gradient comes from."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import make_hypergradient
from cml_tf.training.meta_gradient import meta_gradient
from tests.helpers.contract_tables import RATE, make_episode, make_method, with_learners
from tests.helpers.seeded_episodes import one_task


def gradient_at(method, episode, *weights):
    return meta_gradient(method, episode, tf.constant(weights, tf.float64)).gradients


# What keeps something of a task, and what leaves some variables to the outer loop.
COUNTING, BLENDING = "per_step_normalisation", "tasknorm_normalisation"


@pytest.mark.parametrize(
    ("hypergradient", "learner"),
    with_learners("reverse", ("mlp", "conv", COUNTING), "reverse_rematerialised", "first_order"),
)
def test_meta_gradient_is_affine_in_gamma(float64, learner, hypergradient):
    method, episode = make_method("meta_sgd", learner=learner), make_episode(learner, tasks=1)
    method.rule.hypergradient = make_hypergradient(hypergradient)
    none, whole, some = (gradient_at(method, episode, 1.0, gamma) for gamma in (0.0, 1.0, 0.3))
    for group in whole:
        for at_zero, at_one, between in zip(none[group], whole[group], some[group], strict=True):
            np.testing.assert_allclose(between, 0.7 * at_zero + 0.3 * at_one, rtol=1e-12, atol=1e-12)
    moved = [np.abs(a - b).max() for a, b in zip(none["learner"], whole["learner"], strict=True)]
    assert max(moved) > 1e-3
    assert all(not np.any(gradient) for gradient in none["co_learner"])


@pytest.mark.parametrize("terms", ["co_learner", "two_co_learners"])
def test_adaptation_neither_sees_nor_changes_phi(float64, terms):
    method, task = make_method(terms=terms), one_task(make_episode(), 0)
    initial = method.rule.initial(method.learner)
    before = [variable.numpy() for term in method.terms for variable in term.variables]
    adapted = method.outcome(initial, task).adapted.parameters
    after = [variable.numpy() for term in method.terms for variable in term.variables]
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)
    for variable in (v for term in method.terms for v in term.variables):
        variable.assign(variable + 1.0)
    tf.nest.map_structure(np.testing.assert_array_equal, method.outcome(initial, task).adapted.parameters, adapted)


@pytest.mark.parametrize(
    ("rule", "hypergradient", "steps"),
    # ANIL leaves psi as it is, so that the co-loss on it depends on psi and phi only.
    [("sgd", "first_order", 1), ("sgd", "first_order", 3), ("anil_sgd", "reverse", 2)],
)
def test_the_co_loss_gives_theta_exactly_nothing(float64, rule, hypergradient, steps):
    method, episode = make_method(rule, steps=steps), make_episode()
    method.rule.hypergradient = make_hypergradient(hypergradient)
    gradients = gradient_at(method, episode, 0.0, 0.7)["learner"]
    psi = len(method.learner.variables.extractor)
    assert all(not np.any(gradient) for gradient in gradients[psi:])
    assert all(np.abs(gradient).max() > 1e-4 for gradient in gradients[:psi])


@pytest.mark.parametrize(("rule", "learner"), with_learners("sgd", ("mlp", "gcn", COUNTING, BLENDING), "boil_sgd"))
def test_with_one_second_order_step_theta_gets_the_mixed_term(float64, rule, learner):
    """d(gamma L_co)/dtheta = -gamma alpha d/dtheta <grad_psi L_support, stop(dL_co/dpsi')>, and nothing else."""
    gamma = 0.7
    method, episode = make_method(rule, learner=learner, steps=1), make_episode(learner, tasks=1)
    psi = len(method.learner.variables.extractor)
    received = gradient_at(method, episode, 0.0, gamma)["learner"][psi:]
    for left, right in zip(received, _mixed_term(method, one_task(episode, 0), gamma), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
    assert max(np.abs(gradient).max() for gradient in received) > 1e-5


def _mixed_term(method, task, gamma):
    learner, (psi, theta), state = method.learner, *method.learner.initial()
    phi = method.term_values()[1]

    def cross_entropy(logits, labels):
        return -tf.reduce_mean(tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1))

    def support_pass(psi, theta):
        return learner.call(type(learner.variables)(psi, theta), state, task.support.inputs, task.context, True)

    def support_loss(psi, theta):
        return cross_entropy(support_pass(psi, theta).outputs, task.support.targets)

    with tf.GradientTape() as tape:
        tape.watch(psi)
        loss = support_loss(psi, theta)
    followed = {id(value) for value in learner.adaptable(type(learner.variables)(psi, theta)).extractor}
    # No inner step moves what layers leave to the outer loop.
    rates = [RATE if id(value) in followed else 0.0 for value in psi]
    slopes = zip(psi, rates, tape.gradient(loss, psi), strict=True)
    psi_adapted = [value - rate * gradient for value, rate, gradient in slopes]
    with tf.GradientTape() as tape:
        tape.watch(psi_adapted)
        adapted = type(learner.variables)(tuple(psi_adapted), theta)
        left_behind = support_pass(tuple(psi_adapted), theta).state
        forward = learner.call(adapted, left_behind, task.query.inputs, task.context, False)
        co_loss = cross_entropy(method.terms[1].read((forward.features, None), phi), task.query.targets)
    upstream = [tf.stop_gradient(gradient) for gradient in tape.gradient(co_loss, psi_adapted)]
    with tf.GradientTape() as outer:
        outer.watch(theta)
        with tf.GradientTape() as inner:
            inner.watch(psi)
            loss = support_loss(psi, theta)
        products = zip(inner.gradient(loss, psi), rates, upstream, strict=True)
        product = tf.add_n([rate * tf.reduce_sum(gradient * u) for gradient, rate, u in products])
    return [-gamma * np.asarray(g) for g in outer.gradient(product, theta)]
