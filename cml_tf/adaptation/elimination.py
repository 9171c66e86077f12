"""A linear solve of additions and products alone, for interpreters that have no Cholesky factors."""

from __future__ import annotations

import tensorflow as tf


def eliminate(matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """The solution of `matrix @ x = right` by the elimination of Gauss and Jordan.

    Pivots are taken as they come: a positive definite matrix needs no other order.

    Args:
      matrix: symmetric and positive definite, `[size, size]` of a known size.
      right: `[size, columns]`.
    """
    size = matrix.shape[0]

    def turn(made: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        row = tf.gather(rows, made)
        row = row / tf.gather(row, made)
        # Minus one where the row itself is: there the whole of it is left.
        column = tf.gather(rows, made, axis=1) - tf.one_hot(made, size, dtype=rows.dtype)
        return made + 1, rows - column[:, tf.newaxis] * row

    _, rows = tf.while_loop(lambda made, _: made < size, turn, (tf.constant(0), tf.concat([matrix, right], 1)))
    return rows[:, size:]
