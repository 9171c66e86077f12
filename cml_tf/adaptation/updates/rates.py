"""Update rules that differ in their inner rates.

`SGD` has one for all: MAML's inner loop (Finn et al. 2017, arXiv 1703.03400). `MetaSGD` meta-learns one for every entry
of every parameter (Li et al. 2017, arXiv 1707.09835), `PerStepRates` one for every inner step and parameter tensor
(MAML++: Antoniou et al. 2019, arXiv 1810.09502; the paper's "LSLR", per-layer per-step learning rates; as in its code,
a kernel and its bias have rates of their own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.updates.update_rule import Gradients, RuleState, UpdateRule
from cml_tf.errors import UserError
from cml_tf.learners.learner import Parameters
from cml_tf.registry import Given, Settings, option, register


@keras.saving.register_keras_serializable("cml_tf")
class SGD(UpdateRule):
    """`update = -rate * gradient`.

    Example:
      >>> gradients = Gradients(Parameters((), (tf.constant([2.0]),)), ())
      >>> updates, _ = SGD(0.5).update(gradients, RuleState(), gradients.parameters, ())
      >>> updates.head[0].numpy()
      array([-1.], dtype=float32)

    Args:
      rate: the inner rate (alpha), positive.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = self.inner_rate = check_rate(rate)

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step downhill."""
        return tf.nest.map_structure(lambda gradient: -self.rate * gradient, gradients.parameters), state

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again."""
        return {"rate": self.rate}


def check_rate(rate: float) -> float:
    """Returns an inner rate, or raises UserError unless it is positive."""
    if not rate > 0:
        raise UserError(f"the inner rate must be positive, received {rate}.")
    return rate


def rate_variables(
    parameters: Parameters, rate: float, shape: tuple[int, ...] | None = None
) -> tuple[keras.Variable, ...]:
    """A variable for each parameter, all entries `rate`, of a shape or else of the parameter's own."""
    return tuple(
        keras.Variable(
            np.full(parameter.shape if shape is None else shape, rate), dtype=parameter.dtype, name=f"rates_{position}"
        )
        for position, parameter in enumerate(tf.nest.flatten(parameters))
    )


@keras.saving.register_keras_serializable("cml_tf")
class MetaSGD(UpdateRule):
    """`update = -rates * gradient`, with rates of the parameters' shapes that the outer loop learns.

    On CPUs, Keras' own convolutions with a bias need `cml_tf.learners.Convolution` in their place, or the hypergradient
    `reverse_rematerialised`: see there.

    Example:
      >>> rule, learner = MetaSGD(0.1), mlp(1, (1,), hidden=(4,))
      >>> rule.build(learner.variables)
      >>> [tuple(rates.shape) for rates in rule.meta_variables]
      [(1, 4), (4,), (4, 1), (1,)]

    Args:
      rate: what all rates start from, positive. They may change sign in training, as in the paper.
    """

    by_element = True

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


@keras.saving.register_keras_serializable("cml_tf")
class PerStepRates(UpdateRule):
    """`update = -rates[step] * gradient`, with one vector of rates for each parameter tensor.

    The episode's state counts its steps. Beyond the steps that there are rates for, the last rate goes on.

    Example:
      >>> rule, learner = PerStepRates(0.1, steps=5), mlp(1, (1,), hidden=(4,))
      >>> rule.build(learner.variables)
      >>> [tuple(rates.shape) for rates in rule.meta_variables]
      [(5,), (5,), (5,), (5,)]

    Args:
      rate: what all rates start from, positive. They may change sign in training.
      steps: how many steps have rates of their own: the inner steps of training, at least 1.
    """

    def __init__(self, rate: float, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise UserError(f"steps must be at least 1, received {steps}.")
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


@dataclass(frozen=True)
class RateOptions:
    """Options of update rules with an inner rate."""

    rate: float = option(0.01, "inner rate (alpha), or the initial value of learned rates", above=0)


@register("update", "sgd", RateOptions)
def _sgd(options: RateOptions, given: Given) -> SGD:
    """One inner rate for everything (MAML)."""
    return SGD(options.rate)


@register("update", "meta_sgd", RateOptions, learned=True)
def _meta_sgd(options: RateOptions, given: Given) -> MetaSGD:
    """A learned inner rate for every entry of every parameter (arXiv 1707.09835)."""
    return MetaSGD(options.rate)


def _faults(settings: Settings) -> list[str]:
    if settings.get("adaptation.steps", 0) > 0:
        return []
    return ["adaptation.steps must be at least 1 with adaptation.update 'per_step_rates', received 0."]


@register("update", "per_step_rates", RateOptions, faults=_faults, learned=True, remembers=True)
def _per_step_rates(options: RateOptions, given: Given) -> PerStepRates:
    """A learned inner rate for every inner step and parameter tensor (MAML++, arXiv 1810.09502)."""
    return PerStepRates(options.rate, given.steps)
