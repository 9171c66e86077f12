"""Plain gradient descent: MAML's inner loop (Finn et al. 2017, arXiv 1703.03400)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.update_rules.base import Gradients, RuleState, UpdateRule
from cml_tf.adaptation.update_rules.rates import check_rate
from cml_tf.learners.learner import Parameters


@keras.saving.register_keras_serializable("cml_tf")
class SGD(UpdateRule):
    """`update = -rate * gradient`.

    Args:
      rate: the inner rate (alpha), positive.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check_rate(rate)

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step downhill."""
        return tf.nest.map_structure(lambda gradient: -self.rate * gradient, gradients.parameters), state

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again."""
        return {"rate": self.rate}
