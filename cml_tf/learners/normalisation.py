"""The normalisation layer of the provided learners, in modes that differ in where the statistics come from."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

MODES = ("batch_transductive", "support")


@keras.saving.register_keras_serializable("cml_tf")
class Normalisation(keras.layers.Layer):
    """Channel-wise normalisation with learned scale and shift, over all axes but the last.

    Modes:
      batch_transductive: the statistics of the very batch that is normalised, in adaptation and prediction alike; no
        running state (the paper's, appendix A.1). A query's prediction then depends on the other queries that are
        asked with it.

      support: in adaptation, the statistics of the support set, which become state of the task; in prediction, those of
        the support set under the adapted parameters. A query is then judged by itself, alone or in company.

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

    @property
    def threads_state(self) -> bool:
        """Whether the layer has state that follows the task: the statistics of its support set."""
        return self.mode == "support"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one scale and one shift a channel, and room for the statistics of a task."""
        channels = (input_shape[-1],)
        self.scale = self.add_weight(shape=channels, initializer="ones", name="scale")
        self.shift = self.add_weight(shape=channels, initializer="zeros", name="shift")
        if self.threads_state:
            self.mean = self.add_weight(shape=channels, initializer="zeros", name="mean", trainable=False)
            self.variance = self.add_weight(shape=channels, initializer="ones", name="variance", trainable=False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises `[..., channels]`; statistics are taken in float32 at least.

        Args:
          inputs: a batch of one task.
          training: True on support sets, whose statistics mode `support` keeps; no difference in other modes.
        """
        wide = tf.cast(inputs, tf.float32) if inputs.dtype in (tf.float16, tf.bfloat16) else inputs
        scale, shift = tf.cast(self.scale, wide.dtype), tf.cast(self.shift, wide.dtype)
        if self.mode == "batch_transductive" and wide.dtype == tf.float32 and len(inputs.shape) == 4:
            # The same mathematics in one kernel; it exists for four axes and float32 only. Its statistics are no use to
            # mode support: they come without gradient, and the variance is the sample's.
            outputs = tf.compat.v1.nn.fused_batch_norm(wide, scale, shift, epsilon=self.epsilon, is_training=True)[0]
            return tf.cast(outputs, inputs.dtype)
        if self.mode == "support" and not training:
            mean, variance = tf.cast(self.mean, wide.dtype), tf.cast(self.variance, wide.dtype)
        else:
            mean, variance = _moments(wide)
        if self.mode == "support" and training:
            self.mean.assign(mean)
            self.variance.assign(variance)
        outputs = (wide - mean) * (scale * tf.math.rsqrt(variance + self.epsilon)) + shift
        return tf.cast(outputs, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "mode": self.mode, "epsilon": self.epsilon}


def _moments(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance (of the population) by channel, over all axes but the last.

    Not `tf.nn.moments`: it stops the gradient of the mean inside the variance, which leaves the first derivative right
    and makes the second one, the meta-gradient's, wrong.
    """
    axes = list(range(len(inputs.shape) - 1))
    mean = tf.reduce_mean(inputs, axes)
    return mean, tf.reduce_mean(tf.square(inputs - mean), axes)
