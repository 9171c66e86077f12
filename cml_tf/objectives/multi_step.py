"""MAML++'s multi-step loss: query losses on the way, whose weights move to the last step (arXiv 1810.09502, section 4).

Each inner step has a term of its own, so that each has a weight; weights are run-time values: changing them retraces
nothing.
"""

from __future__ import annotations

import tensorflow as tf

from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss
from cml_tf.problems import Problem

# What an early step's weight does not fall below while weights move, as a share of its first value (the authors' code).
_LEAST = 0.03


class StepLoss(ObjectiveTerm):
    """Mean query loss of the learner as it is after an inner step that is not the last one.

    Args:
      problem: gives the loss.
      step: which step, from 1.
      weight: in the outer loss.
    """

    reported = False

    def __init__(self, problem: Problem, step: int, weight: float = 1.0) -> None:
        super().__init__(name_of(step), weight)
        self.problem = problem
        self.step = step

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task; nothing is reported.

        Raises:
          ValueError: if the rule makes no more steps than this one.
        """
        iterates = outcome.adapted.path
        if iterates is None:
            raise ValueError(
                "the loss after an inner step needs a rule that leaves a path of steps, received one without."
            )
        if self.step >= len(iterates) - 1:
            raise ValueError(
                f"the loss after step {self.step} needs more inner steps than that, received {len(iterates) - 1}."
            )
        _, outputs = iterates[self.step].predict(outcome.query.inputs)
        losses = self.problem.losses(tf.nest.flatten(outputs)[0], outcome.query.targets)
        return TermLoss(tf.reduce_mean(losses), {})


def name_of(step: int) -> str:
    """The name of a step's term."""
    return f"step_{step}_loss"


def multi_step_terms(problem: Problem, steps: int) -> list[ObjectiveTerm]:
    """The query loss after the last of `steps` inner steps, then those after each earlier one."""
    return [QueryLoss(problem), *(StepLoss(problem, step) for step in range(1, steps))]


class MultiStepWeights:
    """The weights of `multi_step_terms` by outer step.

    They begin equal, `1 / steps` each. Until outer step `until` those of the early steps fall evenly towards 0, but not
    below 3 % of what they began with, and the last step's gets what they lose; from then on only the last step counts.
    Their sum is always 1.

    Args:
      steps: inner steps, at least 1.
      until: outer step from which only the last inner step counts, at least 1.
    """

    def __init__(self, steps: int, until: int) -> None:
        if steps < 1 or until < 1:
            raise ValueError(f"steps and until must be at least 1, received {steps} and {until}.")
        self.steps = steps
        self.until = until

    def __call__(self, outer_step: int) -> dict[str, float]:
        """Weights by the terms' names, before outer step `outer_step` (from 0)."""
        left = max(1 - outer_step / self.until, _LEAST) if outer_step < self.until else 0.0
        early = left / self.steps
        weights = {name_of(step): early for step in range(1, self.steps)}
        return {"query_loss": 1 - early * (self.steps - 1), **weights}
