"""The convolutional learner composed of one plain layer for each operation: the readable reference of the fast one.

Variables are those of `cml_tf.learners.conv4`, in the same order, so the values of one fit the other.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.learners import Learner

_MODES = ("batch_transductive", "support")


def plain_conv4(
    outputs: int, input_shape: tuple[int, ...], filters: int = 64, normalisation: str = "batch_transductive"
) -> Learner:
    """Four [3x3 convolution, normalisation, ReLU, 2x2 max-pool] blocks and a linear head, as `conv4`.

    Args:
      outputs: width of the head.
      input_shape: `(height, width, channels)`, at least 16x16.
      filters: channels of every block.
      normalisation: `batch_transductive` or `support`.
    """
    layers: list[keras.Layer] = []
    for block in range(4):
        # Block 4 is pooled by the head: a co-learner reads its full map.
        layers += [*_block(filters, normalisation), *([keras.layers.MaxPooling2D(2)] if block < 3 else [])]
    return Learner(keras.Sequential(layers, name="extractor"), _head(outputs, "head"), input_shape=tuple(input_shape))


def plain_conv4_co_learner(
    outputs: int, filters: int = 64, normalisation: str = "batch_transductive", blocks: int = 2
) -> keras.Layer:
    """The co-learner on `plain_conv4`'s features, as `conv4_co_learner`; same arguments."""
    layers = [layer for _ in range(blocks) for layer in _block(filters, normalisation)]
    return keras.Sequential([*layers, *_head(outputs, "head").layers], name="co_learner")


def _head(outputs: int, name: str) -> keras.Layer:
    layers = [keras.layers.MaxPooling2D(2), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    return keras.Sequential(layers, name=name)


def _block(filters: int, normalisation: str) -> list[keras.Layer]:
    return [_PlainConvolution(filters, 3, padding="same"), _PlainNormalisation(normalisation), keras.layers.ReLU()]


class _PlainConvolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that adds its bias by an addition.

    `BiasAdd`, which Keras takes, can make a graph with a cycle on CPUs (see `cml_tf.learners.Convolution`).
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.convolution_op(inputs, self.kernel) + keras.ops.convert_to_tensor(self.bias)


class _PlainNormalisation(keras.layers.Layer):
    """`cml_tf.learners.Normalisation` and nothing else: no ReLU and no pool inside, no derivative by hand.

    Args:
      mode: `batch_transductive`: statistics of the batch; `support`: those of the support set, as state of the task.
      epsilon: added to the variance.
    """

    def __init__(self, mode: str, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in _MODES:
            raise ValueError(f"normalisation mode must be one of {', '.join(_MODES)}, received {mode!r}.")
        self.mode = mode
        self.epsilon = epsilon

    @property
    def threads_state(self) -> bool:
        """Whether the statistics of its support set follow a task."""
        return self.mode == "support"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = (input_shape[-1],)
        self.scale = self.add_weight(shape=channels, initializer="ones", name="scale")
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")
        if self.threads_state:
            self.mean = self.add_weight(shape=channels, initializer="zeros", name="mean", trainable=False)
            self.variance = self.add_weight(shape=channels, initializer="ones", name="variance", trainable=False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        wide = tf.cast(inputs, tf.float32) if inputs.dtype in (tf.float16, tf.bfloat16) else inputs
        scale, shift = tf.cast(self.scale, wide.dtype), tf.cast(self.shift, wide.dtype)
        if self.mode == "batch_transductive" and wide.dtype == tf.float32:
            # Exists for float32 only.
            outputs = tf.compat.v1.nn.fused_batch_norm(wide, scale, shift, epsilon=self.epsilon, is_training=True)[0]
            return tf.cast(outputs, inputs.dtype)
        if self.mode == "support" and not training:
            mean, variance = tf.cast(self.mean, wide.dtype), tf.cast(self.variance, wide.dtype)
        else:
            # `tf.nn.moments` has no right second derivative.
            mean = tf.reduce_mean(wide, [0, 1, 2])
            variance = tf.reduce_mean(tf.square(wide - mean), [0, 1, 2])
        if self.mode == "support" and training:
            self.mean.assign(mean)
            self.variance.assign(variance)
        outputs = (wide - mean) * (scale * tf.math.rsqrt(variance + self.epsilon)) + shift
        return tf.cast(outputs, inputs.dtype)
