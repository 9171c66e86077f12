"""Sharpness-aware gradients: those at the worst point near by (Foret et al. 2021, arXiv 2010.01412, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def ascent(gradients: Sequence[tf.Tensor], radius: float) -> list[tf.Tensor]:
    """The way from a point to the worst one of a ball around it, to first order: `radius * g / |g|`.

    Args:
      gradients: of the loss, tensors of any shapes; the norm is that of all of them together.
      radius: of the ball, positive.

    Returns:
      Offsets of the gradients' shapes; zeros where all gradients are zero.
    """
    if not gradients:
        return []
    # Where all gradients are zero no way is the worst one: stay.
    factor = tf.math.divide_no_nan(tf.constant(radius, gradients[0].dtype), tf.linalg.global_norm(gradients))
    return [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
