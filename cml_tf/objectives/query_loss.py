"""The loss on the query set after adaptation: MAML's outer objective."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, register


class QueryLoss(ObjectiveTerm):
    """Mean query loss of the adapted learner.

    Example:
      >>> loss, metrics = QueryLoss(cml_tf.Classification(2))(outcome, ())
      >>> sorted(metrics)
      ['accuracy', 'loss']

    Args:
      problem: gives loss and metric.
      head: which head to read when the learner's outputs are several.
      name: of the term.
      weight: in the outer loss.
      prefix: before the names of the reported metrics, `loss` and `accuracy` or `mse`.
      differentiated: False for a loss that is reported and teaches nothing (beside Reptile's).
    """

    def __init__(
        self,
        problem: Problem,
        head: int = 0,
        name: str = "query_loss",
        weight: Weight = 1.0,
        prefix: str = "",
        differentiated: bool = True,
    ) -> None:
        super().__init__(name, weight)
        self.problem = problem
        self.head = head
        self.prefix = prefix
        self.differentiated = differentiated
        self.answers_through_head = head == 0
        self.of_co_learner = head != 0

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task."""
        outputs = self.read(outcome.query_forward, values)
        if not self.differentiated:
            outputs = tf.stop_gradient(outputs)
        return scored(self.problem, outputs, outcome.query.targets, self.prefix)

    def read(self, forward: tuple[Any, Any], values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """The head's outputs.

        Raises:
          UserError: if there are not so many heads.
        """
        outputs = tf.nest.flatten(forward[1])
        if self.head >= len(outputs):
            raise UserError(
                f"head must be below {len(outputs)}, the number of heads of the learner, received {self.head}."
            )
        return outputs[self.head]


def scored(problem: Problem, outputs: Any, targets: tf.Tensor, prefix: str) -> TermLoss:
    """Mean loss of outputs, reported with the problem's metric.

    Raises:
      UserError: for a query set that is known to be empty, which has no mean.
    """
    if targets.shape[0] == 0:
        raise UserError("the query set must contain at least one example, received none: the outer loss is its mean.")
    loss = tf.reduce_mean(problem.losses(outputs, targets))
    return TermLoss(
        loss, {f"{prefix}loss": loss, f"{prefix}{problem.metric}": tf.reduce_mean(problem.scores(outputs, targets))}
    )


@register("objective", "query_loss", slot="outer")
def _query_loss(options: object, given: Given) -> list[ObjectiveTerm]:
    """The loss on the query set after adaptation (MAML)."""
    return [QueryLoss(given.problem)]
