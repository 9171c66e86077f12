"""Statistics of the support set, so that a query is judged by itself, alone or in company."""

from __future__ import annotations

from typing import cast

import keras
import tensorflow as tf

from cml_tf.learners.normalisation.fused import Windows, affine_relu, standardised_pool
from cml_tf.learners.normalisation.mode import Mode, Normalising, channels, register_mode, sign_of


class Keeping(Normalising):
    """A layer that keeps the moments of a support set, `[channels]`."""

    mean: keras.Variable
    variance: keras.Variable


def keep_moments(layer: Normalising, shape: tuple[int | None, ...]) -> None:
    """Makes room for the moments of a support set."""
    keeping = cast(Keeping, layer)
    keeping.mean = layer.add_weight(initializer="zeros", name="mean", trainable=False, **channels(shape))
    keeping.variance = layer.add_weight(initializer="ones", name="variance", trainable=False, **channels(shape))


@register_mode("support")
class Support(Mode):
    """In adaptation, the statistics of the support set, which become state of the task; in prediction, the same.

    Those are then of the support set under the adapted parameters.
    """

    text = "the support set, for queries too"
    threads_state = True
    follows_parameters = True

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes scale and shift, and room for the moments."""
        super().build(layer, shape)
        keep_moments(layer, shape)

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises support sets by themselves, and queries by what was kept of them."""
        keeping = cast(Keeping, layer)
        scale, shift = tf.convert_to_tensor(layer.scale), tf.convert_to_tensor(layer.shift)
        sign = sign_of(scale)
        if training:
            pooled = standardised_pool(inputs, sign, layer.epsilon, layer.pool)
            keeping.mean.assign(pooled.mean)
            keeping.variance.assign(pooled.variance)
            return affine_relu(pooled.maps, sign * scale, shift, layer.relu)
        mean, variance = tf.convert_to_tensor(keeping.mean), tf.convert_to_tensor(keeping.variance)
        factor = scale * tf.math.rsqrt(variance + layer.epsilon)
        largest = Windows(inputs * tf.cast(sign, inputs.dtype), layer.pool).largest
        return affine_relu(largest, sign * factor, shift - factor * mean, layer.relu)
