"""Heads that are no linear layer.

`Prototypes` has no weights: outputs are distances to the mean features of each class of the support set. `TwoHeads` is
what CL, the paper's contrast to CML, adapts (arXiv 2406.04639, Table 4).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("cml_tf")
class Prototypes(keras.layers.Layer):
    """Minus the squared Euclidean distances to the class prototypes, as logits.

    A prototype is the mean of the features of a class in the support set (Snell et al. 2017, arXiv 1703.05175). Inside
    an inner loop the features adapt on the loss of these logits (G-Meta, Huang and Zitnik 2020, arXiv 2006.07889,
    algorithm 1). Prototypes are state of the task: predictions use those of the support set under the adapted features.

    Example:
      >>> head = Prototypes(ways=2)
      >>> corners = np.array([[0.0, 0.0], [3.0, 4.0]], "float32")
      >>> head(corners, training=True, targets=np.array([0, 1])).numpy()
      array([[ -0., -25.],
             [-25.,  -0.]], dtype=float32)

    Args:
      ways: how many classes there are. A class without support examples has its prototype at the origin.
    """

    threads_state = True

    def __init__(self, ways: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if ways < 2:
            raise ValueError(f"ways must be at least 2, received {ways}.")
        self.ways = ways

    def build(self, features_shape: tuple[int | None, ...]) -> None:
        """Makes room for the prototypes, `[ways, features]`."""
        self.prototypes = self.add_weight(
            shape=(self.ways, features_shape[-1]),
            initializer="zeros",
            name="prototypes",
            trainable=False,
            autocast=False,
        )

    def call(self, features: tf.Tensor, training: bool = False, targets: tf.Tensor | None = None) -> tf.Tensor:
        """Logits `[examples, ways]` of features `[examples, features]`.

        Args:
          features: of one task.
          training: True on the support set, from which the prototypes are taken.
          targets: of the support set: labels `[examples]`, or soft labels `[examples, ways]`; not looked at otherwise.

        Raises:
          ValueError: for a support set without targets.
        """
        if training:
            if targets is None:
                raise ValueError(
                    "targets must be passed in training, since prototypes are class means of a support set."
                )
            prototypes = self._class_means(features, targets)
            self.prototypes.assign(prototypes)
        else:
            prototypes = tf.cast(tf.convert_to_tensor(self.prototypes), features.dtype)
        distances = tf.square(features[:, tf.newaxis] - prototypes[tf.newaxis])
        return -tf.reduce_sum(distances, -1)

    def _class_means(self, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        shares = tf.one_hot(targets, self.ways) if targets.dtype.is_integer else targets
        shares = tf.cast(shares, features.dtype)
        sums = tf.matmul(shares, features, transpose_a=True)
        return tf.math.divide_no_nan(sums, tf.reduce_sum(shares, 0)[:, tf.newaxis])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "ways": self.ways}


@keras.saving.register_keras_serializable("cml_tf")
class TwoHeads(keras.layers.Layer):
    """Reads the same features with two heads and returns both outputs.

    CL is a learner with this head: both heads are adapted in the inner loop on a support loss of both, where CML's
    co-learner is left alone there.

    Example:
      >>> heads = TwoHeads(keras.layers.Dense(5), keras.layers.Dense(5))
      >>> [outputs.shape for outputs in heads(np.zeros((2, 8), "float32"))]
      [TensorShape([2, 5]), TensorShape([2, 5])]

    Args:
      first: the head (theta); its outputs come first.
      second: the second head (phi).
    """

    def __init__(self, first: keras.Layer, second: keras.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = first
        self.second = second

    def build(self, input_shape: Any) -> None:
        """Nothing of its own: the two heads build at their first call."""

    def call(self, features: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Returns `(first outputs, second outputs)`."""
        return self.first(features, training=training), self.second(features, training=training)

    def get_config(self) -> dict[str, Any]:
        """The two heads, serialised."""
        serialise = keras.saving.serialize_keras_object
        return {**super().get_config(), "first": serialise(self.first), "second": serialise(self.second)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TwoHeads:
        """Makes the layer again."""
        heads = {name: keras.saving.deserialize_keras_object(config.pop(name)) for name in ("first", "second")}
        return cls(**heads, **config)
