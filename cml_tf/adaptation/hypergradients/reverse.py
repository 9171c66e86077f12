"""Reverse mode through every inner step, and its first-order shadow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.registry import Given, register


class Reverse(Hypergradient):
    """Exact: reverse-mode differentiation through every inner step (MAML, Finn et al. 2017, arXiv 1703.03400).

    Example:
      >>> rule = GradientDescent(cml_tf.Regression(1), SGD(0.1), steps=5, hypergradient=Reverse())
      >>> rule.second_order
      True
    """

    exact = True
    unrolled = True

    def solve(self, loop: InnerLoop) -> Solution:
        """Unrolls the loop; a tape around it does the rest."""
        return _run(loop, second_order=True)


class FirstOrder(Hypergradient):
    """First-order MAML: inner gradients are constants, so d adapted / d initial parameters is the identity.

    The update rule's own meta-variables (inner rates) still receive their exact gradient given those constants.

    Example:
      >>> rule = GradientDescent(cml_tf.Regression(1), SGD(0.1), steps=5, hypergradient=FirstOrder())
      >>> rule.second_order
      False
    """

    second_order = False
    unrolled = True

    def solve(self, loop: InnerLoop) -> Solution:
        """Unrolls the loop with inner gradients held constant."""
        return _run(loop, second_order=False)


def _run(loop: InnerLoop, second_order: bool) -> Solution:
    if not isinstance(loop.steps, int):
        return Solution(turned(loop, loop.start, loop.steps, second_order), None)
    iterates = [loop.start]
    for _ in range(loop.steps):
        iterates.append(loop.next(iterates[-1], second_order))
    return Solution(iterates[-1], tuple(iterates))


def turned(loop: InnerLoop, start: Iterate, steps: int | tf.Tensor, second_order: bool) -> Iterate:
    """The iterate after some steps, by a loop in the graph: their number may be known to its run only."""
    return repeated(lambda iterate: loop.next(iterate, second_order), start, steps)


def repeated(step: Callable[[Any], Any], start: Any, times: int | tf.Tensor) -> Any:
    """What a step makes of a `tf.nest` structure of tensors, time after time, by a loop in the graph."""
    _, final = tf.while_loop(
        lambda made, _: made < tf.cast(times, tf.int32),
        lambda made, current: (made + 1, step(current)),
        (tf.constant(0), start),
        parallel_iterations=1,
    )
    return final


@register("hypergradient", "reverse")
def _reverse(options: object, given: Given) -> Reverse:
    """Exact, by reverse mode through every inner step (arXiv 1703.03400)."""
    return Reverse()


@register("hypergradient", "first_order", second_order=False)
def _first_order(options: object, given: Given) -> FirstOrder:
    """Inner gradients are constants of the outer loop (first-order MAML)."""
    return FirstOrder()
