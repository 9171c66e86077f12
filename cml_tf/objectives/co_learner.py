"""The co-learner of Cooperative Meta-Learning (Shin et al., UAI 2024, arXiv 2406.04639)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cml_tf.learners.layer_state import check_layer_state, threaded_variables
from cml_tf.learners.learner import Learner, called, functional_call
from cml_tf.objectives.query_loss import scored
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss
from cml_tf.problems import Problem


class CoLearner(ObjectiveTerm):
    """A second head phi on the adapted query features: `L(phi(psi'(x_query)), y)`.

    The inner loop neither sees nor changes phi. Its outer gradient with respect to the initial extractor is a learned
    noise that regularises the meta-gradient.

    Args:
      layer: any Keras layer from the learner's features to outputs.
      problem: gives loss and metric.
      name: of the term and of its variable group.
      weight: gamma.
      trained: False makes it the paper's random-noise co-learner, which is never updated at all.
      prefix: before the names of the reported metrics.
    """

    layer: keras.Layer
    of_co_learner = True

    def __init__(
        self,
        layer: keras.Layer,
        problem: Problem,
        name: str = "co_learner",
        weight: float = 1.0,
        trained: bool = True,
        prefix: str = "co_",
    ) -> None:
        super().__init__(name, weight, trained)
        self.layer = layer
        self.problem = problem
        self.prefix = prefix

    def build(self, learner: Learner) -> None:
        """Builds phi on the learner's features."""
        if self.variables:
            return
        called("co-learner", self.layer, learner.example_features)
        check_layer_state(self.layer, learner.example_features)
        if any(threaded_variables(self.layer)):
            raise ValueError(
                "a co-learner never sees a support set, so its layers cannot keep state of one: use normalisation mode "
                "batch_transductive in it."
            )
        self.variables = tuple(self.layer.trainable_variables)
        self.constants = tuple(self.layer.non_trainable_weights)

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The co-learner's loss on one task."""
        outputs = self.read(outcome.query_forward, values)
        return scored(self.problem, outputs, outcome.query.targets, self.prefix)

    def read(self, forward: tuple[Any, Any], values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Phi's outputs on the features."""
        return functional_call(self.layer, self.variables, values, (), forward[0], training=False)[0]
