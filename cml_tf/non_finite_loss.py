"""The error that stops training at numbers that are not finite, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class NonFiniteLoss(ArithmeticError):
    """Training met a loss or gradient that is not finite. The step's update was not made."""

    @classmethod
    def at(cls, step: int, losses: np.ndarray, names: Sequence[str]) -> NonFiniteLoss:
        """The error of a step.

        Args:
          step: outer steps made before.
          losses: of the step, `[tasks, terms]`.
          names: of the terms.
        """
        tasks = np.flatnonzero(~np.isfinite(losses).all(1))
        first = step * len(losses)
        if tasks.size:
            where = ", ".join(f"episode {first + task} (task {task}): {losses[task].tolist()}" for task in tasks)
            what = f"a loss that is not finite in {where}"
        else:
            last = first + len(losses) - 1
            what = f"a gradient that is not finite, though all losses are, in episodes {first} to {last}"
        return cls(
            f"step {step} has {what} (terms {list(names)}). The update was not made. Lower the inner or outer rate, or "
            "set a gradient clipping norm."
        )
