"""A method as export sees it: what it answers, from which inputs, with which variables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation import AdaptationRule, AdaptedTask, Initial
from cml_tf.adaptation.packing import Specification, is_fixed, pack, packed_size, unpack
from cml_tf.boundary.digest import variables_digest
from cml_tf.datasets.image_files import CHANNELS
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner
from cml_tf.problems import Classification, Problem
from cml_tf.readouts import served_variables, through_head
from cml_tf.readouts.confidence import Confidence, Summary
from cml_tf.training.answers import check_answers
from cml_tf.training.method import Method
from export.errors import ExportError
from export.graph.bounds import Bounds
from export.graph.compact import STATES, CompactStates
from export.requests.arrays import ArrayForm
from export.requests.form import Bucket, RequestForm
from export.requests.graphs import GraphForm


class Limits(NamedTuple):
    """The most examples that a task may have, padding not counted: memory grows with them. None for any number.

    Attributes:
      support: support examples.
      queries: queries.
      query_files: queries that are files: of those that may be any number too, since a short file makes a large image.
    """

    support: int | None = None
    queries: int | None = None
    query_files: int | None = None


class Adapted(NamedTuple):
    """A task that was adapted to, and what confidence has to know of its support set; None where nobody asks."""

    task: AdaptedTask
    summary: Summary | None


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
      confidence: fitted for this model; None for probabilities as they are, and nothing besides.
      bounds: what requests may set of adaptation; None for nothing.
      state: `float32`, or of what kind compact states are that are offered besides.

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
    confidence: Confidence | None = None
    bounds: Bounds | None = None
    state: str = "float32"

    def __post_init__(self) -> None:
        term = self.method.terms[0]
        if not term.answers_through_head:
            raise ExportError(
                f"only models that answer through the head that adapted (readouts {through_head()}) can be exported; "
                f"this one answers through {type(term).__name__}."
            )
        if term.constants:
            raise ExportError(
                f"what answers must have no frozen variables to be exported, received {len(term.constants)} in "
                f"{type(term).__name__}: make them variables of the term, whose values an export keeps."
            )
        self._check_confidence()
        self._check_state()
        if self.bounds is not None:
            object.__setattr__(self, "bounds", self.bounds.of(self.rule))
        _ = self.form, self.readout_values
        try:
            check_answers(self.method, self.problem)
        except ValueError as error:
            raise ExportError(str(error)) from error

    def _check_confidence(self) -> None:
        confidence = self.confidence
        if confidence is None:
            return
        if not isinstance(self.problem, Classification) or confidence.ways != self.problem.ways:
            raise ExportError(f"the confidence must be for {self.problem}, received one of {confidence.ways} ways.")
        if self.bounds is not None:
            raise ExportError(
                "a confidence is fitted for one number of steps and one rate, so requests cannot set them: leave out "
                "confidence or most_steps."
            )
        digest = variables_digest(variable.value for variable in served_variables(self.method))
        steps = None if self.rule.steps is None else int(self.rule.steps)
        if confidence.model != digest or confidence.steps != steps:
            raise ExportError(
                f"the confidence must be of this very model with {steps} inner steps, but was fitted for another "
                f"checkpoint, readout or number of steps ({confidence.steps}): run python -m cml_tf.calibrate again."
            )

    def _check_state(self) -> None:
        if self.state not in STATES:
            raise ExportError(f"state must be one of {', '.join(STATES)}, received {self.state!r}.")
        if self.state == "float32":
            return
        if not self.packs or self.state_grows:
            kind = "grow with the support set" if self.packs else "do not exist, since it adapts to the queries too"
            raise ExportError(
                f"state must be float32 for a model whose adapted states {kind}, received {self.state!r}."
            )
        if self.confidence is not None and self.state == "int8":
            raise ExportError(
                "state must be float32 or float16 for a model with a confidence, whose states carry counts, received "
                "'int8'."
            )

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
        names = self.learner.variable_names
        own = enumerate(self.rule.meta_variables)
        names = names | {id(variable): f"adaptation/{position:04d}/{variable.name}" for position, variable in own}
        return [(names[id(variable)], variable) for variable in tf.nest.flatten(self.variables)]

    @cached_property
    def readout_values(self) -> tuple[np.ndarray, ...]:
        """Of the variables of what answers: numbers in the graph, like a confidence's, since no state depends on them.

        Read before any graph is made, in which a variable has no value yet.
        """
        return tuple(keras.ops.convert_to_numpy(variable) for variable in self.method.terms[0].variables)

    @cached_property
    def packed_spec(self) -> Specification | None:
        """The tensors in an adapted state, one after the other; None if a task has to be asked whole."""
        own = self.rule.packed_spec(self.learner)
        return None if own is None else (*own, *self._summary_spec)

    @cached_property
    def _summary_spec(self) -> Specification:
        return () if self.confidence is None else self.confidence.summary_spec(self.learner)

    @property
    def packs(self) -> bool:
        """Whether a task can be adapted to once and asked later."""
        return self.packed_spec is not None

    @property
    def state_grows(self) -> bool:
        """Whether an adapted state is the longer, the more support examples there are."""
        return self.packed_spec is not None and not is_fixed(self.packed_spec)

    @cached_property
    def compact(self) -> CompactStates | None:
        """What makes small states; None where they are not offered."""
        if self.state == "float32":
            return None
        return CompactStates(self.state, tuple(spec.shape.num_elements() for spec in self.packed_spec or ()))

    def origin(self, initial: Initial) -> tf.Tensor:
        """What compact states are the difference from, float32 `[state]`; of confidence's summary zeros."""
        own = self.rule.packed_origin(self.learner, initial)
        return tf.concat([own, tf.zeros([int(packed_size(self._summary_spec))])], 0)

    def state_size(self, support: int | tf.Tensor) -> int | tf.Tensor:
        """The length of an adapted state after so many support examples."""
        return packed_size(self.packed_spec or (), support)

    def adapted(self, task: AdaptedTask, support: Examples) -> Adapted:
        """A task with what confidence has to know of its support set."""
        return Adapted(task, None if self.confidence is None else self.confidence.summary(task, support))

    def pack(self, adapted: Adapted) -> tf.Tensor:
        """The adapted state: one flat float32 vector, as `packed_spec` says."""
        summary = () if adapted.summary is None else adapted.summary
        return tf.concat([adapted.task.pack(), pack(summary)], 0) if summary else adapted.task.pack()

    def unpack(self, initial: Initial, packed: tf.Tensor, context: Any) -> Adapted:
        """The inverse of `pack`."""
        tail = int(packed_size(self._summary_spec))
        summary = None
        if self._summary_spec:
            counts, *means = unpack(packed[-tail:], self._summary_spec)
            summary = Summary(counts, means[0] if means else tf.zeros([self.problem.outputs, 0]))
            packed = packed[:-tail]
        return Adapted(self.rule.unpack(self.learner, initial, packed, context), summary)

    def support_counts(self, packed: np.ndarray) -> np.ndarray:
        """Support examples by class, `[ways]`, as the adapted state of a model with confidence carries them."""
        first = len(packed) - int(packed_size(self._summary_spec))
        return packed[first : first + self.problem.outputs]

    @property
    def answer_name(self) -> str:
        """The name of the output that every model has: `probabilities` or `predictions`."""
        return "probabilities" if self.classification else "predictions"

    @cached_property
    def query_outputs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of what a query is answered, by name; axis 0 counts queries."""
        answer = {self.answer_name: tf.TensorSpec([None, self.problem.outputs], tf.float32)}
        return answer | ({} if self.confidence is None else self.confidence.outputs)

    def answers(self, adapted: Adapted, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the queries of one task are answered, by name: class probabilities or predictions, and confidence."""
        features, outputs = adapted.task.predict(inputs)
        outputs = self.method.terms[0].read((features, outputs), tuple(map(tf.constant, self.readout_values)))
        answers = {self.answer_name: tf.cast(self.problem.predictions(outputs), tf.float32)}
        if self.confidence is None or adapted.summary is None:
            return answers
        return answers | self.confidence.answers(outputs, features, adapted.summary)

    def blank(self, queries: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers that say nothing: uniform probabilities, or zeros."""
        outputs = self.problem.outputs
        answers = {self.answer_name: tf.fill([queries, outputs], 1.0 / outputs if self.classification else 0.0)}
        return answers | ({} if self.confidence is None else self.confidence.blank(queries))

    def support_loss(self, adapted: AdaptedTask, support: Examples) -> tf.Tensor:
        """How badly a task fits what it was adapted to: a float32 scalar (for gradient descent what it lowers)."""
        return tf.cast(self.rule.support_loss(self.problem, adapted, support), tf.float32)
