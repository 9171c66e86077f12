"""ReLU(factor * x + offset) by channel, with first and second derivative in closed form.

Notation: g = dy where y > 0, else 0.

    first derivative:   dx = factor * g,  dfactor = sum(g * x),  doffset = sum(g)
    second derivative, from cotangents u, v, w of those three:
      of dy      factor * u + v * x + w where y > 0, else 0
      of x       v * g
      of factor  sum(u * g)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cml_tf.learners.channel_kernels import affine, channel_sums


def affine_relu(maps: tf.Tensor, factor: tf.Tensor, offset: tf.Tensor, relu: bool = True) -> tf.Tensor:
    """`factor * maps + offset`, and zero where that is negative.

    Args:
      maps: `[..., channels]`.
      factor: `[channels]`, at least float32, like `offset`.
      offset: `[channels]`.
      relu: False leaves negative values as they are.
    """

    @tf.custom_gradient
    def run(maps: tf.Tensor, factor: tf.Tensor, offset: tf.Tensor) -> Any:
        outputs = affine(maps, factor, offset)
        if relu:
            outputs = tf.nn.relu(outputs)
        return outputs, lambda upstream: _derivative(relu)(upstream, maps, factor, outputs)

    return run(maps, factor, offset)


def _derivative(relu: bool) -> Any:
    """The first derivative as a function that can be differentiated once more, in the notation of the file's head.

    The outputs are a constant in it, and an argument all the same: `tf.custom_gradient` would search all that led to a
    captured tensor, and the graph would take minutes to build.
    """

    @tf.custom_gradient
    def first(upstream: tf.Tensor, maps: tf.Tensor, factor: tf.Tensor, outputs: tf.Tensor) -> Any:
        def passed(values: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.ReluGrad(gradients=values, features=outputs) if relu else values

        g = passed(upstream)

        def second(u: tf.Tensor, v: tf.Tensor, w: tf.Tensor) -> Sequence[tf.Tensor | None]:
            of_upstream = passed(affine(u, factor, w) + affine(maps, v))
            return of_upstream, affine(g, v), channel_sums(u, g)[1], None

        sum_g, sum_g_x = channel_sums(g, maps)
        return (affine(g, factor), sum_g_x, sum_g), second

    return first
