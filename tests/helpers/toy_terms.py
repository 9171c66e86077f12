"""Terms of a stranger, of kinds that no member is of."""

from __future__ import annotations

import keras
import tensorflow as tf

from cml_tf.objectives import ObjectiveTerm, QueryLoss, TermLoss


class Tempered(QueryLoss):
    """The query loss of outputs that one learned temperature divides."""

    def build(self, learner):
        if not self.variables:
            self.variables = (keras.Variable(1.0, name="temperature"),)

    def read(self, forward, values):
        (temperature,) = values
        outputs = super().read(forward, values)
        return outputs / tf.cast(temperature, outputs.dtype)


class Halved(QueryLoss):
    """The query loss of half the outputs: nothing is learned."""

    def read(self, forward, values):
        return super().read(forward, values) / 2.0


class Silent(ObjectiveTerm):
    """The query loss without a word about it."""

    def __init__(self, problem):
        super().__init__("silent")
        self.loss = QueryLoss(problem)

    def __call__(self, outcome, values):
        return TermLoss(self.loss(outcome, values).loss, {})
