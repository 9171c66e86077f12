"""The last linear layer of a head, for rules that put another one in its place without inner gradients."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters
from cml_tf.problems import at_least_float32


class LinearHead:
    """A head that is one linear layer, behind layers without weights (a pool, a flattening).

    Example:
      >>> from cml_tf.learners import mlp
      >>> head = LinearHead(mlp(3, (2,), hidden=(8,)))
      >>> head.width, head.outputs
      (8, 3)

    Args:
      learner: whose head it is.

    Attributes:
      width: how many numbers of an example the layer reads.
      outputs: how many it gives.
      dtype: of what `rows` and `weights` give, float32 or float64.

    Raises:
      UserError: for any other head.
    """

    def __init__(self, learner: Learner) -> None:
        head = learner.head
        self._before = list(head.layers[:-1]) if isinstance(head, keras.Sequential) else []
        last = head.layers[-1] if isinstance(head, keras.Sequential) else head
        plain = isinstance(last, keras.layers.Dense) and last.use_bias and last.activation is keras.activations.linear
        if not plain or any(layer.weights for layer in self._before) or len(learner.variables.head) != 2:
            raise UserError(
                "this rule needs a head of one trainable linear layer with a bias, after layers without weights, "
                f"received {head.name!r} of type {type(head).__name__}: use a learner with a linear head."
            )
        kernel, _ = learner.variables.head
        self.width, self.outputs = map(int, kernel.shape)
        self.dtype = at_least_float32(tf.zeros((), kernel.dtype)).dtype

    def rows(self, features: Any) -> tf.Tensor:
        """What the layer reads of features: `[examples, width]`, float32 or float64."""
        for layer in self._before:
            features = layer(features)
        return at_least_float32(features)

    def weights(self, parameters: Parameters) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel `[width, outputs]` and bias `[outputs]`, float32 or float64."""
        kernel, bias = parameters.head
        return at_least_float32(kernel), at_least_float32(bias)
