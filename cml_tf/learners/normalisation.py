"""The normalisation layer of the provided learners, in modes that differ in where the statistics come from."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

MODES = ("batch_transductive",)


@keras.saving.register_keras_serializable("cml_tf")
class Normalisation(keras.layers.Layer):
    """Channel-wise normalisation with learned scale and shift, over all axes but the last.

    Modes:
      batch_transductive: the statistics of the very batch that is normalised, in adaptation and prediction alike; no
        running state (the paper's choice, PAPER A.1). A query's prediction then depends on the other queries that are
        asked with it.

    Args:
      mode: one of `MODES`.
      epsilon: added to the variance.

    Raises:
      ValueError: for an unknown mode.
    """

    def __init__(self, mode: str = "batch_transductive", epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"normalisation mode must be one of {', '.join(MODES)}, received {mode!r}.")
        self.mode = mode
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one scale and one shift a channel."""
        channels = (input_shape[-1],)
        self.scale = self.add_weight(shape=channels, initializer="ones", name="scale")
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises `[..., channels]`; statistics are taken in float32 at least."""
        wide = tf.cast(inputs, tf.float32) if inputs.dtype in (tf.float16, tf.bfloat16) else inputs
        scale, shift = tf.cast(self.scale, wide.dtype), tf.cast(self.shift, wide.dtype)
        if wide.dtype == tf.float32 and len(inputs.shape) == 4:
            # The same mathematics in one kernel; it exists for four axes and float32 only.
            outputs = tf.compat.v1.nn.fused_batch_norm(wide, scale, shift, epsilon=self.epsilon, is_training=True)[0]
        else:
            # Not tf.nn.moments: it stops the gradient of the mean inside the variance, which leaves the first
            # derivative right and makes the second one, the meta-gradient's, wrong.
            axes = list(range(len(inputs.shape) - 1))
            centred = wide - tf.reduce_mean(wide, axes, keepdims=True)
            variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
            outputs = centred * (scale * tf.math.rsqrt(variance + self.epsilon)) + shift
        return tf.cast(outputs, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "mode": self.mode, "epsilon": self.epsilon}
