"""Explicit Runge-Kutta methods on tuples of tensors, with steps of one length or as long as a tolerance allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

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


def integrate(field: Field, start: Tensors, solver: str, steps: int) -> Tensors:
    """The solution at time 1 of `y' = field(y)` from `start` at time 0, in one loop.

    Args:
      field: the slopes of a state, which is a tuple of tensors.
      start: the state at time 0.
      solver: of `SOLVERS`.
      steps: how many; those that it begins with if it chooses their length itself.
    """
    method = SOLVERS[solver]
    if method.errors:
        return _adaptive(field, start, method, steps)

    def turn(made: tf.Tensor, state: Tensors) -> tuple[tf.Tensor, Tensors]:
        return made + 1, advance(field, state, 1 / steps, method)

    _, end = tf.while_loop(lambda made, _: made < steps, turn, (tf.constant(0), start))
    return end


def advance(field: Field, state: Tensors, length: tf.Tensor | float, method: Solver) -> Tensors:
    """The state after one step of some length."""
    return _add(state, length, method.weights, _slopes(field, state, length, method))


def _adaptive(field: Field, start: Tensors, method: Solver, steps: int) -> Tensors:
    """Steps as long as `TOLERANCE` allows."""
    dtype = start[0].dtype

    def turn(time: tf.Tensor, length: tf.Tensor, state: Tensors) -> tuple[tf.Tensor, tf.Tensor, Tensors]:
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
    *_, end = tf.while_loop(lambda time, *_: time < 1, turn, begin)
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
