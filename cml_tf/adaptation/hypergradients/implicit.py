"""The gradient of where the inner loop would end, whatever its way there.

Implicit differentiation (HOAG: Pedregosa 2016, arXiv 1602.02355), one of the hypergradients of BOML. With L the support
loss, y what adapts, x all else that L depends on (frozen parameters, meta-variables), H = L_yy and v what the outer
loss says of the final y,

    solve (H + proximity) q = v;    gradient of x = direct part - L_xy q;    of the initial y = v - H q.

HOAG has proximity 0: a minimum does not remember where the loop began, so v - H q, what is left of v, goes to nothing
as q is solved for, and MAML's initial parameters learn nothing. Ours lets them: it takes the final y for the minimum of
L plus proximity / 2 times the squared distance to the initial y, as iMAML does (Rajeswaran et al. 2019, arXiv
1909.04630). The loop itself is not pulled: stopping early stays near the start by itself, and the steps that are
trained are the steps that are served. For SGD over T steps with one Hessian both lines are exact, with another q: the
sum of T terms of Neumann's series. HOAG's falling tolerance is left out, and tasks start from zero, since no two outer
steps see the same one; `cml_tf.bilevel`, which solves one lower problem again and again, starts from the last q.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.adaptation.hypergradients.rematerialised import apart, with_own_gradient
from cml_tf.adaptation.hypergradients.reverse import turned
from cml_tf.errors import UserError
from cml_tf.registry import Given, Settings, member, option, register


class Minimum(NamedTuple):
    """Gradients through a minimum.

    Attributes:
      of_start: of the floating leaves of the iterate that the loop started at.
      of_meta: of the meta-variables.
      solved: q, for each tensor that adapts.
      left: what is left of its linear system, v - (H + proximity) q.
    """

    of_start: list[tf.Tensor]
    of_meta: list[tf.Tensor]
    solved: list[tf.Tensor]
    left: list[tf.Tensor]


class Implicit(Hypergradient):
    """Differentiates the minimum that the inner loop is taken to have reached, by conjugate gradients.

    Memory and cost of the gradient do not grow with the number of steps. Of the final iterate only what the update rule
    moves depends on anything; the learner's state and what the rule carries are taken to be what they were. Rates do
    not move a minimum: their gradient is zero.

    Where the loss curves downwards along a direction, conjugate gradients stop before it: with no iteration at all the
    initial parameters get the first-order gradient, and all else its direct part.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("implicit", proximity=2.0).proximity
      2.0

    Args:
      proximity: how strongly the end is taken to be drawn to the start, 0 or more; 1 / (rate * steps) is about what
        stopping after so many steps of gradient descent does.
      iterations: of conjugate gradients, at most; one Hessian-vector product each.
      tolerance: the residual, as a share of what arrives, at which they stop.
    """

    of_loss = True

    def __init__(self, proximity: float = 1.0, iterations: int = 20, tolerance: float = 1e-6) -> None:
        if proximity < 0 or iterations < 1 or tolerance < 0:
            raise UserError(
                "proximity and tolerance must be 0 or more and iterations 1 or more, received "
                f"{proximity}, {tolerance} and {iterations}."
            )
        self.proximity, self.iterations, self.tolerance = proximity, iterations, tolerance

    def solve(self, loop: InnerLoop) -> Solution:
        """Runs the loop without a tape; its gradient looks at the final iterate alone."""

        def forwards(start: Iterate, meta: Any) -> tuple[Iterate, Iterate]:
            final = turned(loop._replace(meta=meta), start, loop.steps, second_order=False)
            return final, final

        def backwards(start: Iterate, meta: Any, final: Iterate, arriving: list[tf.Tensor]) -> Any:
            found = self.of_minimum(loop, final, meta, arriving)
            return found.of_start, found.of_meta

        return Solution(with_own_gradient(forwards, backwards, loop.start, loop.meta), None)

    def of_minimum(
        self,
        loop: InnerLoop,
        final: Iterate,
        meta: Any,
        arriving: list[tf.Tensor],
        guess: list[tf.Tensor] | None = None,
    ) -> Minimum:
        """The gradients through a minimum of the support loss.

        Args:
          loop: that led there.
          final: the last iterate.
          meta: the meta-variables, as in `loop`.
          arriving: what the outer loss says of the floating leaves of the final iterate.
          guess: of q, where conjugate gradients start; zero by default.
        """
        final, leaves, positions = apart(loop, final)
        adapted = [leaves[position] for position in positions]
        if not positions:
            return Minimum(arriving, [tf.zeros_like(tensor) for tensor in meta], [], [])

        def products(vector: Sequence[tf.Tensor], sources: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            """The second derivatives by what adapts and by the sources, times a vector of what adapts."""
            zero = tf.UnconnectedGradients.ZERO
            with tf.GradientTape(watch_accessed_variables=False) as outer:
                outer.watch([*leaves, *meta])
                with tf.GradientTape(watch_accessed_variables=False) as inner:
                    inner.watch(adapted)
                    loss = loop.loss(final, meta, loop.support, loop.context, True)
                slopes = dense_gradients(inner, loss, adapted, unconnected_gradients=zero)
            return dense_gradients(outer, slopes, sources, output_gradients=list(vector), unconnected_gradients=zero)

        def curved(vector: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            return [h + self.proximity * part for h, part in zip(products(vector, adapted), vector, strict=True)]

        # Without a step the end is the start.
        most = tf.where(tf.cast(loop.steps, tf.int32) > 0, self.iterations, 0)
        of_end = [arriving[position] for position in positions]
        if guess is not None:
            guess = [tf.where(most > 0, part, tf.zeros_like(part)) for part in guess]
        solved, left = conjugate_gradients(curved, of_end, most, self.tolerance, guess)
        crossed = products(solved, [*leaves, *meta])
        total = [own - more for own, more in zip(arriving, crossed[: len(leaves)], strict=True)]
        for position, part, rest in zip(positions, solved, left, strict=True):
            # v - H q, in terms that do not cancel.
            total[position] = self.proximity * part + rest
        return Minimum(total, [-part for part in crossed[len(leaves) :]], solved, left)


def conjugate_gradients(
    matrix: Callable[[Sequence[tf.Tensor]], list[tf.Tensor]],
    target: list[tf.Tensor],
    most: int | tf.Tensor,
    tolerance: float,
    guess: list[tf.Tensor] | None = None,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Solves `matrix(x) = target` for a symmetric matrix that is positive along the directions it meets.

    Args:
      matrix: multiplies, a list of tensors by the matrix.
      target: tensors, at least one.
      most: iterations.
      tolerance: iterations end where the residual is at most so long, as a share of the target.
      guess: of x; zero by default.

    Returns:
      x and the residual `target - matrix(x)`. A direction along which the matrix is not positive ends
      the iterations before it is followed.
    """
    enough = tolerance**2 * _dot(target, target)

    def going(turn: tf.Tensor, x: Any, rest: Any, way: Any, square: tf.Tensor, positive: tf.Tensor) -> tf.Tensor:
        return (turn < most) & positive & (square > enough)

    def advance(turn: tf.Tensor, x: Any, rest: Any, way: Any, square: tf.Tensor, positive: tf.Tensor) -> Any:
        product = matrix(way)
        curvature = _dot(way, product)
        positive = curvature > 0
        length = tf.where(positive, tf.math.divide_no_nan(square, curvature), tf.zeros_like(square))
        x = _plus(x, length, way)
        rest = _plus(rest, -length, product)
        following = _dot(rest, rest)
        return turn + 1, x, rest, _plus(rest, tf.math.divide_no_nan(following, square), way), following, positive

    x, rest = [tf.zeros_like(part) for part in target], target
    if guess is not None:
        x, rest = guess, _plus(target, tf.constant(-1.0, target[0].dtype), matrix(guess))
    start = tf.constant(0), x, rest, rest, _dot(rest, rest), tf.constant(True)
    _, x, rest, *_ = tf.while_loop(going, advance, start, parallel_iterations=1)
    return x, rest


def _dot(left: Sequence[tf.Tensor], right: Sequence[tf.Tensor]) -> tf.Tensor:
    dtype = left[0].dtype
    return tf.add_n([tf.cast(tf.reduce_sum(a * b), dtype) for a, b in zip(left, right, strict=True)])


def _plus(left: Sequence[tf.Tensor], factor: tf.Tensor, right: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [a + tf.cast(factor, b.dtype) * b for a, b in zip(left, right, strict=True)]


@dataclass(frozen=True)
class ImplicitOptions:
    """Options of `Implicit`."""

    proximity: float = option(
        1.0, "how strongly the end is taken to be drawn to the start, about 1 / (rate * steps)", least=0
    )
    iterations: int = option(20, "of conjugate gradients at most, each a Hessian-vector product", least=1)
    tolerance: float = option(1e-6, "residual, as a share of what arrives, at which they stop", least=0)


def _faults(settings: Settings) -> list[str]:
    update = settings["adaptation.update"]
    if member("update", update).traits["learned"]:
        return [
            "adaptation.update must be a rule without variables (sgd) with implicit, since a minimum does not depend "
            f"on them, received {update!r}."
        ]
    adapts = member("rule", settings["adaptation.rule"]).traits["adapts"](settings)
    if settings["hypergradient.proximity"] == 0 and adapts == {"extractor", "head"}:
        return [
            "hypergradient.proximity must be positive with implicit where all parameters adapt (adaptation.partition "
            "'all'), since a minimum does not remember the initial ones, received 0."
        ]
    return []


@register("hypergradient", "implicit", ImplicitOptions, faults=_faults, path=False)
def _implicit(options: ImplicitOptions, given: Given) -> Implicit:
    """That of the minimum that the steps lead to, by conjugate gradients (HOAG, arXiv 1602.02355; after iMAML)."""
    return Implicit(options.proximity, options.iterations, options.tolerance)
