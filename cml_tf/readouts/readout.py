"""The readout axis: what answers after adaptation, chosen when a trained method is scored, loaded or exported."""

from __future__ import annotations

from abc import ABC, abstractmethod

import keras
import numpy as np
import tensorflow as tf

from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Problem
from cml_tf.registry import Given, member, members, register
from cml_tf.training.method import Method


class Readout(ABC):
    """Turns a trained method into the one that answers.

    Example: that of `LearnerReadout`.
    """

    @abstractmethod
    def method(self, trained: Method, problem: Problem) -> Method:
        """The method whose only term is the readout, so that its metric and outputs are the readout's.

        Args:
          trained: with all its terms. Variables are shared with it.
          problem: what is answered.

        Raises:
          UserError: if the method has not what the readout reads.
        """


def read_through(method: Method, problem: Problem, readout: str) -> Method:
    """The method that answers through a readout.

    Example:
      >>> method = cml_tf.load("letters").method
      >>> read_through(method, cml_tf.Classification(3), "learner").terms[0].name
      'query_loss'

    Args:
      method: trained.
      problem: what is answered.
      readout: its name: a member of this axis.

    Raises:
      UserError: for an unknown readout, or one that needs a co-learner where there is none.
    """
    made: Readout = member("readout", readout).make(Given(problem, {}))
    return made.method(method, problem)


def served_variables(method: Method) -> list[keras.Variable]:
    """What a method answers with, in a fixed order: extractor, head, their state, the rule's, those of what answers."""
    learner, answer = method.learner, method.terms[0]
    everything = tuple(learner.variables), tuple(learner.state_variables), tuple(method.rule.meta_variables)
    return [*tf.nest.flatten(everything), *answer.variables, *answer.constants]


def answers_as_head(method: Method) -> bool:
    """Whether a method answers with the very outputs of its learner's first head, and with no variable besides."""
    learner, answer = method.learner, method.terms[0]
    if not answer.answers_through_head or answer.variables or answer.constants:
        return False
    inputs, context = learner.example_inputs, learner.context
    forward = learner.call(*learner.initial(), inputs, context, training=False)
    # Numbers of every size: a head that is new may give zeros alone, which most functions leave as they are.
    outputs = tf.nest.map_structure(
        lambda output: tf.reshape(tf.linspace(-3.0, 5.0, tf.size(output)), output.shape), forward.outputs
    )
    return np.array_equal(answer.read((forward.features, outputs), ()), tf.nest.flatten(outputs)[0])


def through_head() -> str:
    """The names of the readouts whose models can be saved and exported, for texts."""
    return ", ".join(name for name, one in members("readout").items() if one.traits["through_head"])


class LearnerReadout(Readout):
    """(psi', theta'): the adapted learner; the co-learner is not used.

    Example:
      >>> method = cml_tf.load("letters").method
      >>> LearnerReadout().method(method, cml_tf.Classification(3)).terms[0].name
      'query_loss'
    """

    def method(self, trained: Method, problem: Problem) -> Method:
        """The method without the terms of training."""
        return Method.of(trained.learner, trained.rule, [QueryLoss(problem)])


@register("readout", "learner", through_head=True)
def _learner(options: object, given: Given) -> Readout:
    """The adapted learner, without its co-learner (CML)."""
    return LearnerReadout()
