"""Adaptation that is asked for by steps and rate: what is sent, and what the server tells of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.client.errors import ClientError
from export.client.interface import Interface

# What the server takes for the model's own.
_OWN_STEPS, _OWN_RATE = -1, -1.0


@dataclass(frozen=True, eq=False)
class Trace:
    """What the inner steps of a task did.

    Example:
      >>> trace = Trace(np.array([1.5, 0.5, 0.25]), np.array([0.3, 0.1]), made_worse=False)
      >>> trace.steps
      2

    Attributes:
      losses: the support loss before the first step and after each one, `[steps + 1]`.
      norms: how far each step moved the parameters, `[steps]`.
      made_worse: whether the support loss is higher after the last step than before the first.
    """

    losses: np.ndarray
    norms: np.ndarray
    made_worse: bool

    @property
    def steps(self) -> int:
        """How many were made."""
        return len(self.norms)


def read_trace(outputs: Mapping[str, np.ndarray]) -> Trace | None:
    """Of one task, no task axis; None where nothing was asked for."""
    if "steps_taken" not in outputs:
        return None
    steps = int(outputs["steps_taken"])
    return Trace(outputs["support_losses"][: steps + 1], outputs["step_norms"][:steps], bool(outputs["made_worse"]))


def pace_inputs(interface: Interface, steps: int | None, rate: float | None) -> dict[str, np.ndarray]:
    """The inputs that ask for so many steps at such a rate, None for the model's own; nothing if both are None.

    Raises:
      ClientError: if the model lets nobody ask, or these are no numbers that anybody could ask for.
    """
    if steps is None and rate is None:
        return {}
    if not interface.bounded:
        raise ClientError(
            "the model does not let requests set steps and rate: leave them out, or export it with --most_steps."
        )
    if (steps is not None and not 0 <= steps < 2**31) or (rate is not None and not 0 < rate < float("inf")):
        raise ClientError(f"steps must be 0 or more and the rate positive, received {steps} and {rate}.")
    return {
        "steps": np.array([_OWN_STEPS if steps is None else steps], np.int32),
        "rate": np.array([_OWN_RATE if rate is None else rate], np.float32),
    }
