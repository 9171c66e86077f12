"""Prediction one query at a time: what a client gets who asks about a single example."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner


class SingleQueries(AdaptationRule):
    """A rule whose tasks predict every query alone, so that no other query can help.

    Under `batch_transductive` normalisation a query is normalised by its company; this shows what is left without it.

    Args:
      rule: how to adapt; built already.

    Raises:
      ValueError: for a rule that adapts to the queries, which has no such prediction.
    """

    def __init__(self, rule: AdaptationRule) -> None:
        super().__init__()
        if rule.uses_query_inputs:
            raise ValueError(
                f"{type(rule).__name__} adapts to the queries, so they cannot be predicted one at a time: leave out "
                "single queries."
            )
        self.rule = rule
        self.steps = rule.steps
        self.answers_through_head = rule.answers_through_head
        self.schedules = rule.schedules
        self.meta_variables = rule.meta_variables

    def build(self, learner: Learner) -> None:
        """Builds the rule; its meta-variables are this one's."""
        self.rule.build(learner)
        self.meta_variables = self.rule.meta_variables

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> AdaptedTask:
        """Adapts as the rule does."""
        return _OneByOne(self.rule.adapt(learner, initial, support, context))

    def with_steps(self, steps: int) -> AdaptationRule:
        """The same with another number of steps."""
        return SingleQueries(self.rule.with_steps(steps))


class _OneByOne(AdaptedTask):
    def __init__(self, task: AdaptedTask) -> None:
        super().__init__(task.learner, task.state, task.context)
        self.task = task

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        def one(single: Any) -> tuple[Any, Any]:
            return self.task.predict(tf.nest.map_structure(lambda tensor: tensor[None], single))

        first = one(tf.nest.map_structure(lambda tensor: tensor[0], inputs))
        signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), first)
        batched = tf.map_fn(one, inputs, fn_output_signature=signature)
        return tf.nest.map_structure(lambda tensor: tf.squeeze(tensor, 1), batched)

    def among_present(self, outputs: Any) -> Any:
        return self.task.among_present(outputs)
