"""Reptile: its gradient is the way that adaptation went."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.objectives import QueryLoss, Reptile, TaskOutcome
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, RATE, make_episode
from tests.helpers.differences import gradients_of
from tests.helpers.models import smooth_co_learner, smooth_mlp
from tests.helpers.seeded_episodes import one_task


def reptile_method(*terms, steps=3):
    rule = GradientDescent(PROBLEM, SGD(RATE), steps, make_hypergradient("first_order"))
    return Method.of(smooth_mlp(), rule, [QueryLoss(PROBLEM, differentiated=False), Reptile(), *terms])


def ways_gone(method, episode):
    initial = method.rule.initial(method.learner)
    adapted = [method.outcome(initial, one_task(episode, number)).adapted.parameters for number in range(2)]
    start = tf.nest.flatten(tuple(initial.parameters))
    return [[(a - b).numpy() for a, b in zip(start, tf.nest.flatten(tuple(end)), strict=True)] for end in adapted]


def test_the_gradient_is_initial_less_adapted(float64):
    method, episode = reptile_method(), make_episode()
    received = gradients_of(method, episode)
    assert set(received) == {"learner"}
    for gradient, *ways in zip(received["learner"], *ways_gone(method, episode), strict=True):
        np.testing.assert_allclose(gradient, sum(ways) / 2, rtol=1e-12, atol=1e-13)
        assert np.abs(gradient).max() > 1e-3


def test_a_co_learner_adds_its_first_order_gradient(float64):
    method, episode = reptile_method(smooth_co_learner(PROBLEM)), make_episode()

    def gradients(*weights):
        return meta_gradient(method, episode, tf.constant(weights, tf.float64)).gradients

    both, alone, beside = gradients(1.0, 1.0, 0.7), gradients(1.0, 1.0, 0.0), gradients(1.0, 0.0, 0.7)
    for gradient, *added in zip(both["learner"], alone["learner"], beside["learner"], strict=True):
        np.testing.assert_allclose(gradient, sum(added), rtol=1e-10, atol=1e-12)
    head = len(method.learner.variables.head)
    assert all(np.abs(gradient).max() > 0 for gradient in beside["learner"][:-head] + both["co_learner"])
    assert not any(np.abs(gradient).max() for gradient in beside["learner"][-head:]), "phi does not read through theta"


def test_it_reports_the_distance_and_the_query_loss(float64):
    method, episode = reptile_method(), make_episode()
    found, metrics = evaluate_losses(method, episode)
    squared = [sum(np.sum(way**2) for way in ways) for ways in ways_gone(method, episode)]
    np.testing.assert_allclose(found[:, 1], np.divide(squared, 2), rtol=1e-10)
    np.testing.assert_allclose(metrics["distance"], np.sqrt(squared), rtol=1e-10)
    plain = Method.of(method.learner, method.rule, [QueryLoss(PROBLEM)])
    expected = evaluate_losses(plain, episode)[1]
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(metrics[name], expected[name])


def test_a_rule_that_adapts_no_parameters_is_refused():
    with pytest.raises(ValueError, match="needs a rule that adapts the learner's parameters"):
        Reptile()(TaskOutcome(SimpleNamespace(parameters=None), *[None] * 4), ())
