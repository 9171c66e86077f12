"""A method as export sees it: what it answers, from which inputs, with which variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import keras
import tensorflow as tf

from cml_tf.adaptation import AdaptationRule, AdaptedTask, Initial
from cml_tf.adaptation.packing import Specification, is_fixed, packed_size
from cml_tf.datasets.image_files import CHANNELS
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner
from cml_tf.problems import Classification, Problem
from cml_tf.readouts import through_head
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
    """A readout (see `cml_tf.readouts`) that can be served.

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
        term = self.method.terms[0]
        if not term.answers_through_head:
            raise ExportError(
                f"only models that answer through the head that adapted (readouts {through_head()}) can be exported; "
                f"this one answers through {type(term).__name__}."
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
    def rule(self) -> AdaptationRule:
        """How it adapts."""
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
        learner = self.learner
        everything = tf.nest.flatten((tuple(learner.variables), tuple(learner.state_variables)))
        names = learner.variable_names
        named = [(names[id(variable)], variable) for variable in everything]
        own = enumerate(self.rule.meta_variables)
        return [*named, *((f"adaptation/{position:04d}/{variable.name}", variable) for position, variable in own)]

    @cached_property
    def packed_spec(self) -> Specification | None:
        """The tensors in an adapted state, one after the other; None if a task has to be asked whole."""
        return self.rule.packed_spec(self.learner)

    @property
    def packs(self) -> bool:
        """Whether a task can be adapted to once and asked later."""
        return self.packed_spec is not None

    @property
    def state_grows(self) -> bool:
        """Whether an adapted state is the longer, the more support examples there are."""
        return self.packed_spec is not None and not is_fixed(self.packed_spec)

    def state_size(self, support: int | tf.Tensor) -> int | tf.Tensor:
        """The length of an adapted state after so many support examples."""
        return packed_size(self.packed_spec or (), support)

    def predictions(self, adapted: AdaptedTask, inputs: tf.Tensor) -> tf.Tensor:
        """Class probabilities `[examples, ways]` or predictions `[examples, outputs]` of one task, float32."""
        outputs = self.method.terms[0].read(adapted.predict(inputs), ())
        return tf.cast(self.problem.predictions(outputs), tf.float32)

    def support_loss(self, adapted: AdaptedTask, support: Examples) -> tf.Tensor:
        """How badly a task fits what it was adapted to: a float32 scalar (for gradient descent what it lowers)."""
        return tf.cast(self.rule.support_loss(self.problem, adapted, support), tf.float32)
