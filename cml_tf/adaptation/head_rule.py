"""Rules whose task is another linear layer at the end of the head: the features do not adapt.

A rule of this kind is one function from support features to a kernel and a bias; what it needs besides (packing,
saving, what stands in the way of a learner) is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner, State
from cml_tf.learners.linear_head import LinearHead
from cml_tf.problems import Problem, problem_to_json


class HeadTask(AdaptedTask):
    """The learner with another last layer.

    Example: in that of `GradientFlow`.

    Args:
      learner: of the features.
      state: its state after the support set.
      context: of the episode.
      initial: what adaptation started from; its extractor is used as it is.
      kernel: of the task, `[width, outputs]`.
      bias: of the task, `[outputs]`.
    """

    def __init__(
        self, learner: Learner, state: State, context: Any, initial: Initial, kernel: tf.Tensor, bias: tf.Tensor
    ) -> None:
        super().__init__(learner, state, context)
        dtypes = [value.dtype for value in initial.parameters.head]
        self.kernel, self.bias = kernel, bias
        head = (tf.cast(kernel, dtypes[0]), tf.cast(bias, dtypes[1]))
        self.parameters = initial.parameters._replace(head=head)

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs."""
        assert self.parameters is not None
        forward = self.learner.call(self.parameters, self.state, inputs, self.context, training=False)
        return forward.features, forward.outputs

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The kernel and the bias."""
        return self.kernel, self.bias


class HeadRule(AdaptationRule):
    """Adapts the last layer of the head in one go.

    Example: that of `GradientFlow`.

    Args:
      problem: what the targets mean.
    """

    answers_through_head = True

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    @abstractmethod
    def fit(
        self, rows: tf.Tensor, support: Examples, kernel: tf.Tensor, bias: tf.Tensor, initial: Initial
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias of a task.

        Args:
          rows: what the head's layer reads of the support examples, `[support, width]`.
          support: the examples; `self.problem.as_vectors` makes their targets `[support, outputs]`.
          kernel: as it was meta-learned, `[width, outputs]`.
          bias: likewise, `[outputs]`.
          initial: with the values of the rule's `meta_variables`, and scheduled numbers.
        """

    def build(self, learner: Learner) -> None:
        """Checks the head; subclasses make their variables.

        Raises:
          UserError: for a head that is not one linear layer behind layers without weights.
        """
        LinearHead(learner)

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> HeadTask:
        """One pass over the support set, and `fit`."""
        head = LinearHead(learner)
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, True, support.targets)
        kernel, bias = self.fit(head.rows(forward.features), support, *head.weights(initial.parameters), initial)
        return HeadTask(learner, forward.state, context, initial, kernel, bias)

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> HeadTask:
        """The learner's own last layer, on features as the support set leaves them."""
        forward = learner.call(initial.parameters, initial.state, support.inputs, context, True, support.targets)
        return HeadTask(learner, forward.state, context, initial, *LinearHead(learner).weights(initial.parameters))

    def adapts(self, learner: Learner) -> frozenset[str]:
        """The head."""
        return frozenset({"head"})

    def state_spec(self, learner: Learner) -> Specification:
        """The kernel and the bias."""
        head = LinearHead(learner)
        return (
            tf.TensorSpec([head.width, head.outputs], head.dtype, "adapted_kernel"),
            tf.TensorSpec([head.outputs], head.dtype, "adapted_bias"),
        )

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> HeadTask:
        """The task of a kernel and a bias."""
        kernel, bias = tensors
        return HeadTask(learner, state, context, initial, kernel, bias)

    def get_config(self) -> dict[str, Any]:
        """The problem; subclasses add their arguments."""
        return {"problem": problem_to_json(self.problem)}
