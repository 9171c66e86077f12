"""Mixed trajectory: query losses after all inner steps, with weights that stay as they are.

After One Step at a Time, of which we know the abstract alone; the mixing rule is ours, and this is no reproduction.
With J_k for the query loss after inner step k of K, and g_k for its meta-gradient through k steps,

    J = sum_k w_k J_k,  sum_k w_k = 1,  so that its meta-gradient is sum_k w_k g_k.

The weights are equal, or geometric (w_k = (1 - decay) decay^(k-1), and w_K = decay^(K-1)), or all on one step. Early
gradients pass through few steps and vary little, late ones are of the learner that answers. There the validation of
step k is the data of step k + 1, fresh for each; here all steps are judged on the task's query set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cml_tf.adaptation.gradient_descent_options import FIVE_STEPS
from cml_tf.errors import UserError
from cml_tf.objectives.multi_step import path_faults, path_terms
from cml_tf.objectives.term import ObjectiveTerm
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, option, register, variant

TRAJECTORIES = ("uniform", "geometric", "one_hot")


def trajectory_weights(steps: int, trajectory: str = "uniform", decay: float = 0.8, step: int = 1) -> list[float]:
    """The weight of the query loss after each inner step, the first to the last; their sum is 1.

    Example:
      >>> [round(weight, 3) for weight in trajectory_weights(4, "geometric", decay=0.5)]
      [0.5, 0.25, 0.125, 0.125]

    Args:
      steps: inner steps, at least 1.
      trajectory: "uniform", "geometric" or "one_hot".
      decay: of a geometric one, in [0, 1]: from the first step alone to the last step alone.
      step: of a one-hot one, from 1 to `steps`.

    Raises:
      UserError: for another word, or a number out of range.
    """
    if steps < 1:
        raise UserError(f"steps must be 1 or more, received {steps!r}.")
    if trajectory not in TRAJECTORIES:
        raise UserError(f"trajectory must be one of {', '.join(TRAJECTORIES)}, received {trajectory!r}.")
    if not 0 <= decay <= 1:
        raise UserError(f"decay must be between 0 and 1, received {decay!r}: use 0.8, for example.")
    if not 1 <= step <= steps:
        raise UserError(f"step must be between 1 and {steps}, the number of inner steps, received {step!r}.")
    if trajectory == "uniform":
        return [1 / steps] * steps
    if trajectory == "one_hot":
        return [float(number == step) for number in range(1, steps + 1)]
    return [*((1 - decay) * decay**number for number in range(steps - 1)), decay ** (steps - 1)]


def mixed_trajectory_terms(
    problem: Problem, steps: int, trajectory: str = "uniform", decay: float = 0.8, step: int = 1
) -> list[ObjectiveTerm]:
    """The query loss after the last inner step, which is reported, then those after each earlier one.

    Example:
      >>> [term.weight for term in mixed_trajectory_terms(cml_tf.Regression(1), steps=3, trajectory="one_hot", step=2)]
      [0.0, 0.0, 1.0]

    Args:
      problem: gives the loss.
      steps: of `trajectory_weights`, like the others.
      trajectory: likewise.
      decay: likewise.
      step: likewise.
    """
    return path_terms(problem, trajectory_weights(steps, trajectory, decay, step))


@dataclass(frozen=True)
class MixedTrajectoryOptions:
    """Options of the mixed trajectory."""

    trajectory: str = option("uniform", "how the losses after inner steps are weighed", choices=TRAJECTORIES)
    trajectory_decay: float = option(0.8, "`geometric`: ratio of the weights of two early steps", least=0, most=1)
    trajectory_step: int = option(1, "`one_hot`: the inner step whose loss counts, from 1", least=1)


def _faults(settings: Settings) -> list[str]:
    if faults := path_faults(settings, "mixed_trajectory"):
        return faults
    step, steps = settings["objective.trajectory_step"], settings["adaptation.steps"]
    if step > steps:
        return [
            f"objective.trajectory_step must be at most adaptation.steps ({steps}), received {step}: set both keys."
        ]
    return []


@register("objective", "mixed_trajectory", MixedTrajectoryOptions, slot="outer", faults=_faults)
def _mixed_trajectory(options: MixedTrajectoryOptions, given: Given) -> list[ObjectiveTerm]:
    """Query losses after all inner steps, mixed (ours, after One Step at a Time)."""
    numbers = options.trajectory, options.trajectory_decay, options.trajectory_step
    return mixed_trajectory_terms(given.problem, given.steps, *numbers)


@variant("mixed_trajectory", chooses=("mixed_trajectory",))
def _five_steps(settings: Settings) -> dict[str, Any]:
    """Five inner steps, since a single one leaves nothing to mix."""
    return FIVE_STEPS
