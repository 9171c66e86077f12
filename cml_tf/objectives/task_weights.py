"""Task weights: a task counts more, the more its gradient agrees with the mean gradient of the meta-batch.

Ours, after the abstract of AMFS, whose paper could not be read; not a reproduction of it. For the losses L_i of a
meta-batch of tasks, and g_i the gradient of L_i with respect to the head's initial parameters, all in one vector:

    c_i  = cosine of the angle between g_i and the mean of all g;  0 where one of the two is shorter than 1e-12
    w    = stop_gradient(softmax(agreement * c))
    loss = sum over tasks of w_i L_i

L_i is all that the outer loss has of the task, a co-learner's share and losses on the way included. The head alone is
asked, since it is small, and since every method that answers through it has a gradient there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.objectives.reducers import TaskGradients, TaskReducer
from cml_tf.problems import at_least_float32
from cml_tf.registry import Given, Settings, member, option, register

# Below this length a gradient has no direction worth asking for.
_SHORTEST = 1e-12


class TaskWeights(TaskReducer):
    """The sum of the losses, weighed by how well the tasks' gradients agree.

    Args:
      agreement: factor of the cosines, 0 (the mean over tasks) or more. No task outweighs another one by more than
        `exp(2 * agreement)`.

    Example:
      >>> from cml_tf.objectives import TaskWeights
      >>> gradients = {"head": (tf.constant([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]),)}
      >>> losses = tf.constant([0.0, 0.0, 1.0])
      >>> round(float(TaskWeights()(losses, gradients, ())), 6)
      0.063379

    Raises:
      UserError: for a factor that is negative or not finite.
    """

    compares = ("head",)

    def __init__(self, agreement: float = 1.0) -> None:
        super().__init__()
        if not 0 <= agreement < np.inf:
            raise UserError(f"agreement must be 0 or more, received {agreement!r}: choose such a number.")
        self.agreement = agreement

    def build(self, learner: Learner) -> None:
        """Looks whether there is something to weigh by.

        Raises:
          UserError: for a learner whose head has no trainable weights.
        """
        if not learner.variables.head:
            raise UserError(
                "task weights need a head with trainable weights, by whose gradients tasks are compared, received "
                "a head without: use a learner with a linear head, or the mean over tasks."
            )

    def __call__(self, losses: tf.Tensor, gradients: TaskGradients, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """The weighed sum of `[tasks]`."""
        weights = tf.nn.softmax(self.agreement * agreements(gradients["head"]))
        return tf.reduce_sum(tf.stop_gradient(tf.cast(weights, losses.dtype)) * losses)


def agreements(gradients: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """Cosines between each task's gradient and the mean one, `[tasks]`.

    Args:
      gradients: `[tasks, ...]` of each variable.
    """
    flat = tf.concat([at_least_float32(tf.reshape(one, [tf.shape(one)[0], -1])) for one in gradients], 1)
    mean = tf.reduce_mean(flat, 0)
    lengths, length = tf.norm(flat, axis=1), tf.norm(mean)
    cosines = tf.math.divide_no_nan(tf.reduce_sum(flat * mean, 1), lengths * length)
    # Written so that a gradient which is not a number is not taken for a short one: the step must not be made then.
    short = (lengths < _SHORTEST) | (length < _SHORTEST)
    return tf.where(short, tf.zeros_like(cosines), cosines)


@dataclass(frozen=True)
class TaskWeightsOptions:
    """Options of `TaskWeights`."""

    agreement: float = option(
        1.0, "factor of the cosine between a task's gradient and the mean one; 0 for the mean over tasks", least=0
    )


def _faults(settings: Settings) -> list[str]:
    if not member("rule", rule := settings["adaptation.rule"]).traits["head"]:
        return [
            "objective.reducer must be 'mean' with a rule that does not answer through the learner's head, by whose "
            f"gradients tasks are compared, received 'task_weights' and {rule}."
        ]
    if settings.get("learner.head", "linear") != "linear":
        return [
            "objective.reducer must be 'mean' with a head without weights, by whose gradients tasks would be "
            f"compared, received 'task_weights' and learner.head {settings['learner.head']!r}."
        ]
    return []


@register("reducer", "task_weights", TaskWeightsOptions, faults=_faults)
def _task_weights(options: TaskWeightsOptions, given: Given) -> TaskWeights:
    """Tasks weighed by how well their gradients agree with the mean one (ours, after AMFS)."""
    return TaskWeights(options.agreement)
