"""The adaptation axis: what turns an initial learner and a support set into a predictor for the task.

A rule is a record of pure functions plus the variables it meta-learns. It sees one task at a time (no task axis): the
meta-step and the exported graph map it over tasks, which is what keeps tasks independent of each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner, Parameters, State


class Initial(NamedTuple):
    """Everything meta-learned that adaptation starts from, as tensors, so that gradients can be taken.

    Attributes:
      parameters: the learner's initial parameters.
      state: the learner's initial state.
      meta: values of the rule's `meta_variables`.
    """

    parameters: Parameters
    state: State
    meta: tuple[tf.Tensor, ...]


class AdaptedTask(ABC):
    """A predictor for one task."""

    @abstractmethod
    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs for inputs `[examples, ...]` of the task."""

    @property
    def iterates(self) -> Sequence[AdaptedTask]:
        """The predictors on the way: before the first step, after each step. The last one equals this task.

        Raises:
          NotImplementedError: if the rule has no steps.
        """
        raise NotImplementedError(f"{type(self).__name__} has no iterates: its rule does not take steps.")

    @abstractmethod
    def pack(self) -> tf.Tensor:
        """What adaptation learned, as one flat float32 vector (its length may depend on the support set)."""


class AdaptationRule(ABC):
    """Turns (initial learner, support) into a predictor. Rules do not own the learner's weights.

    Attributes:
      answers_through_head: whether the outputs of its tasks are the head's, so that the head must fit the problem.
      uses_query_inputs: whether `adapt` is given the query inputs; a rule that does not ask never sees them.
      meta_variables: what the rule meta-learns besides the learner (inner rates, for example), made by `build`.
    """

    answers_through_head: bool = False
    uses_query_inputs: bool = False

    def __init__(self) -> None:
        self.meta_variables: tuple[keras.Variable, ...] = ()

    def build(self, learner: Learner) -> None:
        """Makes `meta_variables`, once; called before anything else, and harmless when called again."""

    def initial(self, learner: Learner) -> Initial:
        """The current values of the learner's and this rule's variables."""
        parameters, state = learner.initial()
        return Initial(parameters, state, tuple(tf.convert_to_tensor(variable) for variable in self.meta_variables))

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

    @abstractmethod
    def unpack(self, learner: Learner, initial: Initial, packed: tf.Tensor, context: Any) -> AdaptedTask:
        """The inverse of `AdaptedTask.pack`, for the same initial learner."""

    def with_steps(self, steps: int) -> AdaptationRule:
        """This rule with another number of inner steps, sharing its meta-variables.

        Raises:
          ValueError: if the rule does not take steps.
        """
        raise ValueError(f"{type(self).__name__} does not take inner steps, so {steps} steps cannot be asked of it.")
