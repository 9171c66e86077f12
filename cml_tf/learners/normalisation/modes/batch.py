"""Statistics of the very batch: the paper's mode, and MAML++'s, which has a scale and a shift for every inner step."""

from __future__ import annotations

from typing import Any, cast

import keras
import tensorflow as tf

from cml_tf.learners.normalisation.mode import Mode, Normalising, by_own_statistics, channels, register_mode


@register_mode("batch_transductive")
class BatchTransductive(Mode):
    """The statistics of the batch that is normalised, in adaptation and prediction alike; no running state.

    The paper's (appendix A.1).
    """

    text = "the batch itself: of queries, those that are asked together"
    joins_queries = True

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises; no difference between support set and queries."""
        scale, shift = tf.convert_to_tensor(layer.scale), tf.convert_to_tensor(layer.shift)
        return by_own_statistics(layer, inputs, scale, shift)


class _Counting(Normalising):
    step: keras.Variable


@register_mode("per_step")
class PerStep(Mode):
    """As `batch_transductive`, with a scale and a shift for every inner step.

    After MAML++ (Antoniou et al. 2019, arXiv 1810.09502). Predictions take those of the last step that was made; steps
    beyond `steps` take the last ones there are. The published method also keeps running statistics for each step, which
    its code never reads; there are none here.
    """

    text = "the batch itself, with a scale and a shift for every inner step"
    threads_state = True
    counts_steps = True
    joins_queries = True

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes a scale and a shift for each step, and their count."""
        each: dict[str, Any] = {**channels(shape), "shape": (layer.steps, shape[-1])}
        counting = cast(_Counting, layer)
        counting.scale = layer.add_weight(initializer="ones", name="scale", **each)
        counting.shift = layer.add_weight(initializer="zeros", name="shift", **each)
        counting.step = layer.add_weight(shape=(), initializer="zeros", name="step", trainable=False, autocast=False)

    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises, and counts the passes over support sets."""
        counting = cast(_Counting, layer)
        scale, shift = tf.convert_to_tensor(layer.scale), tf.convert_to_tensor(layer.shift)
        made = tf.convert_to_tensor(counting.step)
        if training:
            counting.step.assign(made + 1.0)
        number = tf.cast(made, tf.int32) - (0 if training else 1)
        number = tf.clip_by_value(number, 0, layer.steps - 1)
        return by_own_statistics(layer, inputs, scale[number], shift[number])
