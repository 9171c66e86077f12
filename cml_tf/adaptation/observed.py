"""An inner loop that is watched: how many steps and how large, only the run of a graph knows; what each did is told.

For adaptation that is asked for, not trained through: no gradient is meant to pass. The steps are those of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from cml_tf.adaptation.hypergradients import InnerLoop, Iterate


class Pace(NamedTuple):
    """How far a task is adapted.

    Attributes:
      steps: how many, an int32 scalar of 0 to `most_steps`.
      scale: what every update of a step is multiplied by, a float32 scalar; 1 for steps as in training.
      most_steps: the length of what is told.
      enough: steps end once the support loss is below; None for all steps.
    """

    steps: tf.Tensor
    scale: tf.Tensor
    most_steps: int
    enough: float | None = None


class Trace(NamedTuple):
    """What an inner loop did.

    Attributes:
      losses: the support loss before the first step and after each one, float32 `[most_steps + 1]`; the last finite one
        is repeated to the end.
      norms: how far each step moved all parameters together, float32 `[most_steps]`, 0 for steps that were not made.
      steps: that were made, int32. A step after which the loss is not finite is the last.
      finite: whether all losses are.
    """

    losses: tf.Tensor
    norms: tf.Tensor
    steps: tf.Tensor
    finite: tf.Tensor


def watched(loop: InnerLoop, loss: Callable[[Iterate], tf.Tensor], pace: Pace) -> tuple[Iterate, Trace]:
    """Runs a loop as far as its pace says, and tells of it.

    Args:
      loop: its own number of steps does not count.
      loss: of the task as an iterate would predict it, a float32 scalar.
      pace: how far; the loop's `follow` has its scale.
    """
    first = loss(loop.start)
    places = tf.range(pace.most_steps + 1)
    start = Trace(
        tf.fill([pace.most_steps + 1], tf.where(tf.math.is_finite(first), first, 0.0)),
        tf.zeros([pace.most_steps]),
        tf.constant(0),
        tf.math.is_finite(first),
    )

    def goes_on(iterate: Iterate, trace: Trace) -> tf.Tensor:
        del iterate
        more = (trace.steps < pace.steps) & trace.finite
        return more if pace.enough is None else more & (trace.losses[-1] >= pace.enough)

    def step(iterate: Iterate, trace: Trace) -> tuple[Iterate, Trace]:
        following = loop.next(iterate, second_order=False)
        found, made = loss(following), trace.steps + 1
        finite = tf.math.is_finite(found)
        losses = tf.where((places >= made) & finite, found, trace.losses)
        moved = _distance(loop, iterate, following)
        norms = tf.where((places[1:] == made) & tf.math.is_finite(moved), moved, trace.norms)
        return following, Trace(losses, norms, made, finite)

    return tf.while_loop(goes_on, step, (loop.start, start), parallel_iterations=1)


def _distance(loop: InnerLoop, here: Iterate, there: Iterate) -> tf.Tensor:
    pairs = zip(*(tf.nest.flatten(loop.moved(one.parameters)) for one in (here, there)), strict=True)
    squares = [tf.reduce_sum(tf.square(tf.cast(after - before, tf.float32))) for before, after in pairs]
    return tf.sqrt(tf.add_n(squares)) if squares else tf.zeros([])
