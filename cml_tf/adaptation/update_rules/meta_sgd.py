"""Meta-SGD: a meta-learned inner rate for every parameter (Li et al. 2017, arXiv 1707.09835)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.update_rules.base import Gradients, RuleState, UpdateRule
from cml_tf.adaptation.update_rules.rates import check_rate, rate_variables
from cml_tf.learners.learner import Parameters


@keras.saving.register_keras_serializable("cml_tf")
class MetaSGD(UpdateRule):
    """`update = -rates * gradient`, with rates of the parameters' shapes that the outer loop learns.

    On CPUs, Keras' own convolutions with a bias need `cml_tf.learners.Convolution` in their place, or the hypergradient
    `reverse_rematerialised`: see there.

    Args:
      rate: what all rates start from, positive. They may change sign in training, as in the paper.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = check_rate(rate)

    def build(self, parameters: Parameters) -> None:
        """One rate variable for each parameter."""
        if self.meta_variables:
            return
        self.meta_variables = rate_variables(parameters, self.rate)

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step downhill, each parameter at its own rate."""
        rates = tf.nest.pack_sequence_as(gradients.parameters, list(meta))
        return tf.nest.map_structure(lambda rate, gradient: -rate * gradient, rates, gradients.parameters), state

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again."""
        return {"rate": self.rate}
