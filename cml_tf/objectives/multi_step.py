"""MAML++'s multi-step loss: query losses on the way, whose weights move to the last step (arXiv 1810.09502, section 4).

Each inner step has a term of its own, so that each has a weight; weights are run-time values: changing them retraces
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradient_descent_options import FIVE_STEPS
from cml_tf.datasets.registry import DRAWINGS
from cml_tf.errors import UserError
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, member, option, register, variant

# What an early step's weight does not fall below while weights move, as a share of its first value (the authors' code).
_LEAST = 0.03


class StepLoss(ObjectiveTerm):
    """Mean query loss of the learner as it is after an inner step that is not the last one.

    Example:
      >>> term = StepLoss(cml_tf.Classification(2), step=1)
      >>> term.name, term(outcome, ()).loss.shape
      ('step_1_loss', TensorShape([]))

    Args:
      problem: gives the loss.
      step: which step, from 1.
      weight: in the outer loss.
    """

    reported = False

    def __init__(self, problem: Problem, step: int, weight: Weight = 1.0) -> None:
        super().__init__(f"step_{step}_loss", weight)
        self.problem = problem
        self.step = step

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task; nothing is reported.

        Raises:
          UserError: if the rule makes no more steps than this one.
        """
        iterates = outcome.adapted.path
        if iterates is None:
            raise UserError(
                "the loss after an inner step needs a rule that records its inner steps, received a rule that does not."
            )
        if self.step >= len(iterates) - 1:
            raise UserError(
                f"the loss after step {self.step} needs more than {self.step} inner steps, received "
                f"{len(iterates) - 1}."
            )
        _, outputs = iterates[self.step].predict(outcome.query.inputs)
        losses = self.problem.losses(tf.nest.flatten(outputs)[0], outcome.query.targets)
        return TermLoss(tf.reduce_mean(losses), {})


@dataclass(frozen=True)
class StepWeight:
    """The weight of the query loss after one inner step, by outer step.

    All begin equal, `1 / steps` each. Until outer step `until` those of early steps fall evenly towards 0, but not
    below 3 % of what they began with, and the last step's gets what they lose; from then on only the last step counts.
    Their sum is always 1.

    Example:
      >>> weight = StepWeight(steps=5, until=1000, last=False)
      >>> weight(0), weight(500), weight(1000)
      (0.2, 0.1, 0.0)

    Args:
      steps: inner steps, at least 1.
      until: outer step from which only the last inner step counts, at least 1.
      last: whether it is that of the last inner step.
    """

    steps: int
    until: int
    last: bool

    def __post_init__(self) -> None:
        if self.steps < 1 or self.until < 1:
            raise UserError(f"steps and until must be at least 1, received {self.steps} and {self.until}.")

    def __call__(self, outer_step: int) -> float:
        """The weight before outer step `outer_step` (from 0)."""
        left = max(1 - outer_step / self.until, _LEAST) if outer_step < self.until else 0.0
        early = left / self.steps
        return 1 - early * (self.steps - 1) if self.last else early


def multi_step_terms(problem: Problem, steps: int, until: int) -> list[ObjectiveTerm]:
    """The query loss after the last of `steps` inner steps, then those after each earlier one, with their weights.

    Example:
      >>> [term.name for term in multi_step_terms(cml_tf.Regression(1), steps=3, until=1000)]
      ['query_loss', 'step_1_loss', 'step_2_loss']
    """
    return path_terms(problem, [StepWeight(steps, until, last=step == steps) for step in range(1, steps + 1)])


def path_terms(problem: Problem, weights: Sequence[Weight]) -> list[ObjectiveTerm]:
    """The query loss after the last inner step, which is reported, then those after each earlier one.

    Args:
      problem: gives the loss.
      weights: after each inner step, the first to the last.
    """
    *early, last = weights
    steps = [StepLoss(problem, step, weight) for step, weight in enumerate(early, 1)]
    return [QueryLoss(problem, weight=last), *steps]


def leaves_path(settings: Settings) -> bool:
    """Whether the members chosen let inner steps be looked at one by one."""
    chosen = {"rule": settings["adaptation.rule"], "hypergradient": settings.get("hypergradient.name")}
    return all(member(axis, name).traits["path"] for axis, name in chosen.items() if name)


def path_faults(settings: Settings, name: str) -> list[str]:
    """Why there are no losses on the way, for an objective of that name that weighs them."""
    if not leaves_path(settings):
        return [
            f"objective.terms must not contain {name!r} with a rule that does not record its inner steps, received "
            f"{settings['adaptation.rule']} and {settings.get('hypergradient.name')}."
        ]
    if settings["adaptation.steps"] < 2:
        return [
            f"adaptation.steps must be at least 2 with {name}, which weighs early steps against the last, "
            f"received {settings['adaptation.steps']!r}."
        ]
    return []


@dataclass(frozen=True)
class MultiStepOptions:
    """Options of the multi-step loss."""

    multi_step_until: int = option(1000, "outer step from which only the last inner step counts", least=1)


def _faults(settings: Settings) -> list[str]:
    if faults := path_faults(settings, "multi_step"):
        return faults
    until, steps = settings["objective.multi_step_until"], settings.get("train.steps", math.inf)
    if until >= steps:
        return [
            f"objective.multi_step_until must be below train.steps ({steps}), so that only the last inner step "
            f"counts at the end, received {until}: set both keys."
        ]
    return []


@register("objective", "multi_step", MultiStepOptions, slot="outer", faults=_faults, smoke={"multi_step_until": 1})
def _multi_step(options: MultiStepOptions, given: Given) -> list[ObjectiveTerm]:
    """Query losses after every inner step, with the weight moving to the last step (MAML++, arXiv 1810.09502)."""
    return multi_step_terms(given.problem, given.steps, options.multi_step_until)


@variant("maml_plus_plus", chooses=("multi_step", "per_step_rates"))
def _maml_plus_plus(settings: Settings) -> dict[str, Any]:
    """MAML++ whole: five steps with rates and normalisation of their own, first order at first (arXiv 1810.09502)."""
    normalises = MODES[settings.get("learner.normalisation", "none")].standardises
    changes: dict[str, Any] = {"learner.normalisation": "per_step"} if normalises else {}
    # The authors' initial rates: for drawings, and for photographs.
    rate = 0.1 if settings["dataset.name"] in DRAWINGS else min(settings.get("adaptation.rate", 0.01), 0.01)
    steps = settings["train.steps"]
    # Shares of the training as in the paper's 100 epochs: 15 of them, 50, and all.
    if "train.first_order_steps" in settings:
        changes["train.first_order_steps"] = steps // 2
    changes |= {"objective.multi_step_until": max(1, round(0.15 * steps)), "train.cosine_steps": steps}
    return {**changes, **FIVE_STEPS, "adaptation.rate": rate, "train.final_rate": 1e-5}
