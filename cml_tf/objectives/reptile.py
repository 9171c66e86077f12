"""Reptile's outer step as an objective (Nichol et al. 2018, arXiv 1803.02999, algorithm 2)."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.adaptation.gradient_descent_options import FIVE_STEPS
from cml_tf.errors import UserError
from cml_tf.objectives.plain_descent import plain_descent_faults
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.registry import Given, Settings, register, variant


class Reptile(ObjectiveTerm):
    """Half the squared distance between the initial and the adapted parameters, the latter being constants.

    Its gradient is `initial - adapted`: a step downhill moves the initial parameters towards those of the task. No
    query set takes part. Parameters that adaptation leaves alone get no gradient from it.

    Example:
      >>> sorted(Reptile()(outcome, ()).metrics)
      ['distance']

    Args:
      name: of the term.
      weight: in the outer loss.
    """

    def __init__(self, name: str = "reptile", weight: Weight = 1.0) -> None:
        super().__init__(name, weight)

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task; it reports `distance`, the Euclidean one.

        Raises:
          UserError: if the rule does not adapt the learner's parameters.
        """
        adapted = outcome.adapted
        if adapted.parameters is None:
            raise UserError(
                f"Reptile needs a rule that adapts the learner's parameters (gradient descent), received a task of "
                f"type {type(adapted).__name__}."
            )
        pairs = zip(
            tf.nest.flatten(tuple(outcome.initial.parameters)),
            map(tf.stop_gradient, tf.nest.flatten(tuple(adapted.parameters))),
            strict=True,
        )
        loss = tf.add_n([tf.nn.l2_loss(start - end) for start, end in pairs])
        return TermLoss(loss, {"distance": tf.sqrt(2 * tf.stop_gradient(loss))})


def _faults(settings: Settings) -> list[str]:
    return plain_descent_faults(
        settings,
        "reptile",
        steps="follows adapted parameters",
        partition="since other parameters would never be trained",
        variables="distance has no gradient for them",
    )


@register("objective", "reptile", slot="outer", faults=_faults, query_gradient=False)
def _reptile(options: object, given: Given) -> list[ObjectiveTerm]:
    """The distance covered by adaptation, instead of the query loss (arXiv 1803.02999)."""
    return [QueryLoss(given.problem, differentiated=False), Reptile()]


@variant("reptile", chooses=("reptile", "first_order"))
def _five_steps(settings: Settings) -> dict[str, int]:
    """Five first-order steps; with one, Reptile would be training on all tasks at once."""
    return FIVE_STEPS
