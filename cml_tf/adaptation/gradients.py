"""Arithmetic of gradients: dense tensors wherever a tape gives them, and the way to the worst point near by.

A weight that is read by `tf.gather` (an Embedding) gets its gradient as `tf.IndexedSlices`: rows and their numbers.
Update rules, loops and reducers do arithmetic on gradients, which those do not know.

Sharpness-aware gradients: those at the worst point near by (Foret et al. 2021, arXiv 2010.01412, equation 2). Clipped
gradients: no longer than a bound (Pascanu et al. 2013, arXiv 1211.5063).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_LONG = 1e15


def dense_gradients(tape: tf.GradientTape, targets: Any, sources: Sequence[Any], **arguments: Any) -> list[Any]:
    """`tape.gradient(targets, sources, **arguments)`, every gradient a tensor of its source's shape, or None."""
    gradients = tape.gradient(targets, list(sources), **arguments)
    return [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]


def ascent(gradients: Any, radius: float) -> Any:
    """The way from a point to the worst one of a ball around it, to first order: `radius * g / |g|`.

    Args:
      gradients: of the loss, any `tf.nest` structure of tensors; the norm is that of all of them together.
      radius: of the ball, positive.

    Returns:
      Offsets in the gradients' structure; zeros where all gradients are zero.
    """
    flat = tf.nest.flatten(gradients)
    if not flat:
        return gradients
    # Where all gradients are zero no way is the worst one: stay.
    factor = tf.math.divide_no_nan(tf.constant(radius, flat[0].dtype), tf.linalg.global_norm(flat))
    return tf.nest.map_structure(lambda gradient: gradient * tf.cast(factor, gradient.dtype), gradients)


def length(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """`tf.linalg.global_norm`, finite also where squares of finite float32 gradients are not (from 1.8e19 on)."""
    norm = tf.linalg.global_norm(gradients)

    def of_long_ones() -> tf.Tensor:
        largest = _largest(gradients, norm.dtype)
        return largest * tf.linalg.global_norm([g / tf.cast(largest, g.dtype) for g in gradients])

    return tf.cond(tf.math.is_finite(norm), lambda: norm, of_long_ones)


def clipped(gradients: Any, norm: float) -> Any:
    """Gradients no longer than a bound: `g * min(1, norm / |g|)`, and derivatives go through both.

    Args:
      gradients: any `tf.nest` structure of tensors; the norm is that of all of them together.
      norm: the bound, positive. Shorter gradients come back bit for bit.
    """
    flat = tf.nest.flatten(gradients)
    if not flat:
        return gradients
    dtype = flat[0].dtype
    # Squares of what is as long as this may be infinite in float32. Division by one changes no bit.
    largest = _largest(flat, dtype)
    unit = tf.stop_gradient(tf.where(largest > _LONG, largest, 1.0))
    squares = tf.add_n([tf.cast(tf.reduce_sum(tf.square(g / tf.cast(unit, g.dtype))), dtype) for g in flat])
    bound = norm / unit
    above = squares > bound * bound
    # A square root at zero has no derivative, and `where` would multiply it by zero: NaN.
    factor = tf.where(above, bound * tf.math.rsqrt(tf.where(above, squares, 1.0)), 1.0)
    return tf.nest.map_structure(lambda gradient: gradient * tf.cast(factor, gradient.dtype), gradients)


def _largest(gradients: Sequence[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    return tf.reduce_max(tf.stack([tf.cast(tf.reduce_max(tf.abs(gradient)), dtype) for gradient in gradients]))
