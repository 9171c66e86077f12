"""Statistics that are a learned blend of the support set's and the single image's (TaskNorm-I).

After Bronskill et al. 2020, "TaskNorm: Rethinking Batch Normalization for Meta-Learning" (arXiv 2003.03284), and their
released code. For a channel with mean m_s and variance v_s over a support set of n examples, and mean m_i and variance
v_i over the pixels of the image that is normalised,

    alpha = sigmoid(slope * n + offset)
    m     = alpha * m_s + (1 - alpha) * m_i
    v     = alpha * (v_s + (m_s - m)^2) + (1 - alpha) * (v_i + (m_i - m)^2)

which are the moments of the mixture of both. Slope and offset are one number each a layer, zero at first: a half of
each. In prediction n, m_s and v_s are those of the task's support set, so no query sees another.

Ours: variances are of the population, as in the other modes (theirs of the sample), so that alpha = 1 is `support`. And
no inner step moves slope and offset, which the outer loop learns: the gradient of the slope grows with n, and a rate
that suits the other weights would throw alpha to one end in a step.
"""

from __future__ import annotations

from typing import cast

import keras
import tensorflow as tf

from cml_tf.learners.layers.convolution import widened
from cml_tf.learners.normalisation.mode import Mode, Normalising, by_moments, moments, register_mode
from cml_tf.learners.normalisation.modes.support import Keeping, keep_moments


class _Blending(Keeping):
    slope: keras.Variable
    offset: keras.Variable
    count: keras.Variable


@register_mode("tasknorm")
class TaskNorm(Mode):
    """A blend of the support set's statistics and the single image's, whose share is learned by layer."""

    text = "a learned blend of the support set and the single image"
    threads_state = True
    follows_parameters = True
    needs_pixels = True

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes scale and shift, what blends, and room for the moments and the size of a support set.

        Raises:
          ValueError: for examples without pixels, whose variance would be zero.
        """
        if len(shape) < 3:
            raise ValueError(
                "normalisation tasknorm takes statistics over the pixels of an example, received inputs "
                f"{tuple(shape)} without any: use layer or support."
            )
        super().build(layer, shape)
        keep_moments(layer, shape)
        blending = cast(_Blending, layer)
        blending.slope = layer.add_weight(shape=(), initializer="zeros", name="slope", autocast=False)
        blending.offset = layer.add_weight(shape=(), initializer="zeros", name="offset", autocast=False)
        blending.count = layer.add_weight(shape=(), initializer="zeros", name="count", trainable=False, autocast=False)

    def outer_variables(self, layer: Normalising) -> tuple[keras.Variable, ...]:
        """Slope and offset of the blend."""
        blending = cast(_Blending, layer)
        return blending.slope, blending.offset

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises; support sets leave their moments and their size behind."""
        blending, wide = cast(_Blending, layer), widened(inputs)
        if training:
            mean, variance = moments(wide, list(range(len(inputs.shape) - 1)))
            blending.mean.assign(tf.reshape(mean, [-1]))
            blending.variance.assign(tf.reshape(variance, [-1]))
            blending.count.assign(tf.cast(tf.shape(inputs)[0], wide.dtype))
        of_support = tf.convert_to_tensor(blending.mean), tf.convert_to_tensor(blending.variance)
        slope, offset, count = map(tf.convert_to_tensor, (blending.slope, blending.offset, blending.count))
        of_image = moments(wide, list(range(1, len(inputs.shape) - 1)))
        return by_moments(layer, inputs, *blended(tf.sigmoid(slope * count + offset), of_support, of_image))


def blended(
    alpha: tf.Tensor, first: tuple[tf.Tensor, tf.Tensor], second: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of a mixture: the first with probability alpha, else the second."""
    mean = alpha * first[0] + (1.0 - alpha) * second[0]
    parts = [share * (v + tf.square(m - mean)) for share, (m, v) in ((alpha, first), (1.0 - alpha, second))]
    return mean, tf.add_n(parts)
