"""The objective axis: summands of the outer loss, with the variables they own.

A term looks at one task and returns one loss; the meta-step maps terms over tasks, so a meta-batch has losses `[tasks]`
that a task reducer then weighs. Learners never reference terms: whatever a term owns is left behind at export.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.rule import AdaptedTask, Initial, Schedules
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner

Weight = float | Callable[[int], float]
"""A term's factor in the outer loss: one number, or a function of the outer step, the first one being 0."""


@dataclass(frozen=True)
class TaskOutcome:
    """One adapted task, as terms see it (no task axis).

    Example:
      >>> features, outputs = outcome.query_forward
      >>> features.shape, outputs.shape
      (TensorShape([6, 4]), TensorShape([6, 2]))

    Attributes:
      adapted: the predictor for the task.
      initial: what adaptation started from.
      support: the examples that were adapted to.
      query: the examples to be judged on.
      learner: what was adapted.
      context: of the episode.
      key: of the episode, `[2]` whole numbers; `()` where it has none.
      classes: of the split that the labels stand for, `[ways]` whole numbers; `()` where they are not known.
    """

    adapted: AdaptedTask
    initial: Initial
    support: Examples
    query: Examples
    learner: Learner
    context: Any = ()
    key: Any = ()
    classes: Any = ()

    @cached_property
    def query_forward(self) -> tuple[Any, Any]:
        """Features and outputs on the query set; one forward pass that all terms share."""
        return self.adapted.predict(self.query.inputs)

    def key_of(self, salt: int) -> tf.Tensor:
        """A key `[2]` for what a term draws, a pure function of the episode.

        Args:
          salt: of the term, so that no two draw the same numbers.

        Raises:
          UserError: if the episode has no key.
        """
        if not tf.is_tensor(self.key):
            raise UserError(
                "episodes must have a key, from which this objective draws random numbers: pass cml_tf.Episode(..., "
                "key=numbers) with two integers per task, [tasks, 2]."
            )
        return tf.random.fold_in(self.key, salt, alg="philox")


class TermLoss(NamedTuple):
    """A term's loss on one task, a scalar, and scalars to be reported by name.

    Example: in that of `QueryLoss`.
    """

    loss: tf.Tensor
    metrics: dict[str, tf.Tensor]


class ObjectiveTerm(ABC):
    """One summand of the outer loss.

    Example: that of `QueryLoss`.

    Args:
      name: unique among the terms of a method; names its variable group in checkpoints.
      weight: factor in the outer loss (gamma for a co-learner), or a function of the outer step that gives it. It is a
        run-time value: another one retraces nothing.
      trained: whether the outer loop updates `variables`.

    Attributes:
      variables: what the term meta-learns, made by `build`.
      constants: other variables that it reads and a checkpoint must hold (frozen layers).
      layer: a head of its own on the learner's features (a co-learner), None without.
      answers_through_head: whether what it reads is the output of the learner's (first) head, as a served model's is.
      of_co_learner: whether it is a co-learner's share of the outer loss: what CML adds to MAML.
      reported: whether the term says anything about a model that is only looked at; others are left out of validation.
      vectorisable: whether it can be worked out for all tasks at once.
      schedules: numbers that change with the outer step, which the term finds in `outcome.initial.scalars`.
    """

    layer: keras.Layer | None = None
    answers_through_head: bool = False
    of_co_learner: bool = False
    reported: bool = True
    vectorisable: bool = True
    schedules: Schedules = MappingProxyType({})

    def __init__(self, name: str, weight: Weight = 1.0, trained: bool = True) -> None:
        self.name = name
        self.weight = weight
        self.trained = trained
        self.variables: tuple[keras.Variable, ...] = ()
        self.constants: tuple[keras.Variable, ...] = ()

    def weight_at(self, step: int) -> float:
        """The weight of an outer step."""
        return self.weight(step) if callable(self.weight) else self.weight

    def build(self, learner: Learner) -> None:
        """Makes `variables`, once; harmless when called again."""

    @abstractmethod
    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss on one task.

        Args:
          outcome: the adapted task.
          values: of `variables`. Nothing differentiable is read from anywhere else.
        """

    def heed(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Looks at what a training step reported, to warn of what the user should know; it changes nothing.

        Args:
          metrics: of all terms by name, `[tasks]`.
        """

    def read(self, forward: tuple[Any, Any], values: tuple[tf.Tensor, ...]) -> Any:
        """The outputs that this term scores, from features and outputs of any inputs: what makes it a readout.

        Raises:
          NotImplementedError: if the term does not score outputs.
        """
        raise NotImplementedError(f"{type(self).__name__} does not score outputs, so it cannot answer queries.")
