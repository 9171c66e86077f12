"""Task reducers: how the losses of a meta-batch become the outer loss. A new reducer is a new class that registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import keras
import tensorflow as tf

from cml_tf.learners.learner import Learner
from cml_tf.registry import Given, register

TaskGradients = Mapping[str, tuple[tf.Tensor, ...]]
"""Each task's gradient of its own loss: by group of variables, `[tasks, ...]` a variable. The learner's two groups are
`extractor` and `head`; the others are those of `Method.trained_variables`."""


class TaskReducer(ABC):
    """From losses `[tasks]` to the outer loss.

    Its derivative with respect to a task's loss is how much that task's gradient counts; gradients themselves are
    constants to it.

    Example: that of `MeanOverTasks`.

    Attributes:
      variables: what it meta-learns, made by `build`; a group of its own, `reducer`, in optimisers and checkpoints.
      is_mean: whether it is the mean over tasks, and without variables: then a meta-batch may be worked on in parts,
        whose outer losses and gradients are averaged.
      compares: groups of `TaskGradients` that it reads; None for all. Of those of other replicas it sees no others.
    """

    is_mean: bool = False
    compares: tuple[str, ...] | None = None

    def __init__(self) -> None:
        self.variables: tuple[keras.Variable, ...] = ()

    def build(self, learner: Learner) -> None:
        """Makes `variables`, once; harmless when called again."""

    @abstractmethod
    def __call__(self, losses: tf.Tensor, gradients: TaskGradients, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """The outer loss, a scalar.

        Args:
          losses: of the tasks, `[tasks]`.
          gradients: of the tasks.
          values: of `variables`.
        """


class MeanOverTasks(TaskReducer):
    """The mean.

    Example:
      >>> from cml_tf.objectives import MeanOverTasks
      >>> float(MeanOverTasks()(tf.constant([1.0, 3.0]), {}, ()))
      2.0
    """

    is_mean = True
    compares = ()

    def __call__(self, losses: tf.Tensor, gradients: TaskGradients, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """The mean of `[tasks]`."""
        return tf.reduce_mean(losses)


@register("reducer", "mean")
def _mean(options: object, given: Given) -> MeanOverTasks:
    """The mean over tasks."""
    return MeanOverTasks()
