"""A method as export sees it: what it answers, from which inputs, with which variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.gradient_descent import AdaptedLearner, GradientDescent
from cml_tf.adaptation.rule import AdaptedTask, Initial
from cml_tf.datasets.image_files import CHANNELS
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Classification, Problem
from cml_tf.training.answers import check_answers
from cml_tf.training.method import Method
from export.errors import ExportError
from export.requests.arrays import ArrayForm
from export.requests.form import Bucket, RequestForm
from export.requests.graphs import GraphForm


class Limits(NamedTuple):
    """The most examples that a task may have, padding not counted: memory grows with them. None for any number."""

    support: int | None = None
    queries: int | None = None


@dataclass(frozen=True)
class Exportable:
    """A readout (see `cml_tf.readouts.readouts`) that can be served.

    Attributes:
      method: what adapts, how (its inner steps are frozen at export), and which head answers.
      problem: what the outputs mean.
      value_range: smallest and largest input value of training; without meaning for nodes of a graph.
      normalise_features: of learners on nodes: whether in training the features of each node were divided by their sum
        (`cml_tf.graphs.graph_context`).
      buckets: shapes that have signatures of their own (`export.graph.buckets`).
      limits: what a task may hold.
      query_blocks: whether queries are answered block by block, which needs answers that do not depend on each other.

    Raises:
      ExportError: if the graph of a served task cannot be made of it.
    """

    method: Method
    problem: Problem
    value_range: tuple[float, float]
    normalise_features: bool = False
    buckets: tuple[Bucket, ...] = ()
    limits: Limits = Limits()
    query_blocks: bool = False

    def __post_init__(self) -> None:
        rule, term = self.method.rule, self.method.terms[0]
        if not isinstance(rule, GradientDescent):
            raise ExportError(f"only GradientDescent can be exported, received the rule {type(rule).__name__}.")
        if not isinstance(term, QueryLoss):
            raise ExportError(
                "only models that answer through the head that adapted (readouts learner and co_learner) can be "
                f"exported; this one answers through {type(term).__name__}."
            )
        _ = self.form
        try:
            check_answers(self.method, self.problem)
        except ValueError as error:
            raise ExportError(str(error)) from error

    @property
    def learner(self) -> Learner:
        """What is adapted and served."""
        return self.method.learner

    @property
    def rule(self) -> GradientDescent:
        """How it adapts."""
        assert isinstance(self.method.rule, GradientDescent)
        return self.method.rule

    @property
    def classification(self) -> bool:
        """Whether answers are class probabilities."""
        return isinstance(self.problem, Classification)

    @property
    def target_name(self) -> str:
        """The name of the input with what the support examples are."""
        return "support_labels" if self.classification else "support_targets"

    @cached_property
    def form(self) -> RequestForm:
        """What requests look like."""
        if tf.nest.flatten(self.learner.context):
            return GraphForm.of(self.learner, self.normalise_features)
        return ArrayForm.of(self.learner, self.value_range)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.learner.example_inputs.shape[1:])

    @property
    def takes_images(self) -> bool:
        """Whether inputs are what `cml_tf.datasets.image_files` makes of image files."""
        shape = self.input_shape
        return self.classification and len(shape) == 3 and shape[-1] in CHANNELS and self.value_range == (0.0, 1.0)

    @property
    def variables(self) -> Initial:
        """Everything that is served, in the structure that adaptation starts from: Keras variables as leaves."""
        return Initial(self.learner.variables, self.learner.state_variables, tuple(self.rule.meta_variables))

    @property
    def named_variables(self) -> list[tuple[str, keras.Variable]]:
        """The served variables in a fixed order: extractor, head, their state, meta-learned variables of the rule."""
        groups = {
            "extractor": self.learner.variables.extractor,
            "head": self.learner.variables.head,
            "extractor_state": self.learner.state_variables.extractor,
            "head_state": self.learner.state_variables.head,
            "adaptation": tuple(self.rule.meta_variables),
        }
        return [
            (f"{group}/{position:04d}/{variable.name}", variable)
            for group, variables in groups.items()
            for position, variable in enumerate(variables)
        ]

    @cached_property
    def state_layout(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the tensors in an adapted state, one after the other, each row-major."""
        names = {id(variable): name for name, variable in self.named_variables}
        changed = tf.nest.flatten(tuple(self.rule.update_rule.changed(self.learner.variables)))
        flags = tf.nest.flatten(tuple(self.learner.threaded_state()))
        state = tf.nest.flatten(tuple(self.learner.state_variables))
        threaded = [variable for variable, flag in zip(state, flags, strict=True) if flag]
        return [(names[id(variable)], tuple(variable.shape)) for variable in (*changed, *threaded)]

    @property
    def state_size(self) -> int:
        """The length of an adapted state."""
        return sum(int(np.prod(shape)) for _, shape in self.state_layout)

    def predictions(self, adapted: AdaptedTask, inputs: tf.Tensor) -> tf.Tensor:
        """Class probabilities `[examples, ways]` or predictions `[examples, outputs]` of one task, float32."""
        outputs = self.method.terms[0].read(adapted.predict(inputs), ())
        return tf.cast(self.problem.predictions(outputs), tf.float32)

    def support_loss(self, adapted: AdaptedLearner, support: Examples) -> tf.Tensor:
        """What the inner loop lowers: the mean loss on the support set, a float32 scalar."""
        forward = self.learner.call(
            adapted.parameters, adapted.state, support.inputs, adapted.context, True, support.targets
        )
        return tf.cast(self.rule.support_loss(forward.outputs, support.targets), tf.float32)
