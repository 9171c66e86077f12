"""Forms of layers that all tasks of a meta-batch can go through at once, each with weights of its own.

TensorFlow puts a task axis on every operation that has a form with one. A convolution has none with a filter for each
task. As a product of patches and filters it has, to every order of derivatives, on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf

_AT_ONCE: ContextVar[bool] = ContextVar("at_once", default=False)


@contextmanager
def tasks_at_once() -> Iterator[None]:
    """Around what will get a task axis."""
    token = _AT_ONCE.set(True)
    try:
        yield
    finally:
        _AT_ONCE.reset(token)


def at_once() -> bool:
    """Whether the forward pass at hand will get a task axis."""
    return _AT_ONCE.get()


def convolved(maps: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """A convolution without strides, as one product of matrices.

    Args:
      maps: `[examples, height, width, channels]`, all but the first known.
      kernel: `[rows, columns, channels, filters]`.
      padding: `same` or `valid`.
    """
    rows, columns, channels, filters = kernel.shape
    if padding == "same":
        above, left = (rows - 1) // 2, (columns - 1) // 2
        maps = tf.pad(maps, [[0, 0], [above, rows - 1 - above], [left, columns - 1 - left], [0, 0]])
    height, width = maps.shape[1] - rows + 1, maps.shape[2] - columns + 1
    shifted = [maps[:, row : row + height, column : column + width] for row in range(rows) for column in range(columns)]
    patches = tf.reshape(tf.concat(shifted, -1), [-1, rows * columns * channels])
    return tf.reshape(patches @ tf.reshape(kernel, [-1, filters]), [-1, height, width, filters])
