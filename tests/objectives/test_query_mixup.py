"""Query mixup: what it draws, what it computes, and that it changes nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.objectives import QueryMixup
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from cml_tf.training.task_mapping import can_be_vectorised
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method

KEY = tf.constant([3, 5], tf.int64)


def loss_of(term, method, episode):
    return evaluate_losses(Method.of(method.learner, method.rule, [term]), episode)[0][:, 0].numpy()


class Fixed(QueryMixup):
    """Draws what it is told."""

    shares: tuple[float, ...] = ()
    partners: tuple[int, ...] = ()

    def drawn(self, key, count):
        return tf.constant(self.shares, tf.float64), tf.constant(self.partners)


def test_the_loss_of_a_mixture_is_that_of_its_inputs_and_labels(float64):
    method, episode = make_method(), make_episode(tasks=1)
    task = tf.nest.map_structure(lambda tensor: tensor[0], episode)
    count = len(task.query.targets)
    term = Fixed(PROBLEM)
    term.shares, term.partners = tuple(np.linspace(0.1, 0.9, count)), tuple(np.roll(range(count), 1))
    adapted = method.outcome(method.rule.initial(method.learner), task).adapted
    share, x, y = np.array(term.shares), task.query.inputs.numpy(), task.query.targets.numpy()
    _, logits = adapted.predict(tf.constant(share[:, None] * x + (1 - share[:, None]) * x[list(term.partners)]))
    log = tf.nn.log_softmax(logits).numpy()
    rows, partners = range(count), list(term.partners)
    # The cross-entropy of a mixed label is the mixture of two.
    expected = -(share * log[rows, y] + (1 - share) * log[rows, y[partners]]).mean()
    np.testing.assert_allclose(loss_of(term, method, episode), [expected], rtol=1e-10)
    term.shares = (1.0,) * count
    np.testing.assert_allclose(
        loss_of(term, method, episode), evaluate_losses(method, episode)[0][:, 0].numpy(), rtol=1e-10
    )


def test_draws_are_of_the_beta_distribution_and_follow_from_the_key():
    shares, partners = QueryMixup(PROBLEM, 0.5).drawn(KEY, 20000)
    assert (
        abs(float(tf.math.reduce_variance(shares)) - 0.125) < 0.005 and abs(float(tf.reduce_mean(shares)) - 0.5) < 0.01
    )
    assert sorted(partners.numpy()) == list(range(20000))
    again = QueryMixup(PROBLEM, 0.5).drawn(KEY, 20000)
    np.testing.assert_array_equal(shares, again[0])
    assert not np.array_equal(shares, QueryMixup(PROBLEM, 0.5).drawn(KEY + 1, 20000)[0])


def test_a_linear_model_s_expected_loss_is_known(float64):
    """At concentration 1 it is 2/3 of the mean squared residual and 1/3 of the squared mean one."""
    residuals = np.random.default_rng(0).standard_normal(50)
    term, losses = QueryMixup(Regression(1), 1.0), []
    for number in range(3000):
        shares, partners = (part.numpy() for part in term.drawn(tf.constant([7, number], tf.int64), 50))
        losses.append(((shares * residuals + (1 - shares) * residuals[partners]) ** 2).mean())
    expected = 2 / 3 * (residuals**2).mean() + residuals.mean() ** 2 / 3
    assert np.mean(losses) == pytest.approx(expected, rel=0.01)


def test_episodes_without_a_key_and_inputs_without_mixtures_are_refused():
    method, episode = make_method(), make_episode()
    with pytest.raises(UserError, match=r"episodes must have a key, .* \[tasks, 2\]"):
        loss_of(QueryMixup(PROBLEM), method, episode._replace(key=()))
    with pytest.raises(UserError, match="the concentration must be positive, received 0"):
        QueryMixup(Classification(3), 0)
    tokens = make_method(learner="embedding")
    with pytest.raises(UserError, match="mixed queries must be floats, received int32"):
        loss_of(QueryMixup(PROBLEM), tokens, make_episode("embedding"))


def test_tasks_are_worked_on_one_by_one():
    """What it draws has no batched form: TensorFlow would warn, and go through the tasks all the same."""
    method = make_method()
    assert can_be_vectorised(dataclasses.replace(method, terms=method.terms[:1]))
    assert not can_be_vectorised(dataclasses.replace(method, terms=(*method.terms[:1], QueryMixup(PROBLEM))))
