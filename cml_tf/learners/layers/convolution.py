"""The convolution of the provided learners: Keras' own, but safe to differentiate twice on CPUs.

Passes over feature maps `[..., channels]`: what normalisation is made of.

A step of 84x84 images moves maps of 45 MB and more, so what counts is how often each is read and written. On CPUs the
batch-normalisation kernels make the quickest passes there are, whatever they were meant for (docs/PERFORMANCE.md).
Where they do not exist (float64, other ranks) or mean something else (GPUs take 1/deviation for the variance), the same
formulas are composed of plain operations.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.learners.layers.task_axis import at_once, convolved


@keras.saving.register_keras_serializable("cml_tf")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that adds its bias by plain addition; same variables and values.

    Keras takes `BiasAdd`. On CPUs, TensorFlow (2.21) merges the gradient of that operation with the gradient of a
    filter that has the same incoming gradient. A second derivative has two such filters, and where the later one is
    taken the graph gets a cycle: "2048 nodes in a cycle", with Meta-SGD in about every second process.

    Example:
      >>> Convolution(8, 3, padding="same")(np.zeros((2, 16, 16, 1), "float32")).shape
      TensorShape([2, 16, 16, 8])

    Args:
      *arguments: as Keras'.
      idle_bias: whether a normalisation follows, which takes every bias out again. The bias then stays a variable, for
        the parameter counts and layouts of the field, but is not added: its gradient is exactly zero.
      **keywords: as Keras'.
    """

    def __init__(self, *arguments: Any, idle_bias: bool = False, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.idle_bias = idle_bias

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[examples, height, width, channels]`."""
        kernel = tf.convert_to_tensor(self.kernel)
        if self.use_bias and self.idle_bias:
            kernel = _accompanied(kernel, tf.convert_to_tensor(self.bias))
        outputs = (
            convolved(inputs, kernel, self.padding) if self._has_product() else self.convolution_op(inputs, kernel)
        )
        if self.use_bias and not self.idle_bias:
            outputs = outputs + tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _has_product(self) -> bool:
        plain = {1} == {*self.strides, *self.dilation_rate, self.groups} and self.data_format == "channels_last"
        return at_once() and plain and self.padding in ("same", "valid")

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "idle_bias": self.idle_bias}


@tf.custom_gradient
def _accompanied(kernel: tf.Tensor, bias: tf.Tensor) -> Any:
    """The kernel as it is; the bias takes part with gradient zero."""
    return tf.identity(kernel), lambda upstream: (upstream, tf.zeros_like(bias))


_EPSILON = 1e-5
_HALF = (tf.float16, tf.bfloat16)


def standardised(maps: tf.Tensor, sign: tf.Tensor, epsilon: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`sign * (maps - mean) / sqrt(variance + epsilon)`, with mean and variance (of the population) by channel.

    Not differentiable: gradients are taken by hand where this is used.
    """
    if not has_kernels(maps):
        wide = widened(maps)
        mean = _mean(wide)
        variance = _mean(tf.square(wide - mean))
        return tf.cast((wide - mean) * (sign * tf.math.rsqrt(variance + epsilon)), maps.dtype), mean, variance
    normal = tf.raw_ops.FusedBatchNormV3(
        x=maps, scale=sign, offset=_filled(0.0, sign), mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    # The kernel reports the sample's variance but divides by the population's.
    count = pixels(maps, sign.dtype)
    return normal.y, normal.batch_mean, normal.batch_variance * ((count - 1) / count)


def normalised(maps: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`scale * (maps - mean) / sqrt(variance + epsilon) + shift`, one kernel with one for its derivative.

    Its second derivative, which TensorFlow composes, is slow. Only where `has_kernels`.
    """
    return tf.raw_ops.FusedBatchNormV3(
        x=maps, scale=scale, offset=shift, mean=[], variance=[], epsilon=epsilon, is_training=True
    ).y


def projected(maps: tf.Tensor, standard: tf.Tensor, factor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`factor * (maps - mean(maps) - standard * mean(maps * standard))`, and the two means, by channel.

    Args:
      maps: any maps.
      standard: of the same shape.
      factor: `[channels]`, at least float32.
    """
    if not has_kernels(maps):
        wide, standard = widened(maps), widened(standard)
        mean, along = _mean(wide), _mean(wide * standard)
        return tf.cast(factor * (wide - mean - standard * along), maps.dtype), mean, along
    zeros, ones = _constants(factor)
    # With mean 0 and variance 1 the kernel takes its input for standardised already.
    gradient = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=maps,
        x=standard,
        scale=factor,
        reserve_space_1=zeros,
        reserve_space_2=ones,
        reserve_space_3=zeros,
        epsilon=_EPSILON,
        is_training=True,
    )
    count = pixels(maps, factor.dtype)
    return gradient.x_backprop, gradient.offset_backprop / count, gradient.scale_backprop / count


def affine(maps: tf.Tensor, factor: tf.Tensor, offset: tf.Tensor | None = None) -> tf.Tensor:
    """`factor * maps + offset`, by channel; factor and offset are float32 at least, the result is of the maps' type."""
    if offset is None:
        offset = _filled(0.0, factor)
    if not has_kernels(maps):
        return tf.cast(factor * widened(maps) + offset, maps.dtype)
    mean, variance = _constants(factor)
    return tf.raw_ops.FusedBatchNormV3(
        x=maps,
        scale=factor,
        offset=offset,
        mean=mean,
        variance=variance,
        epsilon=_EPSILON,
        is_training=False,
    ).y


def channel_sums(maps: tf.Tensor, others: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`sum(maps)` and `sum(maps * others)` over all axes but the last, `[channels]` each, at least float32."""
    kind = tf.float32 if maps.dtype in _HALF else maps.dtype
    _, mean, along = projected(maps, others, tf.constant(1.0, kind, maps.shape[-1:]))
    count = pixels(maps, kind)
    return count * mean, count * along


def widened(maps: tf.Tensor) -> tf.Tensor:
    """Half precision as float32; others as they are."""
    return tf.cast(maps, tf.float32) if maps.dtype in _HALF else maps


def pixels(maps: tf.Tensor, dtype: tf.DType) -> Any:
    """How many values a channel has, at least 1: a number where shapes are known, which spares the graph many nodes."""
    if maps.shape.is_fully_defined():
        return float(max(maps.shape.num_elements() // maps.shape[-1], 1))
    return tf.cast(tf.maximum(tf.size(maps) // maps.shape[-1], 1), dtype)


def _constants(factor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean 0, and the variance to which the kernel adds its epsilon to get 1."""
    return _filled(0.0, factor), _filled(1.0 - _EPSILON, factor)


def _filled(value: float, like: tf.Tensor) -> tf.Tensor:
    # One node of the graph, where tf.zeros would be three; a step has hundreds of them.
    return tf.constant(value, like.dtype, like.shape)


def _mean(maps: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(maps, list(range(len(maps.shape) - 1)))


def has_kernels(maps: tf.Tensor) -> bool:
    """Whether TensorFlow's kernels do these passes; with a task axis they would go through the tasks one by one."""
    on_cpu = not tf.config.list_logical_devices("GPU")
    return on_cpu and not at_once() and len(maps.shape) == 4 and maps.dtype in (tf.float32, *_HALF)
