"""Attribute matching: what the support nodes have in common decides how much each attribute counts in a task.

After AMM-GNN (Wang et al., CIKM 2020, doi 10.1145/3340531.3411923): attribute-level attention makes the attributes of a
new task resemble those that the learner was trained on. Its code was never published; docs/NODES.md says what is taken
from the paper and what is our reading.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("cml_tf")
class AttributeMatching(keras.layers.Layer):
    """`x * (1 + alpha) + beta`, with alpha and beta `[features]` from one small network shared by all attributes.

    What the network sees of an attribute is its mean and standard deviation over the support nodes, relative to the
    attributes' average, so it is indifferent to the nodes' order and number. Both are state of the task; the network is
    meta-learned, and adapted with the rest. It starts as the identity.

    Args:
      features: how many attributes a node has.
      hidden: width of the network.
      strength: factor of alpha and beta; a small one lets the outer loop decide on them more than the inner loop, whose
        few steps would throw them about.
    """

    threads_state = True

    def __init__(self, features: int, hidden: int = 8, strength: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.features = features
        self.hidden = hidden
        self.strength = strength
        self.first = self.add_weight(shape=(3, hidden), initializer="glorot_uniform", name="first")
        # Zeros: alpha = beta = 0 at first, and the gradient finds the way from there.
        self.second = self.add_weight(shape=(hidden, 2), initializer="zeros", name="second")
        self.seen = self.add_weight(shape=(features, 2), initializer="zeros", name="seen", trainable=False)

    def build(self, *shapes: Any) -> None:
        """Nothing: all sizes were known."""

    def keep(self, attributes: tf.Tensor) -> None:
        """Keeps what a support set `[examples, features]` has of each attribute as state of the task."""
        mean = tf.reduce_mean(attributes, 0)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(attributes - mean), 0))
        self.seen.assign(tf.stack([mean, deviation], 1))

    def modulation(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Alpha and beta of the task, `[features]` each."""
        seen, first, second = (
            tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)
            for variable in (self.seen, self.first, self.second)
        )
        relative = tf.math.divide_no_nan(seen, tf.reduce_mean(seen, 0, keepdims=True))
        network_inputs = tf.concat([relative, tf.ones_like(relative[:, :1])], 1)
        outputs = self.strength * tf.matmul(tf.nn.relu(tf.matmul(network_inputs, first)), second)
        return outputs[:, 0], outputs[:, 1]

    def call(self, attributes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Attributes `[examples, features]` modulated; those of support sets (training) are kept first."""
        if training:
            self.keep(attributes)
        alpha, beta = self.modulation()
        return attributes * (1.0 + alpha) + beta

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "features": self.features, "hidden": self.hidden, "strength": self.strength}
