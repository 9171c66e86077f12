"""The co-learner answers: both versions of CML-dagger (arXiv 2406.04639)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Problem
from cml_tf.readouts.readout import Readout
from cml_tf.registry import Given, register
from cml_tf.training.method import Method


class CoLearnerAsHead(Readout):
    """phi is the head *while adapting*: psi adapts through the frozen phi (the paper's equation 9).

    Example:
      >>> from cml_tf.training.method import Method
      >>> problem = cml_tf.Classification(2)
      >>> terms = [QueryLoss(problem), CoLearner(keras.layers.Dense(2), problem)]
      >>> method = Method.of(learner, GradientDescent(problem, SGD(0.1)), terms)
      >>> CoLearnerAsHead().method(method, problem).learner.head is terms[1].layer
      True
    """

    def method(self, trained: Method, problem: Problem) -> Method:
        """The method of another learner, whose head is the co-learner."""
        learner, phi = trained.learner, _co_head(trained, problem)
        through_phi = Learner(learner.extractor, phi, example_inputs=learner.example_inputs, context=learner.context)
        head_shapes = tf.nest.map_structure(lambda v: tuple(v.shape), learner.variables.head)
        return Method.of(through_phi, trained.rule.through_head(head_shapes), [QueryLoss(problem)])


class CoLearnerOnAdapted(Readout):
    """(psi, theta) adapt through theta, then phi reads the adapted features (the released code).

    Example:
      >>> from cml_tf.training.method import Method
      >>> problem = cml_tf.Classification(2)
      >>> terms = [QueryLoss(problem), CoLearner(keras.layers.Dense(2), problem)]
      >>> method = Method.of(learner, GradientDescent(problem, SGD(0.1)), terms)
      >>> CoLearnerOnAdapted().method(method, problem).terms[0].layer is terms[1].layer
      True
    """

    def method(self, trained: Method, problem: Problem) -> Method:
        """The method whose term is the co-learner's."""
        return Method.of(trained.learner, trained.rule, [_co_term(trained, problem)])


def _co_term(method: Method, problem: Problem) -> Any:
    if method.learner.second_head is not None:
        return QueryLoss(problem, head=1)
    term = next((term for term in method.terms if term.layer is not None), None)
    if term is None or term.layer is None:
        raise UserError("this model was trained without a co-learner: only readout 'learner' exists.")
    return CoLearner(term.layer, problem, prefix="")


def _co_head(method: Method, problem: Problem) -> Any:
    if method.learner.second_head is not None:
        return method.learner.second_head
    return _co_term(method, problem).layer


@register("readout", "co_learner", through_head=True, needs_co_learner=True)
def _co_learner(options: object, given: Given) -> Readout:
    """The co-learner, which is the head while adapting (CML-dagger of the paper)."""
    return CoLearnerAsHead()


@register("readout", "co_learner_theta_adapted", needs_co_learner=True)
def _co_learner_theta_adapted(options: object, given: Given) -> Readout:
    """The co-learner on features adapted through theta (CML-dagger of the released code)."""
    return CoLearnerOnAdapted()
