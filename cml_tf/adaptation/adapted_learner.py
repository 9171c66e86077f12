"""The learner under a task's parameters: what gradient descent adapts to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.class_rows import masked
from cml_tf.adaptation.rule import AdaptedTask
from cml_tf.adaptation.updates.update_rule import UpdateRule
from cml_tf.learners.learner import Learner, Parameters, State


class AdaptedLearner(AdaptedTask):
    """The learner under a task's parameters.

    Example:
      >>> rule = GradientDescent(cml_tf.Classification(2), SGD(0.1), steps=3)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> len(task.path)
      4

    Args:
      learner: that was adapted.
      update_rule: which parameters it changes.
      parameters: what forward passes use.
      state: the learner state after adaptation.
      context: of the episode.
      present: which classes the task has, booleans `[ways]` (`cml_tf.adaptation.class_rows`); None for all.

    Attributes:
      make_path: makes all predictors from the first to this one; None where the inner loop left no path.
    """

    parameters: Parameters

    def __init__(
        self,
        learner: Learner,
        update_rule: UpdateRule,
        parameters: Parameters,
        state: State,
        context: Any,
        present: tf.Tensor | None = None,
    ) -> None:
        super().__init__(learner, state, context)
        self.update_rule = update_rule
        self.parameters = parameters
        self.present = present
        self.make_path: Callable[[], Sequence[AdaptedLearner]] | None = None

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs of the adapted learner."""
        forward = self.learner.call(self.parameters, self.state, inputs, self.context, training=False)
        return forward.features, self.among_present(forward.outputs)

    def answer(self, features: Any) -> Any:
        """Outputs of the adapted head for features."""
        return self.among_present(super().answer(features))

    def among_present(self, outputs: Any) -> Any:
        """Logits, those of absent classes being `ABSENT`."""
        return outputs if self.present is None else masked(outputs, self.present)

    @property
    def path(self) -> Sequence[AdaptedLearner] | None:
        """Predictors before the first step and after each one."""
        return None if self.make_path is None else self.make_path()

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """Which classes there are (where not all), and the changed parameters in learner order."""
        present = () if self.present is None else (tf.cast(self.present, tf.float32),)
        return (*present, *tf.nest.flatten(tuple(self.update_rule.changed(self.parameters))))
