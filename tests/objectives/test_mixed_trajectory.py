"""The mixed trajectory: weights, the meta-gradients that they mix, and the numbers of a toy that is known in full."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, anil
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.experiments.configuration import check_config
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss, mixed_trajectory_terms, trajectory_weights
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, RATE, make_episode
from tests.helpers.differences import assert_same_gradients, gradients_of
from tests.helpers.models import smooth_mlp
from tests.helpers.small_configs import trainer_of, waves

STEPS = 5
UNIFORM, GEOMETRIC = (trajectory_weights(STEPS, kind) for kind in ("uniform", "geometric"))


def method_of(*arguments, steps=3):
    terms = mixed_trajectory_terms(PROBLEM, steps, *arguments)
    return Method.of(smooth_mlp(), GradientDescent(PROBLEM, SGD(RATE), steps), terms)


def test_weights_are_what_they_are_called_and_have_the_sum_1():
    assert UNIFORM == [0.2] * 5
    np.testing.assert_allclose(GEOMETRIC, [0.2, 0.16, 0.128, 0.1024, 0.4096])
    assert trajectory_weights(3, "one_hot", step=2) == [0, 1, 0]
    assert trajectory_weights(3, "geometric", 0.0) == [1, 0, 0]
    assert trajectory_weights(3, "geometric", 1.0) == [0, 0, 1]
    for steps in (1, 2, 7):
        for decay in (0.0, 0.3, 0.8, 1.0):
            assert sum(trajectory_weights(steps, "geometric", decay)) == pytest.approx(1)
    assert [term.name for term in mixed_trajectory_terms(PROBLEM, 3)] == ["query_loss", "step_1_loss", "step_2_loss"]


def test_one_step_alone_is_the_plain_method_of_so_many_steps_and_the_mix_is_linear(float64):
    episode = make_episode(tasks=1)
    alone = []
    for step in (1, 2, 3):
        received = gradients_of(method_of("one_hot", 0.8, step), episode)
        rule = GradientDescent(PROBLEM, SGD(RATE), step)
        assert_same_gradients(received, gradients_of(Method.of(smooth_mlp(), rule, [QueryLoss(PROBLEM)]), episode))
        alone.append(received["learner"])
    for arguments in (("uniform",), ("geometric", 0.6)):
        weights = trajectory_weights(3, *arguments)
        mixed = [sum(w * g for w, g in zip(weights, parts, strict=True)) for parts in zip(*alone, strict=True)]
        assert_same_gradients(gradients_of(method_of(*arguments), episode), {"learner": mixed})


class Target(keras.layers.Layer):
    """The extractor of the toy: eta times the first input, beside the second."""

    def build(self, shape):
        self.eta = self.add_weight(shape=(), name="eta")

    def call(self, inputs):
        return tf.concat([self.eta * inputs[:, :1], inputs[:, 1:]], 1)


class Follower(keras.layers.Layer):
    """Its head: theta times the second feature, without the first."""

    def build(self, shape):
        self.theta = self.add_weight(shape=(), name="theta")

    def call(self, features):
        return self.theta * features[:, 1:] - features[:, :1]


def toy_gradients(aim):
    """Of J_k = (theta_k - aim)^2 / 2 with respect to eta, where a step takes 0.2 of the way from theta to eta."""
    learner = Learner(Target(), Follower(), input_shape=(2,))
    learner.variables.extractor[0].assign(0.7)
    learner.variables.head[0].assign(-0.3)
    problem = Regression(1)
    # Support loss (theta - eta)^2, at rate 0.1; query loss of theta / sqrt(2) against aim / sqrt(2).
    support = Examples(tf.constant([[[1.0, 1.0]]], tf.float64), tf.constant([[[0.0]]], tf.float64))
    query = Examples(tf.constant([[[0.0, 0.5**0.5]]], tf.float64), tf.constant([[[aim * 0.5**0.5]]], tf.float64))
    rule = GradientDescent(problem, anil(SGD(0.1)), STEPS)
    found = []
    for step in range(1, STEPS + 1):
        method = Method.of(learner, rule, mixed_trajectory_terms(problem, STEPS, "one_hot", step=step))
        found.append(meta_gradient(method, Episode(support, query), method.weights()).gradients["learner"][0].numpy())
    return np.array(found)


def test_the_toy_s_variances_are_known(float64):
    """Noise of variance 1 on dJ/dtheta, a new one for each step: a gradient varies by the square of d theta_k/d eta."""
    ways = toy_gradients(2.0) - toy_gradients(3.0)
    np.testing.assert_allclose(ways, [0.2, 0.36, 0.488, 0.5904, 0.67232], rtol=1e-12)

    def variance(weights):
        return np.sum((weights * ways) ** 2)

    def relative(weights):
        return variance(weights) / np.sum(weights * ways) ** 2

    last, uniform, geometric = (np.array(weights) for weights in ([0, 0, 0, 0, 1], UNIFORM, GEOMETRIC))
    assert variance(last) == pytest.approx(0.452014, abs=5e-7)
    assert variance(uniform) == pytest.approx(0.048333, abs=5e-7)
    assert variance(geometric) == pytest.approx(0.088310, abs=5e-7)
    assert variance(last) / variance(uniform) == pytest.approx(9.352, abs=5e-4)
    assert variance(last) / variance(geometric) == pytest.approx(5.118, abs=5e-4)
    assert relative(last) / relative(uniform) == pytest.approx(4.419, abs=5e-4)
    assert relative(last) / relative(geometric) == pytest.approx(2.785, abs=5e-4)


def test_what_cannot_be_mixed_is_refused():
    for arguments, message in (
        ((0,), "steps must be 1 or more, received 0"),
        ((2, "last"), "trajectory must be one of uniform, geometric, one_hot, received 'last'"),
        ((2, "geometric", 1.5), "decay must be between 0 and 1, received 1.5"),
        ((2, "one_hot", 0.8, 3), "step must be between 1 and 2, the number of inner steps, received 3"),
    ):
        with pytest.raises(UserError, match=message):
            trajectory_weights(*arguments)


def test_a_word_chooses_it_and_as_many_steps():
    """`tests/experiments/test_members.py` makes steps of it with every other member."""
    config = waves("maml,mixed_trajectory", **{"objective.trajectory": "geometric"})
    check_config(config)
    assert config.adaptation.steps == STEPS
    names = [term.name for term in trainer_of(config).method.terms]
    assert names == ["query_loss", *(f"step_{step}_loss" for step in range(1, STEPS))]
