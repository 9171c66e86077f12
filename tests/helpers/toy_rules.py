"""Toy rules: what later methods need of the interfaces, in the smallest form.

None of these is offered to users. They stand here so that a change of an interface that would shut such methods out
fails a test.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation import AdaptationRule, AdaptedTask, Initial, RuleState, UpdateRule
from cml_tf.adaptation.updates import Gradients
from cml_tf.episodes import Examples
from cml_tf.learners import Learner, Parameters, State


class RidgeRegression(AdaptationRule):
    """Closed form: ridge regression on the features, centred over support *and* query inputs.

    The logarithm of the penalty is meta-learned. Learners for it have no head of their own.
    """

    uses_query_inputs = True

    def build(self, learner: Learner) -> None:
        if not self.meta_variables:
            self.meta_variables = (keras.Variable(-1.0, dtype=keras.config.floatx(), name="log_penalty"),)

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> RidgePredictor:
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, training=True)
        features = forward.features
        queries = learner.call(initial.parameters, forward.state, query_inputs, context, training=False).features
        centre = tf.reduce_mean(tf.concat([features, queries], 0), 0)
        centred = features - centre
        penalty = tf.exp(initial.meta[0]) * tf.eye(tf.shape(centred)[1], dtype=centred.dtype)
        gram = tf.linalg.matmul(centred, centred, transpose_a=True) + penalty
        weights = tf.linalg.solve(gram, tf.linalg.matmul(centred, support.targets, transpose_a=True))
        return RidgePredictor(learner, forward.state, context, initial.parameters, centre, weights)


class RidgePredictor(AdaptedTask):
    """A linear map on centred features."""

    def __init__(
        self, learner: Learner, state: State, context: Any, start: Parameters, centre: tf.Tensor, weights: tf.Tensor
    ) -> None:
        super().__init__(learner, state, context)
        self.start, self.centre, self.weights = start, centre, weights

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        forward = self.learner.call(self.start, self.state, inputs, self.context, training=False)
        return forward.features, (forward.features - self.centre) @ self.weights


class ContextShift(UpdateRule):
    """Adapts a context vector only: a shift of the head's bias, whose start is meta-learned (after CAVIA).

    No parameter moves: every forward pass sees the head through `before_step`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def build(self, parameters: Parameters) -> None:
        if not self.meta_variables:
            bias = parameters.head[-1]
            self.meta_variables = (keras.Variable(tf.fill(bias.shape, 0.1), dtype=bias.dtype, name="first_shift"),)

    def moved(self, parameters: Parameters) -> Parameters:
        return Parameters((), ())

    def changed(self, parameters: Parameters) -> Parameters:
        return Parameters((), parameters.head)

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        return RuleState(adapted={"shift": meta[0]}, carried=tf.zeros([], tf.int32))

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        *others, bias = parameters.head
        return parameters._replace(head=(*others, bias + state.adapted["shift"]))

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        shift = state.adapted["shift"] - self.rate * gradients.adapted["shift"]
        return Parameters((), ()), RuleState({"shift": shift}, state.carried + 1)


class Momentum(UpdateRule):
    """Gradient descent with momentum: state that is carried, not adapted."""

    def __init__(self, rate: float, decay: float = 0.5) -> None:
        super().__init__()
        self.rate, self.decay = rate, decay

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        return RuleState(carried=tf.nest.map_structure(tf.zeros_like, parameters))

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        velocity = tf.nest.map_structure(lambda v, g: self.decay * v + g, state.carried, gradients.parameters)
        return tf.nest.map_structure(lambda v: -self.rate * v, velocity), RuleState(carried=velocity)
