"""Reptile's outer step as an objective (Nichol et al. 2018, arXiv 1803.02999, algorithm 2)."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.adaptation.gradient_descent import FIVE_STEPS
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.registry import Given, Settings, member, register, variant


class Reptile(ObjectiveTerm):
    """Half the squared distance between the initial and the adapted parameters, the latter being constants.

    Its gradient is `initial - adapted`: a step downhill moves the initial parameters towards those of the task. No
    query set takes part. Parameters that adaptation leaves alone get no gradient from it.

    Args:
      name: of the term.
      weight: in the outer loss.
    """

    def __init__(self, name: str = "reptile", weight: Weight = 1.0) -> None:
        super().__init__(name, weight)

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task; it reports `distance`, the Euclidean one.

        Raises:
          ValueError: if the rule does not adapt the learner's parameters.
        """
        adapted = outcome.adapted
        if adapted.parameters is None:
            raise ValueError(
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
    rule, update = settings["adaptation.rule"], settings.get("adaptation.update")
    if update is None:
        return [
            "adaptation.rule must be a rule with inner steps (gradient_descent) with reptile, which follows adapted "
            f"parameters, received {rule!r}."
        ]
    if member("rule", rule).traits["adapts"](settings) != {"extractor", "head"}:
        return [
            "adaptation.partition must be 'all' with reptile, since other parameters would never be trained, "
            f"received {settings.get('adaptation.partition')!r}."
        ]
    if member("update", update).traits["learned"]:
        return [
            "adaptation.update must be a rule without variables (sgd) with reptile, whose distance has no gradient for "
            f"them, received {update!r}."
        ]
    if member("hypergradient", settings["hypergradient.name"]).traits["second_order"]:
        return [
            "hypergradient.name must be 'first_order' with reptile, which does not differentiate the inner loop, "
            f"received {settings['hypergradient.name']!r}."
        ]
    return []


@register("objective", "reptile", slot="outer", faults=_faults)
def _reptile(options: object, given: Given) -> list[ObjectiveTerm]:
    """The distance covered by adaptation, instead of the query loss (arXiv 1803.02999)."""
    return [QueryLoss(given.problem, differentiated=False), Reptile()]


@variant("reptile", chooses=("reptile", "first_order"))
def _five_steps(settings: Settings) -> dict[str, int]:
    """Five first-order steps; with one, Reptile would be training on all tasks at once."""
    return FIVE_STEPS
