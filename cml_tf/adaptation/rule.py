"""The adaptation axis: what turns an initial learner and a support set into a predictor for the task.

A rule is a record of pure functions plus the variables it meta-learns. It sees one task at a time (no task axis): the
meta-step and the exported graph map it over tasks, which is what keeps tasks independent of each other.

A rule says what the rest must know of it (whether it takes steps, looks at the queries, packs its tasks, ...). Trainer,
evaluator, readouts, model files and export ask for that, never for its type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cml_tf.adaptation.observed import Pace, Trace
from cml_tf.adaptation.packing import (
    Specification,
    pack,
    threaded,
    threaded_specification,
    unpack,
    with_threaded,
)
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters, State
from cml_tf.problems import Problem, problem_from_json


class Scheduled(NamedTuple):
    """A number that changes while the outer loop trains.

    Example:
      >>> shrinking = Scheduled(lambda step: 1 / (step + 1), final=0.0)
      >>> shrinking.at(3), shrinking.final
      (0.25, 0.0)

    Attributes:
      at: gives it for an outer step, the first one being 0.
      final: what it is after training: in validation, evaluation and export.
    """

    at: Callable[[int], float]
    final: float


Schedules = Mapping[str, Scheduled]
"""Scheduled numbers by name."""


class Initial(NamedTuple):
    """Everything meta-learned that adaptation starts from, as tensors, so that gradients can be taken.

    Example: in that of `AdaptationRule`.

    Attributes:
      parameters: the learner's initial parameters.
      state: the learner's initial state.
      meta: values of the rule's `meta_variables`.
      scalars: values of the method's `schedules` at this outer step, by name.
    """

    parameters: Parameters
    state: State
    meta: tuple[tf.Tensor, ...]
    scalars: dict[str, tf.Tensor] = {}


class AdaptedTask(ABC):
    """A predictor for one task.

    Example: in that of `AdaptationRule`.

    Args:
      learner: that predicts, whole or in part.
      state: the learner's state after adaptation. What it threads belongs to the task and is packed with it.
      context: of the episode.

    Attributes:
      parameters: the learner's parameters that it predicts with; None where a task has none of its own.
    """

    parameters: Parameters | None = None

    def __init__(self, learner: Learner, state: State, context: Any) -> None:
        self.learner = learner
        self.state = state
        self.context = context

    @abstractmethod
    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs for inputs `[examples, ...]` of the task."""

    def answer(self, features: Any) -> Any:
        """Outputs for features: those that `predict` gives for inputs that have these features.

        Args:
          features: as `predict` gives them, `[examples, ...]`.

        Raises:
          UserError: for a task without parameters of its own that does not say how it answers.
        """
        if self.parameters is None:
            raise UserError(f"{type(self).__name__} does not define answer, so its features cannot be read: define it.")
        return self.learner.read(self.parameters.head, self.state.head, features, training=False)[0]

    def among_present(self, outputs: Any) -> Any:
        """Another head's outputs, without those of classes that this task is known not to have; all by default."""
        return outputs

    @property
    def path(self) -> Sequence[AdaptedTask] | None:
        """The predictors before the first step and after each one, the last of which is this task; None without."""
        return None

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """What adaptation learned, as the rule's `state_spec` says; the learner's state is not among it.

        Raises:
          UserError: if the rule does not pack its tasks.
        """
        raise UserError(f"{type(self).__name__} cannot be packed, since its rule has no task state: predict directly.")

    def pack(self) -> tf.Tensor:
        """The tensors and the threaded state as one flat float32 vector."""
        return pack([*self.tensors(), *threaded(self.learner, self.state)])


class AdaptationRule(ABC):
    """Turns (initial learner, support) into a predictor. Rules do not own the learner's weights.

    Example:
      >>> rule = GradientDescent(cml_tf.Classification(2), SGD(0.1), steps=3)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Attributes:
      steps: how many inner steps it takes (an integer, or an int32 scalar); None if it takes none.
      inner_rate: the rate of its steps, where that is one number which is not learned; else None.
      uses_query_inputs: whether `adapt` is given the query inputs (transductive); a rule that does not ask never sees
        them. Such a task cannot be packed: other queries would ask for another one.
      second_order: whether its meta-gradient needs second derivatives of the learner.
      vectorisable: whether all tasks of a meta-batch can be adapted to at once.
      any_ways: whether classes without a support example are left out, so that a task may have any number of them.
      answers_through_head: whether the outputs of its tasks are the head's, so that the head must fit the problem.
      schedules: numbers that change with the outer step, which `adapt` finds in `initial.scalars`.
      meta_variables: what the rule meta-learns besides the learner (inner rates, for example), made by `build`.
    """

    steps: int | tf.Tensor | None = None
    inner_rate: float | None = None
    uses_query_inputs: bool = False
    second_order: bool = False
    vectorisable: bool = False
    any_ways: bool = False
    answers_through_head: bool = False
    schedules: Schedules = MappingProxyType({})

    def __init__(self) -> None:
        self.meta_variables: tuple[keras.Variable, ...] = ()

    @property
    def answers_unadapted(self) -> bool:
        """Whether `unadapted` gives outputs like those of tasks, so that the two have losses of one kind.

        A rule that does not answer through the head, and defines `unadapted`, says True.
        """
        return self.answers_through_head

    @property
    def name(self) -> str:
        """What model cards call it."""
        return type(self).__name__

    def build(self, learner: Learner) -> None:
        """Makes `meta_variables`, once; called before anything else, and harmless when called again."""

    def initial(self, learner: Learner) -> Initial:
        """The current values of the learner's and this rule's variables, and scheduled numbers as after training."""
        parameters, state = learner.initial()
        meta = tuple(tf.convert_to_tensor(variable) for variable in self.meta_variables)
        return Initial(parameters, state, meta, final_values(self.schedules))

    def check_meta(self, initial: Initial) -> None:
        """Raises UserError unless as many meta-learned tensors are given as this rule has variables."""
        if len(initial.meta) != len(self.meta_variables):
            raise UserError(
                f"initial.meta must hold {len(self.meta_variables)} tensors for {self.name}, received "
                f"{len(initial.meta)}: take initial from this rule's own initial(learner), or from its method's."
            )

    @abstractmethod
    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> AdaptedTask:
        """Adapts to one task.

        Args:
          learner: the functions to call.
          initial: the tensors to start from. Nothing differentiable is read from anywhere else.
          support: examples of one task, `[examples, ...]`.
          context: the episode's context.
          query_inputs: the inputs to be predicted, only if `uses_query_inputs`.
        """

    def first_gradients(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> Parameters:
        """The support loss' gradients that the first inner step follows; a group that does not move is empty.

        Raises:
          UserError: if the rule does not take steps.
        """
        raise UserError(f"{type(self).__name__} takes no inner steps, so there is no first gradient: use another rule.")

    def check_watched(self) -> None:
        """Raises UserError unless `adapt_watched` works: by default."""
        raise UserError(
            f"{type(self).__name__} takes no steps of gradient descent, so nobody can ask for some of them: "
            "leave out most_steps."
        )

    def adapt_watched(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, pace: Pace
    ) -> tuple[AdaptedTask, Trace]:
        """Adapts as far as `pace` says, and tells what each step did (`cml_tf.adaptation.observed`)."""
        self.check_watched()
        raise NotImplementedError(f"{type(self).__name__} must define adapt_watched.")

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> AdaptedTask:
        """What answers if adaptation fails, and what it is compared with: the learner as it was meta-learned."""
        return Unadapted(learner, initial, context)

    def support_loss(self, problem: Problem, task: AdaptedTask, support: Examples) -> tf.Tensor:
        """How badly a task fits the examples it was adapted to: a scalar, the mean loss of its predictions."""
        _, outputs = task.predict(support.inputs)
        return tf.reduce_mean(problem.losses(tf.nest.flatten(outputs)[0], support.targets))

    def adapts(self, learner: Learner) -> frozenset[str]:
        """Which groups of the learner's parameters a task has of its own: of `extractor` and `head`."""
        return frozenset()

    def state_spec(self, learner: Learner) -> Specification | None:
        """Name, shape and dtype of each tensor of a task (`AdaptedTask.tensors`); None if it cannot be packed.

        A first axis that is open is the number of support examples: the state grows with them.
        """
        return None

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> AdaptedTask:
        """The task that has these tensors; the inverse of `AdaptedTask.tensors` for rules with a `state_spec`."""
        raise UserError(f"{type(self).__name__} has no task state, so none can be restored.")

    def packed_spec(self, learner: Learner) -> Specification | None:
        """What a packed task holds, the learner's threaded state included; None if it cannot be packed."""
        own = None if self.uses_query_inputs else self.state_spec(learner)
        return None if own is None else (*own, *threaded_specification(learner))

    def state_origin(self, learner: Learner, initial: Initial) -> Sequence[tf.Tensor]:
        """What the tensors of a task are near to before anything was adapted; by default zeros. For a fixed length."""
        return [tf.zeros(spec.shape, spec.dtype) for spec in self.state_spec(learner) or ()]

    def packed_origin(self, learner: Learner, initial: Initial) -> tf.Tensor:
        """The same of a packed task: what it differs from is all that a server need hand out."""
        return pack([*self.state_origin(learner, initial), *threaded(learner, initial.state)])

    def unpack(self, learner: Learner, initial: Initial, packed: tf.Tensor, context: Any) -> AdaptedTask:
        """The inverse of `AdaptedTask.pack`, for the same initial learner.

        Raises:
          UserError: if the rule does not pack its tasks.
        """
        specification = self.packed_spec(learner)
        if specification is None:
            raise UserError(f"{type(self).__name__} has no task state, so none can be restored.")
        tensors = unpack(packed, specification)
        own = len(tensors) - len(threaded_specification(learner))
        state = with_threaded(learner, initial.state, tensors[own:])
        return self.restore(learner, initial, tensors[:own], state, context)

    def with_steps(self, steps: int) -> AdaptationRule:
        """This rule with another number of inner steps, sharing its meta-variables.

        Raises:
          UserError: if the rule does not take steps.
        """
        raise UserError(f"{type(self).__name__} takes no inner steps, received {steps}: leave out steps.")

    def of_first_order(self) -> AdaptationRule:
        """This rule with inner gradients as constants of the outer loop; itself where there are none."""
        return self

    def for_devices(self) -> AdaptationRule:
        """This rule of such operations as interpreters on devices have; itself where that cannot be bettered."""
        return self

    def through_head(self, head_shapes: tuple[tuple[int, ...], ...]) -> AdaptationRule:
        """This rule for a learner with another head, which stays as it is while the extractor adapts.

        Args:
          head_shapes: of the parameters of the head that this rule was built for.

        Raises:
          UserError: if the rule does not adapt the extractor through the head.
        """
        raise UserError(f"{type(self).__name__} does not adapt the features through a head: use the readout 'learner'.")

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again, as JSON; needed to save a model.

        Raises:
          UserError: if the rule does not say.
        """
        raise UserError(
            f"{type(self).__name__} does not define get_config, so it cannot be saved: define get_config, or load the "
            "run instead."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdaptationRule:
        """Makes the rule again; a `problem` among its arguments is there as `problem_to_json` described it."""
        problem = config.get("problem")
        return cls(**{**config, **({} if problem is None else {"problem": problem_from_json(problem)})})


def final_values(schedules: Schedules) -> dict[str, tf.Tensor]:
    """What scheduled numbers are after training, of the default floating point type."""
    return {name: tf.constant(one.final, keras.config.floatx()) for name, one in schedules.items()}


class Unadapted(AdaptedTask):
    """The learner as it was meta-learned."""

    def __init__(self, learner: Learner, initial: Initial, context: Any) -> None:
        super().__init__(learner, initial.state, context)
        self.parameters = initial.parameters

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs under the initial parameters."""
        assert self.parameters is not None
        forward = self.learner.call(self.parameters, self.state, inputs, self.context, training=False)
        return forward.features, forward.outputs
