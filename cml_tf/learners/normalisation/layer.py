"""The normalisation layer of the provided learners, in modes that differ in where the statistics come from."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.learners.layers.convolution import has_kernels, normalised
from cml_tf.learners.layers.derivative_order import differentiated_twice
from cml_tf.learners.normalisation.fused import Windows, affine_relu, standardised_pool

MODES = ("batch_transductive", "support", "per_step")


@keras.saving.register_keras_serializable("cml_tf")
class Normalisation(keras.layers.Layer):
    """Channel-wise normalisation with learned scale and shift, over all axes but the last, and ReLU and max-pool.

    ReLU and pool belong to the layer because they cost next to nothing there: maps are pooled before anything else is
    done to them (`standardised_pool`).

    Example:
      >>> maps = np.random.default_rng(0).normal(5, 3, (4, 8, 8, 2)).astype("float32")
      >>> normalised = Normalisation()(maps).numpy()
      >>> bool(abs(normalised.mean()) < 1e-3), bool(abs(normalised.std() - 1) < 1e-3)
      (True, True)

    Modes:
      batch_transductive: the statistics of the very batch that is normalised, in adaptation and prediction alike; no
        running state (the paper's, appendix A.1). A query's prediction then depends on the other queries that are
        asked with it.

      support: in adaptation, the statistics of the support set, which become state of the task; in prediction, those of
        the support set under the adapted parameters. A query is then judged by itself, alone or in company.

      per_step: as batch_transductive, with a scale and a shift for every inner step (MAML++: Antoniou et al. 2019,
        arXiv 1810.09502). Predictions take those of the last step that was made; steps beyond `steps` take the last
        ones there are. The published method also keeps running statistics for each step, which its code never reads;
        there are none here.

    Args:
      mode: one of `MODES`.
      epsilon: added to the variance.
      relu: whether negative outputs become zero.
      pool: edge of the windows of which only the largest output is kept, 1 for all outputs; rows and columns that fill
        no window are dropped, but count in the statistics.
      steps: how many inner steps have a scale and a shift of their own, in mode `per_step`; else 1.

    Raises:
      ValueError: for an unknown mode, a pool below 1, or a number of steps that the mode does not have.
    """

    def __init__(
        self,
        mode: str = "batch_transductive",
        epsilon: float = 1e-5,
        relu: bool = False,
        pool: int = 1,
        steps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"normalisation mode must be one of {', '.join(MODES)}, received {mode!r}.")
        if pool < 1:
            raise ValueError(f"pool must be at least 1 (no pooling), received {pool}.")
        if steps < 1 or (steps > 1 and mode != "per_step"):
            raise ValueError(f"steps must be 1 (or more in mode per_step), received {steps} in mode {mode}.")
        self.mode = mode
        self.epsilon = epsilon
        self.relu = relu
        self.pool = pool
        self.steps = steps

    @property
    def threads_state(self) -> bool:
        """Whether the layer has state that follows the task: the statistics of its support set, or a count of steps."""
        return self.mode != "batch_transductive"

    @property
    def state_follows_parameters(self) -> bool:
        """Whether that state is of certain parameters, and out of date once they are updated."""
        return self.mode == "support"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes one scale and one shift a channel, and room for the statistics of a task."""
        # Never rounded to half precision: there is one of each a channel, and sums over whole maps meet them.
        channel: dict[str, Any] = {"shape": (input_shape[-1],), "autocast": False}
        affine = {**channel, "shape": (self.steps, input_shape[-1])} if self.mode == "per_step" else channel
        self.scale = self.add_weight(initializer="ones", name="scale", **affine)
        self.shift = self.add_weight(initializer="zeros", name="shift", **affine)
        if self.mode == "per_step":
            self.step = self.add_weight(shape=(), initializer="zeros", name="step", trainable=False, autocast=False)
        if self.mode == "support":
            self.mean = self.add_weight(initializer="zeros", name="mean", trainable=False, **channel)
            self.variance = self.add_weight(initializer="ones", name="variance", trainable=False, **channel)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises `[..., channels]`; statistics are taken in float32 at least.

        Args:
          inputs: a batch of one task; `[examples, height, width, channels]` when there is a pool.
          training: True on support sets: mode `support` keeps their statistics, mode `per_step` counts the passes; no
            difference in batch_transductive.
        """
        scale, shift = self._scale_and_shift(training)
        if self.mode != "support" and has_kernels(inputs) and not differentiated_twice():
            largest = Windows(normalised(inputs, scale, shift, self.epsilon), self.pool).largest
            return tf.nn.relu(largest) if self.relu else largest
        sign = tf.stop_gradient(tf.where(scale < 0, -tf.ones_like(scale), tf.ones_like(scale)))
        if self.mode == "support" and not training:
            mean, variance = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)
            factor = scale * tf.math.rsqrt(variance + self.epsilon)
            largest = Windows(inputs * tf.cast(sign, inputs.dtype), self.pool).largest
            return affine_relu(largest, sign * factor, shift - factor * mean, self.relu)
        pooled = standardised_pool(inputs, sign, self.epsilon, self.pool)
        if self.mode == "support":
            self.mean.assign(pooled.mean)
            self.variance.assign(pooled.variance)
        return affine_relu(pooled.maps, sign * scale, shift, self.relu)

    def _scale_and_shift(self, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        scale, shift = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.shift)
        if self.mode != "per_step":
            return scale, shift
        made = tf.convert_to_tensor(self.step)
        if training:
            self.step.assign(made + 1.0)
        number = tf.cast(made, tf.int32) - (0 if training else 1)
        number = tf.clip_by_value(number, 0, self.steps - 1)
        return scale[number], shift[number]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = {"mode": self.mode, "epsilon": self.epsilon, "relu": self.relu, "pool": self.pool, "steps": self.steps}
        return {**super().get_config(), **own}
