"""Prototypes that the queries refine: soft k-means (Ren et al. 2018, arXiv 1803.00676, equations 3 and 4).

A class begins as the mean of its support features, as in prototypical networks (Snell et al. 2017, arXiv 1703.05175).
Then queries take part, each in every class by its share `softmax(-scale |phi - prototype|^2)`, and prototypes become
the weighted means of all features. There the unlabelled examples are extra ones; here they are the queries themselves,
so an answer depends on what else is asked (transductive). `phi` is what a head without weights gives: the features,
pooled and flattened where the learner's head does that.

MetaDelta's decoder (Chen et al. 2021, arXiv 2102.10744) is this with features of length 1, a scale of 1 and ten
rounds; its paper uses plain Euclidean distances, its release squared ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.checks import check_classification, check_headless, faults_without_classes
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters, State, feature_rows
from cml_tf.problems import Problem, problem_to_json
from cml_tf.registry import Given, Settings, option, register

# What stands for the distance to a class that no support example has: no query is of it.
_FAR = 1e9
_TINY = 1e-12
_DISTANCES = ("squared", "euclidean")


@keras.saving.register_keras_serializable("cml_tf")
class SoftKMeans(AdaptationRule):
    """Adapts by class means, refined with the queries; the logarithm of `scale` is meta-learned.

    Args:
      problem: a classification.
      refinements: how often the queries take part, 0 (prototypical networks, inductive in all but name) or more.
      scale: what the factor of distances starts from, positive: how sure probabilities are.
      distance: `squared` or `euclidean`.
      normalised: whether features are divided by their length.

    Example:
      >>> learner = mlp(None, (3,), hidden=(4,))
      >>> rule = SoftKMeans(cml_tf.Classification(2), refinements=10, normalised=True)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, (), query.inputs)
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Raises:
      UserError: for a regression, or a number out of range.
    """

    uses_query_inputs = True
    vectorisable = True
    answers_unadapted = True
    any_ways = True

    def __init__(
        self,
        problem: Problem,
        refinements: int = 1,
        scale: float = 1.0,
        distance: str = "squared",
        normalised: bool = False,
    ) -> None:
        super().__init__()
        check_classification("soft k-means", problem)
        if not 0 < scale < np.inf:
            raise UserError(f"scale must be positive, received {scale!r}: choose a number above 0.")
        if distance not in _DISTANCES:
            raise UserError(f"distance must be one of {', '.join(_DISTANCES)}, received {distance!r}.")
        self.problem = problem
        self.refinements = _checked(refinements)
        self.scale = scale
        self.distance = distance
        self.normalised = normalised

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The refinements."""
        return self.refinements

    def with_steps(self, steps: int) -> SoftKMeans:
        """This rule with another number of refinements; the variable is shared."""
        other = copy.copy(self)
        other.refinements = _checked(steps)
        return other

    def build(self, learner: Learner) -> None:
        """Makes the variable of the scale.

        Raises:
          UserError: for a learner whose head has weights: nothing would ever train them.
        """
        check_headless("soft k-means", learner)
        if not self.meta_variables:
            value = float(np.log(self.scale))
            self.meta_variables = (keras.Variable(value, dtype=keras.config.floatx(), name="log_scale"),)

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> SoftKMeansTask:
        """The class means after the refinements."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, training=True)
        queries = learner.call(initial.parameters, forward.state, query_inputs, context, training=False).outputs
        return self._task(learner, initial, forward, support, context, self.embedded(queries))

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> SoftKMeansTask:
        """The class means before the queries take part."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, training=True)
        return self._task(learner, initial, forward, support, context, None)

    def _task(
        self, learner: Learner, initial: Initial, forward: Any, support: Examples, context: Any, queries: Any
    ) -> SoftKMeansTask:
        features = self.embedded(forward.outputs)
        labels = self.problem.as_vectors(support.targets, features.dtype)
        counts = tf.reduce_sum(labels, 0)
        sums = tf.matmul(labels, features, transpose_a=True)
        scale = tf.cast(tf.exp(initial.meta[0]), features.dtype)
        means = _means(sums, counts)
        for _ in range(self.refinements if queries is not None else 0):
            shares = tf.nn.softmax(self.closeness(queries, means, counts, scale))
            total = counts + tf.reduce_sum(shares, 0)
            means = _means(sums + tf.matmul(shares, queries, transpose_a=True), total)
        return SoftKMeansTask(self, learner, forward.state, context, initial.parameters, means, counts, scale)

    def embedded(self, outputs: Any) -> tf.Tensor:
        """What distances are taken between, `[examples, features]`."""
        rows = feature_rows(outputs)
        return tf.math.l2_normalize(rows, 1, epsilon=_TINY) if self.normalised else rows

    def closeness(self, features: tf.Tensor, means: tf.Tensor, counts: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Logits `[examples, ways]`, which fall with the distance to each class mean."""
        far = tf.reduce_sum(tf.square(features[:, tf.newaxis] - means[tf.newaxis]), -1)
        if self.distance == "euclidean":
            # The square root has no slope at 0.
            far = tf.sqrt(tf.maximum(far, _TINY))
        return tf.where(counts > 0, -scale * far, -tf.constant(_FAR, features.dtype))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("refinements", "scale", "distance", "normalised")
        return {"problem": problem_to_json(self.problem), **{name: getattr(self, name) for name in names}}


class SoftKMeansTask(AdaptedTask):
    """Answers by distance to the class means.

    Args:
      rule: says what a distance is.
      learner: of the features.
      state: its state after the support set.
      context: of the episode.
      start: the learner's parameters.
      means: of the classes, `[ways, features]`.
      counts: of support examples by class, `[ways]`.
      scale: of squared distances, a scalar.
    """

    def __init__(
        self,
        rule: SoftKMeans,
        learner: Learner,
        state: State,
        context: Any,
        start: Parameters,
        means: tf.Tensor,
        counts: tf.Tensor,
        scale: tf.Tensor,
    ) -> None:
        super().__init__(learner, state, context)
        self.rule = rule
        self.start, self.means, self.counts, self.scale = start, means, counts, scale

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features, and logits that fall with the distance to each class mean."""
        forward = self.learner.call(self.start, self.state, inputs, self.context, training=False)
        return forward.features, self._logits(forward.outputs)

    def answer(self, features: Any) -> tf.Tensor:
        """Likewise for features."""
        return self._logits(self.learner.read(self.start.head, self.state.head, features, training=False)[0])

    def _logits(self, outputs: Any) -> tf.Tensor:
        return self.rule.closeness(self.rule.embedded(outputs), self.means, self.counts, self.scale)


def _means(sums: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(sums, counts[:, tf.newaxis])


def _checked(refinements: int) -> int:
    if not isinstance(refinements, int) or refinements < 0:
        raise UserError(f"refinements must be a whole number of 0 or more, received {refinements!r}.")
    return refinements


@dataclass(frozen=True)
class SoftKMeansOptions:
    """Options of `SoftKMeans`."""

    refinements: int = option(1, "number of times the queries refine the class means", least=0)
    scale: float = option(1.0, "initial factor of the distances", above=0)
    distance: str = option("squared", "distance between features and class means", choices=_DISTANCES)
    normalised: bool = option(False, "divide features by their length first")


def _faults(settings: Settings) -> list[str]:
    return faults_without_classes("soft_k_means", settings)


@register(
    "rule",
    "soft_k_means",
    SoftKMeansOptions,
    faults=_faults,
    head=False,
    steps=True,
    any_ways=lambda settings: True,
    transductive=lambda settings: True,
)
def _soft_k_means(options: SoftKMeansOptions, given: Given) -> SoftKMeans:
    """Class means that the queries refine; transductive (arXiv 1803.00676)."""
    return SoftKMeans(given.problem, **vars(options))
