"""Forward mode through an inner loop: Z = dy/dx goes along, Z <- dPhi/dy Z + dPhi/dx at every step Phi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cml_tf.adaptation import InnerLoop, Iterate
from cml_tf.adaptation.gradients import dense_gradients

Tensors = list[tf.Tensor]


def forward_gradient(
    loop: InnerLoop, upper: Callable[[Tensors, Tensors], tf.Tensor]
) -> tuple[tf.Tensor, Tensors, None, Tensors]:
    """The upper loss, its gradient for the loop's constants (`meta`), None for that of the start, and the final y.

    Args:
      loop: its constants have shapes that are known.
      upper: of y and x.
    """
    x = list(loop.meta)
    final, columns = _carried(loop, _directions(x))
    y = list(final.parameters.head)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([*x, *y])
        value = upper(y, x)
    found = dense_gradients(tape, value, [*x, *y], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    direct, arriving = found[: len(x)], found[len(x) :]
    along = tf.add_n([tf.tensordot(column, v, len(v.shape)) for column, v in zip(columns, arriving, strict=True)])
    pieces = tf.split(along, [part.shape.num_elements() for part in x])
    of_x = [own + tf.cast(tf.reshape(one, own.shape), own.dtype) for own, one in zip(direct, pieces, strict=True)]
    return value, of_x, None, y


def _directions(x: Tensors) -> Tensors:
    """For each part of x, its change along every direction: one number of x changes by one. `[numbers, *shape]`."""
    sizes = [part.shape.num_elements() for part in x]
    whole = tf.split(tf.eye(sum(sizes), dtype=x[0].dtype), sizes, axis=1)
    return [tf.cast(tf.reshape(one, [-1, *part.shape]), part.dtype) for one, part in zip(whole, x, strict=True)]


def _carried(loop: InnerLoop, directions: Tensors) -> tuple[Iterate, Tensors]:
    """The final iterate, and for each part of its y its change along every direction, `[numbers, *shape]`."""

    def derivative(iterate: Iterate, ways: tuple[Tensors, Tensors]) -> Tensors:
        y, x = (list(map(tf.identity, tensors)) for tensors in (iterate.parameters.head, loop.meta))
        of_y, of_x = ways
        moved = iterate._replace(parameters=iterate.parameters._replace(head=tuple(y)))
        with tf.autodiff.ForwardAccumulator([*y, *x], [*of_y, *of_x]) as forwards:
            following = loop._replace(meta=tuple(x)).next(moved).parameters.head
        return forwards.jvp(list(following), unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def turn(step: tf.Tensor, iterate: Iterate, columns: Tensors) -> Any:
        # One direction after the other: all at once take more memory and, with convolutions, more time.
        columns = tf.map_fn(
            lambda way: derivative(iterate, way),
            (columns, directions),
            parallel_iterations=1,
            fn_output_signature=[column.dtype for column in columns],
        )
        return step + 1, loop.next(iterate), columns

    count = directions[0].shape[0]
    columns = [tf.zeros([count, *part.shape], part.dtype) for part in loop.start.parameters.head]
    _, final, columns = tf.while_loop(
        lambda step, *_: step < tf.cast(loop.steps, tf.int32),
        turn,
        (tf.constant(0), loop.start, columns),
        parallel_iterations=1,
    )
    return final, columns
