"""Few steps of the best length on a learned objective (FIML, arXiv 2010.00511).

After Tripathi et al. 2021, "Fast Few-Shot Classification by Few-Iteration Meta-Learning". The rule brings one vector of
weights a class: `class_objective` begins it in closed form from the support features, and says what the steps minimise.
With g its gradient in the weights of all classes at once, each of the few steps is

    w <- w - step g,    step = |g|^2 / (max(curvature along g, 1e-8) + 0.05 |g|^2)

The features do not adapt. Labels, weights and slopes of the objective, its penalty, and (if the episode is declared
transductive) the entropy's factor and temperature are meta-learned; gradients pass through every step. Ours:

- The entropy of the queries counts with `transductive` alone: without it, no answer depends on the other queries.
- `normalise_first` gives the closed form normalised features as well. The authors' order is the default.
- The penalty starts from 0.1, not from 0. It counts as a square, whose derivative at 0 is 0: it would stay there.
- Of the entropy's factor and its temperature the logarithms are learned, so that both stay positive.
- There is no fusion with class names, and no weighting of positions in the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.checks import (
    check_classification,
    check_headless,
    faults_of_another_head,
    faults_without_classes,
)
from cml_tf.adaptation.class_objective import ClassObjective, LearnedNumbers, class_weights
from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters, State, feature_rows
from cml_tf.problems import Problem, problem_to_json
from cml_tf.registry import Given, Settings, option, register, setting, variant

DAMPING = 0.05
_FLATTEST = 1e-8
_NORM = 1e-12


@keras.saving.register_keras_serializable("cml_tf")
class SteepestDescent(AdaptationRule):
    """Adapts one vector of weights a class, which starts in closed form, by a few steps of the best length.

    Args:
      problem: a classification.
      iterations: how many steps, 0 (the closed form) or more.
      positive: what the score that an example should have for its own class starts from.
      negative: what the score that it should have for other classes starts from, below `positive`.
      penalty: what the factor of the weights in the objective starts from, 0 or more; 0 for none, which is not learned.
      normalise_first: whether the closed form reads normalised features too.
      transductive: whether the queries take part, by the entropy of their classes: answers depend on each other then.
      kappa: what the entropy's factor starts from, positive; without `transductive` there is none.
      temperature: what the factor of the scores inside of the entropy starts from, positive; likewise.

    Example:
      >>> learner = mlp(None, (3,), hidden=(4,))
      >>> rule = SteepestDescent(cml_tf.Classification(2), iterations=3)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Raises:
      UserError: for a regression, or a number out of range.
    """

    vectorisable = True
    answers_unadapted = True

    def __init__(
        self,
        problem: Problem,
        iterations: int = 5,
        positive: float = 5.0,
        negative: float = -5.0,
        penalty: float = 0.1,
        normalise_first: bool = False,
        transductive: bool = False,
        kappa: float = 1000.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_classification("steepest descent", problem)
        if not isinstance(iterations, int) or iterations < 0:
            raise UserError(f"iterations must be a whole number of 0 or more, received {iterations!r}.")
        if not -np.inf < negative < positive < np.inf:
            raise UserError(
                f"positive must be above negative {negative!r}, received {positive!r}: choose other scores."
            )
        if not 0 <= penalty < np.inf:
            raise UserError(f"penalty must be 0 or more, received {penalty!r}: choose such a number.")
        for name, value in (("kappa", kappa), ("temperature", temperature)):
            if not 0 < value < np.inf:
                raise UserError(f"{name} must be positive, received {value!r}: leave out transductive for no entropy.")
        self.problem, self.iterations = problem, iterations
        self.positive, self.negative, self.penalty = positive, negative, penalty
        self.normalise_first, self.transductive = normalise_first, transductive
        self.kappa, self.temperature = kappa, temperature
        self.uses_query_inputs = transductive

    def _starts(self) -> dict[str, float]:
        """What is meta-learned, by name, with first values: only what has a gradient there."""
        starts = {"positive": self.positive, "negative": self.negative}
        if not self.iterations:
            return starts
        starts |= {"positive_weight": 1.0, "negative_weight": 1.0, "positive_slope": 1.0, "negative_slope": 1.0}
        if self.penalty:
            starts["penalty"] = self.penalty
        if self.transductive:
            starts |= {"log_kappa": float(np.log(self.kappa)), "log_temperature": float(np.log(self.temperature))}
        return starts

    def build(self, learner: Learner) -> None:
        """Makes the variables of the objective.

        Raises:
          UserError: for a learner whose head has weights: nothing would ever train them.
        """
        check_headless("steepest descent", learner)
        if not self.meta_variables:
            self.meta_variables = tuple(
                keras.Variable(value, dtype=keras.config.floatx(), name=name) for name, value in self._starts().items()
            )

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> ClassWeightsTask:
        """The weights after all steps."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, training=True)
        raw = feature_rows(forward.outputs)
        labels, numbers = self.problem.as_vectors(support.targets, raw.dtype), self._numbers(initial, raw.dtype)
        weights, queries = self._start(raw, labels, numbers), None
        if self.transductive:
            asked = learner.call(initial.parameters, forward.state, query_inputs, context, training=False).outputs
            queries = normalised(feature_rows(asked))
        objective = ClassObjective(normalised(raw), labels, numbers, queries)
        for _ in range(self.iterations):
            weights = step(objective, weights)
        return ClassWeightsTask(learner, forward.state, context, initial.parameters, weights)

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> ClassWeightsTask:
        """The closed form that the steps start from."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, training=True)
        raw = feature_rows(forward.outputs)
        labels = self.problem.as_vectors(support.targets, raw.dtype)
        weights = self._start(raw, labels, self._numbers(initial, raw.dtype))
        return ClassWeightsTask(learner, forward.state, context, initial.parameters, weights)

    def _start(self, raw: tf.Tensor, labels: tf.Tensor, numbers: LearnedNumbers) -> tf.Tensor:
        rows = normalised(raw) if self.normalise_first else raw
        return class_weights(rows, labels, numbers.positive, numbers.negative)

    def _numbers(self, initial: Initial, dtype: tf.DType) -> LearnedNumbers:
        """The objective's numbers as they are learned by now; those that are not stay at what they start from."""
        values = {name: tf.cast(value, dtype) for name, value in zip(self._starts(), initial.meta, strict=True)}
        logs = {name: values.pop(f"log_{name}", None) for name in ("kappa", "temperature")}
        return LearnedNumbers(**values, **{name: tf.exp(log) for name, log in logs.items() if log is not None})

    def state_spec(self, learner: Learner) -> Specification:
        """The weights of the classes."""
        # Outside of whatever is traced: an exported function must not hold on to a variable for the sake of a shape.
        with tf.init_scope():
            state = tuple(map(tf.convert_to_tensor, learner.state_variables.head))
            outputs, _ = learner.read((), state, learner.example_features, training=False)
            rows = feature_rows(outputs)
        return (tf.TensorSpec([self.problem.outputs, rows.shape[1]], rows.dtype, "class_weights"),)

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> ClassWeightsTask:
        """The task of these weights."""
        return ClassWeightsTask(learner, state, context, initial.parameters, *tensors)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("iterations", "positive", "negative", "penalty", "normalise_first", "transductive")
        kept = {name: getattr(self, name) for name in (*names, "kappa", "temperature")}
        return {"problem": problem_to_json(self.problem), **kept}


class ClassWeightsTask(AdaptedTask):
    """Answers by the product of normalised features with each class's weights.

    Args:
      learner: of the features.
      state: its state after the support set.
      context: of the episode.
      start: the learner's parameters.
      weights: of the classes, `[ways, features]`.
    """

    def __init__(self, learner: Learner, state: State, context: Any, start: Parameters, weights: tf.Tensor) -> None:
        super().__init__(learner, state, context)
        self.start, self.weights = start, weights

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features, and the classes' scores as logits."""
        forward = self.learner.call(self.start, self.state, inputs, self.context, training=False)
        return forward.features, self._scores(forward.outputs)

    def answer(self, features: Any) -> tf.Tensor:
        """Likewise for features."""
        return self._scores(self.learner.read(self.start.head, self.state.head, features, training=False)[0])

    def _scores(self, outputs: Any) -> tf.Tensor:
        return tf.matmul(normalised(feature_rows(outputs)), self.weights, transpose_b=True)

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The weights of the classes."""
        return (self.weights,)


def normalised(rows: tf.Tensor) -> tf.Tensor:
    """Rows of length 1; one of zeros stays as it is."""
    return tf.math.l2_normalize(rows, -1, epsilon=_NORM)


def step(objective: ClassObjective, weights: tf.Tensor, damping: float = DAMPING) -> tf.Tensor:
    """Weights `[ways, features]` after one step along the gradient, of the best length but for the damping."""
    gradient = objective.gradient(weights)
    square = tf.reduce_sum(tf.square(gradient))
    curvature = tf.maximum(objective.curvature(weights, gradient), tf.constant(_FLATTEST, square.dtype))
    return weights - square / (curvature + damping * square) * gradient


@dataclass(frozen=True)
class SteepestDescentOptions:
    """Options of `SteepestDescent`."""

    iterations: int = option(5, "number of steps of the best length", least=0)
    positive: float = option(5.0, "initial score that an example should have for its own class")
    negative: float = option(-5.0, "initial score that it should have for other classes")
    penalty: float = option(0.1, "initial factor of the class weights in the objective; 0 for none", least=0)
    normalise_first: bool = option(False, "whether the closed form reads normalised features")
    transductive: bool = option(False, "whether the queries take part: answers depend on each other then")
    kappa: float = option(1000.0, "initial factor of the queries' entropy, with transductive", above=0)
    temperature: float = option(1.0, "initial factor of the scores in the entropy, with transductive", above=0)


def _faults(settings: Settings) -> list[str]:
    faults = faults_without_classes("steepest_descent", settings)
    faults += faults_of_another_head("steepest_descent", "puts weights of its own in its place", settings)
    positive, negative = settings["adaptation.positive"], settings["adaptation.negative"]
    if not positive > negative:
        faults.append(
            f"adaptation.positive must be above adaptation.negative {negative!r}, received {positive!r}: choose other "
            "scores."
        )
    return faults


variant("fiml_transductive", chooses=("steepest_descent",))(
    setting("FIML with the queries' entropy: answers depend on the other queries.", adaptation__transductive=True)
)


@register(
    "rule",
    "steepest_descent",
    SteepestDescentOptions,
    faults=_faults,
    smoke={"iterations": 2},
    head=False,
    transductive=lambda settings: settings["adaptation.transductive"],
)
def _steepest_descent(options: SteepestDescentOptions, given: Given) -> SteepestDescent:
    """Few steps of the best length on class weights that start in closed form (FIML, arXiv 2010.00511)."""
    return SteepestDescent(given.problem, **vars(options))
