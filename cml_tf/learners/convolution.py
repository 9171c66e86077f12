"""The convolution of the provided learners: Keras' own, but safe to differentiate twice on CPUs."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("cml_tf")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that adds its bias by plain addition; same arguments, variables and values.

    Keras takes `BiasAdd`. On CPUs, TensorFlow (2.21) merges the gradient of that operation with the gradient of a
    filter that has the same incoming gradient. A second derivative has two such filters, and where the later one is
    taken the graph gets a cycle: "2048 nodes in a cycle", with Meta-SGD in about every second process.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[examples, height, width, channels]`."""
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = outputs + keras.ops.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)
