"""No normalisation at all."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.learners.normalisation.mode import Mode, Normalising, pooled_relu, register_mode


@register_mode("none")
class Nothing(Mode):
    """No statistics, no scale and no shift: what comes in goes out, after ReLU and pool.

    The kernel and the bias of the layer before it are scale and shift enough.
    """

    text = "nothing: no normalisation, no scale and no shift"
    standardises = False

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes nothing."""

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """ReLU and pool."""
        return pooled_relu(layer, inputs)
