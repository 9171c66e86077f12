"""The update-rule axis inside gradient descent: how inner gradients become parameter updates.

An update rule never evaluates the loss and owns no weights of the learner. It keeps two kinds of state apart: variables
that the *outer* loop learns (`meta_variables`, made once by `build`) and the state of *one episode* (`RuleState`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters


class RuleState(NamedTuple):
    """State of an update rule within one episode; any `tf.nest` structures of tensors.

    Example:
      >>> learner = mlp(1, (1,), hidden=(4,))
      >>> rule = PerStepRates(0.1, steps=5)
      >>> rule.build(learner.variables)
      >>> int(rule.init(learner.variables, rule.meta_variables).carried)  # it counts its steps
      0

    Attributes:
      adapted: tensors that are differentiated together with the parameters (context vectors).
      carried: everything else (momenta, counters).
    """

    adapted: Any = ()
    carried: Any = ()


class Gradients(NamedTuple):
    """Gradients of the support loss: for the parameters that the rule moves, and for `RuleState.adapted`.

    Those of the parameters are taken where they stand, or where `before_step` put them (`UpdateRule.at_seen`).

    Example: in that of `SGD`.
    """

    parameters: Parameters
    adapted: Any


class UpdateRule(ABC):
    """Gradients in, updates out. `parameters` may hold one group only, when the rule stands in a partition.

    Example: that of `SGD`; CONTRIBUTING.md writes a new one.

    Attributes:
      at_seen: whether the gradients of parameters are those with respect to what `before_step` makes of them.
      leading_steps: how many steps the rule makes before the first one that is counted (one that moves context vectors
        alone, for example); none where no step is asked for.
      by_element: whether elements of one tensor move at different rates, so that class rows are not all alike.
      inner_rate: what gradients are multiplied by, where that is one number which is not learned; else None.
    """

    at_seen: bool = False
    leading_steps: int = 0
    by_element: bool = False
    inner_rate: float | None = None

    def __init__(self) -> None:
        self.meta_variables: tuple[keras.Variable, ...] = ()

    def check(self, learner: Learner) -> None:
        """Raises UserError for a learner that the rule cannot move; called before `build`."""

    def build(self, parameters: Parameters) -> None:
        """Makes `meta_variables` for the learner's variables, once; harmless when called again."""

    def moved(self, parameters: Parameters) -> Parameters:
        """The parameters that adaptation changes, frozen groups being empty. Their gradients are all that is taken."""
        return parameters

    def changed(self, parameters: Parameters) -> Parameters:
        """The parameters that an adapted task may see changed, the others being empty: what a packed task holds.

        More than `moved` for a rule whose `before_step` reparametrises what it does not move.
        """
        return self.moved(parameters)

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """The state at the start of an episode."""
        return RuleState()

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The parameters that the next step's forward pass uses."""
        return parameters

    def before_prediction(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The parameters that predict after the last step: by default as a next step would use them."""
        return self.before_step(parameters, state, meta)

    @abstractmethod
    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One inner step.

        Args:
          gradients: of the support loss.
          state: before the step.
          parameters: the ones that the rule moves.
          meta: values of `meta_variables`.

        Returns:
          Updates to be *added* to `parameters`, in the same structure, and the state after the step.
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again, as JSON; needed to save a model.

        Raises:
          UserError: if the rule does not say.
        """
        raise UserError(
            f"{type(self).__name__} does not define get_config, so it cannot be saved: define get_config, or load the "
            "run instead."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UpdateRule:
        """Makes the rule again."""
        return cls(**config)
