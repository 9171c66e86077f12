"""Second-order gradients from first derivatives alone: a difference in the place of each Hessian-vector product.

DARTS (Liu et al. 2019, arXiv 1806.09055, equation 8) differentiates one inner step so, and BOML offers that. With `v`
the gradient that arrives at the end of a step, and L the support loss as a function of everything at its start,

    gradient = v - rate * (dL(y + e v) - dL(y - e v)) / (2 e),    e = radius / |v|.

Ours makes it for every step, from the last to the first, which for one step is theirs; and it asks the update rule
itself what it makes of a gradient, where DARTS has one rate.

Kinks between the two points spoil a difference: trained networks with ReLUs and max-pooling have some within 1e-4 of an
iterate, which float32 cannot resolve (docs/systems/boml.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradients import ascent, dense_gradients
from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.adaptation.hypergradients.rematerialised import floating, solution_on_path
from cml_tf.adaptation.updates.update_rule import Gradients
from cml_tf.errors import UserError
from cml_tf.registry import Given, option, register


class FiniteDifference(Hypergradient):
    """Central differences of the support loss's gradient, two a step, in the place of second derivatives.

    It agrees with `Reverse` up to third derivatives of the loss times the square of `radius`, and exactly where the
    loss is quadratic. Memory holds the iterates. Layers whose second derivative is wrong or missing may be used; those
    with kinks, as ReLU and max-pooling, make it useless in float32.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("finite_difference", radius=0.001).second_order
      False

    Args:
      radius: how far from an iterate gradients are looked at, over all that moves; positive.
    """

    second_order = False
    of_loss = True

    def __init__(self, radius: float = 0.01) -> None:
        if not radius > 0:
            raise UserError(f"radius must be positive, received {radius}.")
        self.radius = radius

    def solve(self, loop: InnerLoop) -> Solution:
        """Keeps the iterates, and goes back along them."""

        def step(iterate: Iterate, meta: Any) -> Iterate:
            return loop.step(iterate, meta, loop.support, loop.context, False)

        def pull_back(iterate: Iterate, meta: Any, incoming: list[tf.Tensor]) -> Any:
            count = len(floating(iterate))
            direct, of_field = _around_field(loop, iterate, meta, incoming)
            total = tf.nest.map_structure(tf.add, direct, self._through_field(loop, iterate, meta, of_field))
            return total[:count], total[count:]

        return solution_on_path(loop, step, pull_back)

    def _through_field(self, loop: InnerLoop, iterate: Iterate, meta: Any, of_field: Gradients) -> list[tf.Tensor]:
        """What arrives at the inner gradient, passed on to all that it depends on: a Hessian times that."""
        way = ascent(of_field, self.radius)
        flat = tf.nest.flatten(of_field)
        if not flat:
            return [tf.zeros_like(tensor) for tensor in (*floating(iterate), *meta)]
        length = tf.linalg.global_norm(flat)

        def slopes(sign: float) -> list[tf.Tensor]:
            watched = [*floating(iterate), *meta]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                shift = tf.nest.map_structure(lambda part: sign * part, way)
                loss = loop.loss(iterate, meta, loop.support, loop.context, False, shift)
            return dense_gradients(tape, loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        pairs = zip(slopes(1.0), slopes(-1.0), strict=True)
        return [(above - below) * tf.cast(length / (2 * self.radius), above.dtype) for above, below in pairs]


def _around_field(loop: InnerLoop, iterate: Iterate, meta: Any, incoming: list[tf.Tensor]) -> Any:
    """Gradients through a step whose inner gradient is one more argument: of all the others, and of that."""
    watched = [*floating(iterate), *meta]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(watched)
        field, state = loop.field(iterate, meta, loop.support, loop.context, False)
        field = tf.nest.map_structure(tf.stop_gradient, field)
        tape.watch(tf.nest.flatten(field))
        following = floating(loop.follow(iterate, field, state, meta))
    sources = [*watched, *tf.nest.flatten(field)]
    gradients = dense_gradients(
        tape, following, sources, output_gradients=incoming, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return gradients[: len(watched)], tf.nest.pack_sequence_as(field, gradients[len(watched) :])


@dataclass(frozen=True)
class FiniteDifferenceOptions:
    """Options of `FiniteDifference`."""

    radius: float = option(0.01, "how far from an iterate gradients are looked at for their difference", above=0)


@register("hypergradient", "finite_difference", FiniteDifferenceOptions, second_order=False)
def _finite_difference(options: FiniteDifferenceOptions, given: Given) -> FiniteDifference:
    """Differences of first derivatives at every inner step (after DARTS, arXiv 1806.09055)."""
    return FiniteDifference(options.radius)
