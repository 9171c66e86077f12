"""Kernel ridge regression on the features: a closed form whose state grows with the support set.

Ours, after the abstract of AMFS, whose paper could not be read; not a reproduction of it. For support features phi,
targets Y (one-hot for classes) and the learner's own outputs f0, with n support examples:

    k(x, x') = exp(-|phi(x) - phi(x')|^2 / (2 bandwidth^2))
    alpha    = (K + n ridge I)^-1 (Y - f0(X))
    f(x)     = scale * (f0(x) + k(x, X) alpha)

Without the factor `scale` this minimises `mean |f0 + g - y|^2 + ridge |g|^2` over functions g of the kernel's space.
Bandwidth, ridge and scale are meta-learned (each a softplus of its variable); gradients pass through all of it.
The ridge never falls below the rounding of one number: examples that are near each other would leave no solution.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.checks import inverse_softplus
from cml_tf.adaptation.elimination import eliminate
from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters, State, feature_rows, feature_width
from cml_tf.problems import Problem, at_least_float32, problem_to_json
from cml_tf.registry import Given, option, register


@keras.saving.register_keras_serializable("cml_tf")
class KernelRidge(AdaptationRule):
    """Adapts by one linear solve; no inner gradient, no inner step.

    Args:
      problem: what the targets mean.
      bandwidth: what the kernel's width starts from, positive; None for the square root of the number of features.
      ridge: what the penalty starts from, positive.
      scale: what the factor of the outputs starts from, positive: how sure probabilities are.

    Example:
      >>> rule = KernelRidge(cml_tf.Classification(2), ridge=0.01)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])
    """

    vectorisable = True
    answers_through_head = True

    def __init__(
        self, problem: Problem, bandwidth: float | None = None, ridge: float = 0.1, scale: float = 1.0
    ) -> None:
        super().__init__()
        for name, value in (("bandwidth", bandwidth), ("ridge", ridge), ("scale", scale)):
            if value is not None and not 0 < value < np.inf:
                raise UserError(f"{name} must be positive, received {value!r}: choose a number above 0.")
        self.problem = problem
        self.bandwidth = bandwidth
        self.ridge = ridge
        self.scale = scale
        self._solve = _by_cholesky

    def build(self, learner: Learner) -> None:
        """Makes the three variables.

        Raises:
          UserError: for a learner with several heads.
        """
        if self.meta_variables:
            return
        if learner.second_head is not None:
            raise UserError("kernel ridge corrects one head, received a learner with two: remove the second head.")
        width = self.bandwidth or feature_width(learner) ** 0.5
        start = {"bandwidth": width, "ridge": self.ridge, "scale": self.scale}
        self.meta_variables = tuple(
            keras.Variable(inverse_softplus(value), dtype=keras.config.floatx(), name=name)
            for name, value in start.items()
        )

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> KernelRidgeTask:
        """Solves for the weights of the support examples."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, True, support.targets)
        centres = feature_rows(forward.features)
        bandwidth, ridge, _ = _positive(initial.meta, centres.dtype)
        left = self.problem.as_vectors(support.targets, centres.dtype) - tf.cast(forward.outputs, centres.dtype)
        count = tf.cast(tf.shape(centres)[0], centres.dtype)
        # Of noiseless tasks the outer loop learns ever smaller ridges.
        penalty = count * (ridge + np.finfo(centres.dtype.as_numpy_dtype).eps)
        penalised = _kernel(centres, centres, bandwidth) + penalty * tf.eye(tf.shape(centres)[0], dtype=centres.dtype)
        weights = self._solve(penalised, left)
        return KernelRidgeTask(learner, forward.state, context, initial, centres, weights)

    def for_devices(self) -> KernelRidge:
        """This rule with a solve by elimination."""
        other = copy.copy(self)
        other._solve = eliminate
        return other

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> KernelRidgeTask:
        """The learner's own outputs: no support example has a weight."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, True, support.targets)
        centres = feature_rows(forward.features)
        weights = tf.zeros([tf.shape(centres)[0], self.problem.outputs], centres.dtype)
        return KernelRidgeTask(learner, forward.state, context, initial, centres, weights)

    def state_spec(self, learner: Learner) -> Specification:
        """Features and weights of the support examples."""
        dtype = at_least_float32(tf.nest.flatten(learner.example_features)[0]).dtype
        return (
            tf.TensorSpec([None, feature_width(learner)], dtype, "support_features"),
            tf.TensorSpec([None, self.problem.outputs], dtype, "support_weights"),
        )

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> KernelRidgeTask:
        """The task of these features and weights."""
        centres, weights = tensors
        return KernelRidgeTask(learner, state, context, initial, centres, weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        numbers = {"bandwidth": self.bandwidth, "ridge": self.ridge, "scale": self.scale}
        return {"problem": problem_to_json(self.problem), **numbers}


class KernelRidgeTask(AdaptedTask):
    """The learner's outputs with a correction by the kernel.

    Args:
      learner: of the features and of the outputs that are corrected.
      state: its state after the support set.
      context: of the episode.
      initial: the learner's parameters, and the rule's three values.
      centres: features of the support examples, `[support, features]`.
      weights: of the support examples, `[support, outputs]`.
    """

    def __init__(
        self,
        learner: Learner,
        state: State,
        context: Any,
        initial: Initial,
        centres: tf.Tensor,
        weights: tf.Tensor,
    ) -> None:
        super().__init__(learner, state, context)
        self.start: Parameters = initial.parameters
        self.meta = initial.meta
        self.centres = centres
        self.weights = weights

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and corrected outputs."""
        forward = self.learner.call(self.start, self.state, inputs, self.context, training=False)
        return forward.features, self._corrected(forward.features, forward.outputs)

    def answer(self, features: Any) -> tf.Tensor:
        """Corrected outputs."""
        outputs, _ = self.learner.read(self.start.head, self.state.head, features, training=False)
        return self._corrected(features, outputs)

    def _corrected(self, features: Any, outputs: tf.Tensor) -> tf.Tensor:
        bandwidth, _, scale = _positive(self.meta, self.centres.dtype)
        correction = _kernel(feature_rows(features), self.centres, bandwidth) @ self.weights
        return scale * (tf.cast(outputs, correction.dtype) + correction)

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """Features and weights of the support examples."""
        return self.centres, self.weights


def _by_cholesky(matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), right)


def _positive(meta: tuple[tf.Tensor, ...], dtype: tf.DType) -> list[tf.Tensor]:
    return [tf.cast(tf.nn.softplus(value), dtype) for value in meta]


def _kernel(left: tf.Tensor, right: tf.Tensor, bandwidth: tf.Tensor) -> tf.Tensor:
    """`exp(-|x - x'|^2 / (2 bandwidth^2))`, `[left, right]`."""
    # By differences, not by |x|^2 + |x'|^2 - 2xx': those lose all digits where examples are near each other.
    squares = tf.reduce_sum(tf.square(left[:, tf.newaxis] - right[tf.newaxis]), -1)
    return tf.exp(-squares / (2 * tf.square(bandwidth)))


@dataclass(frozen=True)
class KernelRidgeOptions:
    """Options of `KernelRidge`."""

    bandwidth: float = option(
        0.0, "initial width of the kernel; 0 for the square root of the number of features", least=0
    )
    ridge: float = option(0.1, "initial penalty", above=0)
    scale: float = option(1.0, "initial factor of the outputs", above=0)


@register("rule", "kernel_ridge", KernelRidgeOptions)
def _kernel_ridge(options: KernelRidgeOptions, given: Given) -> KernelRidge:
    """One linear solve on the features, no inner step (ours, after AMFS)."""
    return KernelRidge(given.problem, options.bandwidth or None, options.ridge, options.scale)
