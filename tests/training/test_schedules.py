"""Scheduled numbers reach rules and terms while training; afterwards they are what they end as."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.adaptation.rule import Scheduled
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss, TermLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from tests.helpers.seeded_episodes import regression_episode

PROBLEM = Regression(1)


class Warmed(GradientDescent):
    """Its steps are the shorter, the younger the training."""

    schedules = {"warmth": Scheduled(lambda step: step / 2, 1.0)}

    def adapt(self, learner, initial, support, context, query_inputs=None):
        task = super().adapt(learner, initial, support, context, query_inputs)
        moved = tf.nest.map_structure(
            lambda start, end: start + initial.scalars["warmth"] * (end - start), initial.parameters, task.parameters
        )
        task.parameters = moved
        return task


class Fading(QueryLoss):
    """Reports the number that it finds."""

    schedules = {"fading": Scheduled(lambda step: 10.0 - step, 0.0)}

    def __call__(self, outcome, values):
        loss = super().__call__(outcome, values).loss
        return TermLoss(loss, {"loss": loss, "mse": loss, **outcome.initial.scalars})


def test_numbers_of_the_step_reach_rule_and_term_without_a_new_trace():
    keras.utils.set_random_seed(0)
    trainer = Trainer(mlp(1, (2,)), Warmed(PROBLEM, SGD(0.1)), [Fading(PROBLEM)], PROBLEM, optimizer="sgd")
    history = trainer.fit([regression_episode()] * 3, 3, verbose=0, validate_every=1)
    assert history["fading"] == [10, 9, 8] and history["warmth"] == [0, 0.5, 1]
    assert trainer.meta_step.traces == 1
    _, metrics = evaluate_losses(trainer.method, regression_episode())
    assert metrics["fading"][0] == 0 and metrics["warmth"][0] == 1


def test_a_number_of_0_leaves_the_learner_where_it_was():
    keras.utils.set_random_seed(0)
    method = Method.of(mlp(1, (2,)), Warmed(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM)])
    cold, none = (
        method.losses(method.initial(scalars), ((),), tf.nest.map_structure(lambda leaf: leaf[0], regression_episode()))
        for scalars in ({"warmth": tf.constant(0.0)}, {"warmth": tf.constant(1.0)})
    )
    unmoved = Method.of(method.learner, method.rule.with_steps(0), method.terms)
    losses, _ = evaluate_losses(unmoved, regression_episode())
    assert cold[0].loss == losses[0, 0] != none[0].loss


def test_two_numbers_of_one_name_are_refused():
    with pytest.raises(UserError, match=r"different names, received \['fading', 'fading'\]"):
        Method.of(mlp(1, (2,)), GradientDescent(PROBLEM, SGD(0.1)), [Fading(PROBLEM), Fading(PROBLEM, name="other")])
