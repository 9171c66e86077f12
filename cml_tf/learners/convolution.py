"""The convolution of the provided learners: Keras' own, but safe to differentiate twice on CPUs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("cml_tf")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that adds its bias by plain addition; same variables and values.

    Keras takes `BiasAdd`. On CPUs, TensorFlow (2.21) merges the gradient of that operation with the gradient of a
    filter that has the same incoming gradient. A second derivative has two such filters, and where the later one is
    taken the graph gets a cycle: "2048 nodes in a cycle", with Meta-SGD in about every second process.

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
        outputs = self.convolution_op(inputs, kernel)
        if self.use_bias and not self.idle_bias:
            outputs = outputs + tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "idle_bias": self.idle_bias}


@tf.custom_gradient
def _accompanied(kernel: tf.Tensor, bias: tf.Tensor) -> Any:
    """The kernel as it is; the bias takes part with gradient zero."""
    return tf.identity(kernel), lambda upstream: (upstream, tf.zeros_like(bias))
