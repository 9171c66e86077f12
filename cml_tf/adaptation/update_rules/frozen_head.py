"""An update rule under another, frozen head: how CML-dagger adapts psi through phi (paper, eq. 9)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.update_rules.base import Gradients, RuleState, UpdateRule
from cml_tf.learners.learner import Parameters


@keras.saving.register_keras_serializable("cml_tf")
class FrozenHead(UpdateRule):
    """Moves the extractor as a rule for the original learner would, and leaves the present head alone.

    The rule goes on to see a head of the shapes it was built for, with zero gradients: its meta-variables for the
    extractor keep their meaning.

    Args:
      rule: the original update rule.
      head_shapes: of the original head's parameters.
    """

    def __init__(self, rule: UpdateRule, head_shapes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.rule = rule
        self.head_shapes = tuple(map(tuple, head_shapes))
        self.meta_variables = rule.meta_variables

    def build(self, parameters: Parameters) -> None:
        """Builds the rule as for the original learner, if that has not been done."""
        self.rule.build(Parameters(parameters.extractor, tuple(tf.zeros(shape) for shape in self.head_shapes)))
        self.meta_variables = self.rule.meta_variables

    def moved(self, parameters: Parameters) -> Parameters:
        """The extractor's parameters that the rule moves; no head."""
        return self.rule.moved(self._padded(parameters))._replace(head=())

    def changed(self, parameters: Parameters) -> Parameters:
        """The extractor's parameters that the rule changes; no head."""
        return self.rule.changed(self._padded(parameters))._replace(head=())

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """The rule's own state."""
        return self.rule.init(self._padded(parameters), meta)

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The rule's extractor with the present head."""
        return self.rule.before_step(self._padded(parameters), state, meta)._replace(head=parameters.head)

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step of the extractor."""
        moves_head = bool(self.rule.moved(self._padded(parameters)).head)
        head = self._zeros(parameters) if moves_head else ()
        padded = Gradients(gradients.parameters._replace(head=head), gradients.adapted)
        updates, state = self.rule.update(padded, state, parameters._replace(head=head), meta)
        return updates._replace(head=()), state

    def _padded(self, parameters: Parameters) -> Parameters:
        return parameters._replace(head=self._zeros(parameters))

    def _zeros(self, parameters: Parameters) -> tuple[tf.Tensor, ...]:
        dtype = next((p.dtype for p in parameters.extractor), tf.float32)
        return tuple(tf.zeros(shape, dtype) for shape in self.head_shapes)

    def get_config(self) -> dict[str, Any]:
        """The rule, serialised, and the shapes."""
        return {"rule": keras.saving.serialize_keras_object(self.rule), "head_shapes": self.head_shapes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FrozenHead:
        """Makes the rule again; it is built with the learner."""
        return cls(keras.saving.deserialize_keras_object(config["rule"]), config["head_shapes"])
