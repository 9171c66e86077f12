"""The gradient flow of a softmax layer and its exact derivatives, carried along forwards in time.

After Deleu et al. 2022, "Continuous-Time Meta-Learning with Forward Mode Differentiation" (COMLN, arXiv 2203.01443).
Take M support examples of N classes with logits Z under the initial layer, the Gram matrix G of what the layer reads of
them, targets Y and a horizon T. The flow of the mean cross-entropy moves the layer along the rows of the examples
alone; s, `[M, N]`, says how far along each of them. With P = softmax(Z - G s), from time 0 to T and all from zero:

    s'        = (P - Y) / M
    B'[i,j,l] = A_i (1(i=j) e_l - sum over n of G[i,n] B[n,j,l])        B = ds/dZ,  [M, M, N, N]
    C'[i,m,j] = A_i (-1(i=m) s_j - sum over n of G[i,n] C[n,m,j])       C = ds/dG,  [M, M, M, N]
    A_i       = (diag P_i - P_i P_i^T) / M,  applied to the last axis, the classes

The paper has the derivative with respect to the features in the place of C; here G's own derivative leads on to them.
No step of the solver is kept: what is in memory does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

Tensors = tuple[tf.Tensor, ...]
Field = Callable[[Tensors], Tensors]


class Solver(NamedTuple):
    """An explicit Runge-Kutta method.

    Attributes:
      stages: for each stage but the first, what the slopes of those before it count.
      weights: what the slopes count in the step.
      errors: what they count in the estimate of its error; empty for steps of one length.
    """

    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    errors: tuple[float, ...] = ()


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {
        "rk4": Solver(((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
        # Dormand and Prince 1980, 5(4): the last stage is at the end of the step, for the error alone.
        "dormand_prince": Solver(
            (
                (1 / 5,),
                (3 / 40, 9 / 40),
                (44 / 45, -56 / 15, 32 / 9),
                (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
                (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
                (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
            ),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
            (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        ),
        # Plain gradient descent, of which everything is known: what the others are held to.
        "euler": Solver((), (1.0,)),
    }
)
"""By name."""

TOLERANCE = 1e-5
"""Of a step with an estimate of its error: absolute and relative, of the root mean square of each tensor."""

# Of the whole time: steps are not made shorter, so that the loop ends whatever it is given.
_SHORTEST = 1e-5


def flow(
    logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor, solver: str = "rk4", steps: int = 32
) -> tf.Tensor:
    """The pulls s at the horizon, `[support, classes]`; the layer is the initial one minus `rows^T s`.

    Solves for s alone. Only where a gradient is asked for does it solve again, with the derivatives. They are of first
    order; the labels get none.

    Args:
      logits: of the support examples under the initial layer, `[support, classes]`.
      gram: inner products of what the layer reads of them, `[support, support]`.
      labels: one-hot or soft, `[support, classes]`.
      horizon: how long the flow runs, a scalar.
      solver: of `SOLVERS`.
      steps: how many the solver makes; those that it begins with if it chooses their length itself.
    """

    # `tf.custom_gradient` gives None to captured tensors, and searches all that led to them: all are arguments.
    @tf.custom_gradient
    def solved(logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def pulled(state: Tensors) -> Tensors:
            slope, _ = _slope(logits, gram, labels, state[0])
            return (horizon * slope,)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            _, of_logits, of_gram, of_horizon = sensitivities(logits, gram, labels, horizon, solver, steps)
            return (
                tf.einsum("ik,ijlk->jl", upstream, of_logits),
                tf.einsum("ik,imjk->mj", upstream, of_gram),
                None,
                tf.reduce_sum(upstream * of_horizon),
            )

        (pulls,) = integrate(pulled, (tf.zeros_like(logits),), solver, steps)
        return pulls, gradient

    return solved(logits, gram, labels, horizon)


def sensitivities(
    logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor, solver: str, steps: int
) -> Tensors:
    """The pulls s and their derivatives with respect to logits, Gram matrix and horizon, classes of s last.

    Under a solver with steps of one length the derivatives are exactly those of what it computes; so ds/dT is solved
    for like the others, and is not the slope at T, which it approaches.

    Args:
      logits: of `flow`.
      gram: likewise.
      labels: likewise.
      horizon: likewise.
      solver: likewise.
      steps: likewise.

    Returns:
      s `[M, N]`, B `[M, M, N, N]`, C `[M, M, M, N]` and ds/dT `[M, N]`.
    """
    support, classes = tf.shape(logits)[0], tf.shape(logits)[1]
    examples, choices = tf.eye(support, dtype=logits.dtype), tf.eye(classes, dtype=logits.dtype)
    own_logits = tf.einsum("ij,lk->ijlk", examples, choices)

    def moved(state: Tensors) -> Tensors:
        pulls, of_logits, of_gram, of_horizon = state
        slope, probabilities = _slope(logits, gram, labels, pulls)

        def through(explicit: tf.Tensor | float, derivative: tf.Tensor) -> tf.Tensor:
            return horizon * _curvature(probabilities, explicit - tf.tensordot(gram, derivative, 1))

        return (
            horizon * slope,
            through(own_logits, of_logits),
            through(-tf.einsum("im,jk->imjk", examples, pulls), of_gram),
            slope + through(0.0, of_horizon),
        )

    zeros = (
        tf.zeros_like(logits),
        tf.zeros_like(own_logits),
        tf.zeros([support, support, support, classes], logits.dtype),
        tf.zeros_like(logits),
    )
    return integrate(moved, zeros, solver, steps)


def _slope(logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, pulls: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`(P - Y) / M` and P."""
    probabilities = tf.nn.softmax(logits - gram @ pulls)
    return (probabilities - labels) / tf.cast(tf.shape(logits)[0], logits.dtype), probabilities


def _curvature(probabilities: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """`A change` for a change `[support, ..., classes]` of the logits."""
    support = tf.shape(probabilities)[0]
    inner = [1] * (len(change.shape) - 2)
    probabilities = tf.reshape(probabilities, [support, *inner, probabilities.shape[1]])
    around = change - tf.reduce_sum(probabilities * change, -1, keepdims=True)
    return probabilities * around / tf.cast(support, probabilities.dtype)


# ---- the solver


def integrate(field: Field, start: Tensors, solver: str, steps: int) -> Tensors:
    """The solution at time 1 of `y' = field(y)` from `start` at time 0, in one loop.

    Args:
      field: the slopes of a state, which is a tuple of tensors.
      start: the state at time 0.
      solver: of `SOLVERS`.
      steps: of `flow`.
    """
    method = SOLVERS[solver]
    if method.errors:
        return _adaptive(field, start, method, steps)

    def advance(made: tf.Tensor, state: Tensors) -> tuple[tf.Tensor, Tensors]:
        return made + 1, _add(state, 1 / steps, method.weights, _slopes(field, state, 1 / steps, method))

    _, end = tf.while_loop(lambda made, _: made < steps, advance, (tf.constant(0), start))
    return end


def _adaptive(field: Field, start: Tensors, method: Solver, steps: int) -> Tensors:
    """Steps as long as `TOLERANCE` allows."""
    dtype = start[0].dtype

    def advance(time: tf.Tensor, length: tf.Tensor, state: Tensors) -> tuple[tf.Tensor, tf.Tensor, Tensors]:
        length = tf.minimum(length, 1 - time)
        slopes = _slopes(field, state, length, method)
        moved = _add(state, length, method.weights, slopes)
        error = _error(_add(tuple(map(tf.zeros_like, state)), length, method.errors, slopes), state, moved)
        # What is no number is not mended by shorter steps: go on, so that it is seen in the end. (Not `not error > 1`,
        # which TensorFlow rewrites as `error <= 1`.)
        kept = (error <= 1) | tf.math.is_nan(error) | (length <= _SHORTEST)
        factor = tf.where(error > 0, tf.clip_by_value(0.9 * error**-0.2, 0.2, 5.0), tf.cast(5.0, dtype))
        state = tuple(tf.where(kept, new, old) for new, old in zip(moved, state, strict=True))
        return tf.where(kept, time + length, time), tf.maximum(length * factor, _SHORTEST), state

    begin = (tf.zeros([], dtype), tf.cast(1 / steps, dtype), start)
    *_, end = tf.while_loop(lambda time, *_: time < 1, advance, begin)
    return end


def _slopes(field: Field, state: Tensors, length: tf.Tensor | float, method: Solver) -> list[Tensors]:
    slopes = [field(state)]
    for stage in method.stages:
        slopes.append(field(_add(state, length, stage, slopes)))
    return slopes


def _add(state: Tensors, length: tf.Tensor | float, weights: Sequence[float], slopes: Sequence[Tensors]) -> Tensors:
    """`state + length * sum of weight * slope`."""
    counted = [(weight, slope) for weight, slope in zip(weights, slopes, strict=True) if weight]
    return tuple(
        value + length * tf.add_n([weight * slope[part] for weight, slope in counted])
        for part, value in enumerate(state)
    )


def _error(errors: Tensors, before: Tensors, after: Tensors) -> tf.Tensor:
    """The largest one of the tensors' errors, in units of what is allowed."""

    def of(error: tf.Tensor, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        allowed = TOLERANCE * (1 + tf.maximum(tf.abs(old), tf.abs(new)))
        return tf.sqrt(tf.reduce_mean(tf.square(error / allowed)))

    return tf.reduce_max(tf.stack([of(*parts) for parts in zip(errors, before, after, strict=True)]))
