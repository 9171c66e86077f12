"""Statistics of every example by itself, over its pixels and some or all of its channels."""

from __future__ import annotations

import tensorflow as tf

from cml_tf.learners.layers.convolution import widened
from cml_tf.learners.normalisation.mode import Mode, Normalising, by_moments, moments, register_mode


class _ByExample(Mode):
    def _groups(self, layer: Normalising) -> int:
        raise NotImplementedError

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises; no difference between support set and queries."""
        groups, size = self._groups(layer), inputs.shape[-1]
        apart = tf.reshape(widened(inputs), tf.concat([tf.shape(inputs)[:-1], [groups, size // groups]], 0))
        axes = [axis for axis in range(1, len(inputs.shape) + 1) if axis != len(inputs.shape) - 1]
        # From one value a group to one a channel.
        mean, variance = (tf.repeat(one[..., 0], size // groups, axis=-1) for one in moments(apart, axes))
        return by_moments(layer, inputs, mean, variance)


@register_mode("group")
class Group(_ByExample):
    """Every example by itself, over its pixels and a group of its channels (Wu and He 2018, arXiv 1803.08494)."""

    text = "the example itself: its pixels and a group of channels"

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes scale and shift.

        Raises:
          ValueError: if the channels cannot be divided into so many groups.
        """
        if (shape[-1] or 0) % layer.groups:
            raise ValueError(
                f"groups must divide the {shape[-1]} channels that are normalised, received {layer.groups}: use a "
                "divisor."
            )
        super().build(layer, shape)

    def _groups(self, layer: Normalising) -> int:
        return layer.groups


@register_mode("layer")
class Layer(_ByExample):
    """Every example by itself, over its pixels and all of its channels (Ba et al. 2016, arXiv 1607.06450)."""

    text = "the example itself: its pixels and all channels"

    def _groups(self, layer: Normalising) -> int:
        return 1
