"""A meta-learned inner rate for every inner step and every parameter tensor (MAML++: Antoniou et al. 2019, 1810.09502).

The paper's "LSLR", per-layer per-step learning rates; as in its code, a kernel and its bias have rates of their own.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.update_rules.base import Gradients, RuleState, UpdateRule
from cml_tf.adaptation.update_rules.rates import check_rate, rate_variables
from cml_tf.learners.learner import Parameters


@keras.saving.register_keras_serializable("cml_tf")
class PerStepRates(UpdateRule):
    """`update = -rates[step] * gradient`, with one vector of rates for each parameter tensor.

    The episode's state counts its steps. Beyond the steps that there are rates for, the last rate goes on.

    Args:
      rate: what all rates start from, positive. They may change sign in training.
      steps: how many steps have rates of their own: the inner steps of training, at least 1.
    """

    def __init__(self, rate: float, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"rates are needed for at least 1 step, received {steps}.")
        self.rate = check_rate(rate)
        self.steps = steps

    def build(self, parameters: Parameters) -> None:
        """One vector `[steps]` for each parameter."""
        if self.meta_variables:
            return
        self.meta_variables = rate_variables(parameters, self.rate, (self.steps,))

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """No step has been made."""
        return RuleState(carried=tf.zeros([], tf.int32))

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step downhill, each parameter tensor at its rate for this step."""
        step = tf.minimum(state.carried, self.steps - 1)
        rates = tf.nest.pack_sequence_as(gradients.parameters, [own[step] for own in meta])
        updates = tf.nest.map_structure(lambda rate, gradient: -rate * gradient, rates, gradients.parameters)
        return updates, state._replace(carried=state.carried + 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again."""
        return {"rate": self.rate, "steps": self.steps}
