"""Reverse mode through the last inner steps alone.

Truncated back-propagation (Shaban et al. 2019, arXiv 1810.10667), one of the hypergradients of BOML. There the iterate
before the last `kept_steps` is a constant, so the initial parameters would get no gradient at all. Ours passes through
the earlier steps at first order instead: what the loss says of that iterate, it says of the initial parameters. For
everything that the support loss depends on besides (frozen parameters) both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Solution
from cml_tf.adaptation.hypergradients.reverse import turned
from cml_tf.errors import UserError
from cml_tf.registry import Given, option, register


class Truncated(Hypergradient):
    """Exact through the last `kept_steps` steps, of first order through those before.

    With as many kept steps as there are it is `Reverse`; none would be `FirstOrder`.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("truncated", kept_steps=2).kept_steps
      2

    Args:
      kept_steps: 1 or more; beyond the number of steps all are kept.
    """

    unrolled = True

    def __init__(self, kept_steps: int = 1) -> None:
        if kept_steps < 1:
            raise UserError(f"kept_steps must be 1 or more (first_order keeps none), received {kept_steps}.")
        self.kept_steps = kept_steps

    def solve(self, loop: InnerLoop) -> Solution:
        """Unrolls the loop, the gradients of early steps held constant."""
        if not isinstance(loop.steps, int):
            early = tf.maximum(loop.steps - self.kept_steps, 0)
            middle = turned(loop, loop.start, early, second_order=False)
            return Solution(turned(loop, middle, loop.steps - early, second_order=True), None)
        iterates = [loop.start]
        for step in range(loop.steps):
            iterates.append(loop.next(iterates[-1], second_order=step >= loop.steps - self.kept_steps))
        return Solution(iterates[-1], tuple(iterates))


@dataclass(frozen=True)
class TruncatedOptions:
    """Options of `Truncated`."""

    kept_steps: int = option(1, "last inner steps that the gradient is exact through", least=1)


@register("hypergradient", "truncated", TruncatedOptions)
def _truncated(options: TruncatedOptions, given: Given) -> Truncated:
    """Exact through the last inner steps, of first order through those before (after arXiv 1810.10667)."""
    return Truncated(options.kept_steps)
