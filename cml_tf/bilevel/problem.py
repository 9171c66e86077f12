"""A bilevel problem, and its lower problem as the inner loop that hypergradients of `cml_tf.adaptation` run.

There is no learner and no support set here: y stands where the parameters stand, x where the meta-variables of an
update rule stand, and the lower loss where the support loss stands. What differentiates the loop cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cml_tf.adaptation import SGD, InnerLoop, Iterate, RuleState
from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.adaptation.updates import Gradients
from cml_tf.bilevel.descent_aggregation import DescentAggregation
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Parameters, State

Loss = Callable[[Any, Any], tf.Tensor]
"""A scalar of y and x."""


@dataclass(frozen=True)
class BilevelProblem:
    """Two losses: y lowers the lower one, and x is to lower the upper one by where that leads y.

    Both are pure functions of y and x: what a gradient is wanted of is an argument, never a variable that they read.
    Data may be read from anywhere.

    Example:
      >>> problem = cml_tf.bilevel.BilevelProblem(
      ...     lower=lambda y, x: tf.reduce_sum(tf.square(y - x)), upper=lambda y, x: tf.reduce_sum(tf.square(y - 1.0))
      ... )
      >>> float(problem.upper(tf.constant([3.0]), tf.constant([0.0])))
      4.0

    Attributes:
      lower: what the inner steps lower by moving y, a scalar.
      upper: what x is to lower, a scalar.
    """

    lower: Loss
    upper: Loss


@dataclass(frozen=True)
class FlatProblem:
    """A problem whose y and x are lists of tensors, with the steps on its lower loss.

    Attributes:
      problem: of the caller, on structures.
      y: the structure of y.
      x: the structure of x.
      steps: how many: an integer, or an int32 scalar that is known only when the graph runs.
      rule: makes a step of a gradient.
      aggregation: what else the steps follow.
    """

    problem: BilevelProblem
    y: Any
    x: Any
    steps: int | tf.Tensor
    rule: SGD
    aggregation: DescentAggregation | None = None

    def loop(self, y: Sequence[tf.Tensor], x: Sequence[tf.Tensor]) -> InnerLoop:
        """The inner loop that starts at y."""
        return InnerLoop(
            field=self._field,
            follow=self._follow,
            loss=self._loss,
            moved=self.rule.moved,
            # The number of the step that comes next.
            start=Iterate(Parameters((), tuple(y)), State((), ()), RuleState(carried=tf.constant(1))),
            meta=tuple(x),
            support=Examples((), ()),
            context=(),
            steps=self.steps,
        )

    def upper(self, y: Sequence[tf.Tensor], x: Sequence[tf.Tensor]) -> tf.Tensor:
        """The upper loss."""
        return _scalar(self.problem.upper(*self._packed(y, x)), "upper")

    def _packed(self, y: Sequence[tf.Tensor], x: Sequence[tf.Tensor]) -> tuple[Any, Any]:
        return tf.nest.pack_sequence_as(self.y, list(y)), tf.nest.pack_sequence_as(self.x, list(x))

    def _loss(
        self,
        iterate: Iterate,
        meta: Any,
        support: Any,
        context: Any,
        second_order: bool,
        shift: Gradients | None = None,
    ) -> tf.Tensor:
        y = iterate.parameters.head
        if shift is not None:
            y = tuple(part + more for part, more in zip(y, shift.parameters.head, strict=True))
        lower = _scalar(self.problem.lower(*self._packed(y, meta)), "lower")
        if self.aggregation is None:
            return lower
        return self.aggregation.mixed(lower, self.upper(y, meta), iterate.rule_state.carried)

    def _field(
        self, iterate: Iterate, meta: Any, support: Any, context: Any, second_order: bool
    ) -> tuple[Gradients, Any]:
        y = iterate.parameters.head
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(y)
            loss = self._loss(iterate, meta, support, context, second_order)
        found = dense_gradients(tape, loss, y)
        if all(part is None for part in found):
            raise UserError(
                "lower must depend on y, received a loss without a gradient: compute it from y in TensorFlow."
            )
        # A part of y that it does not depend on stays where it is.
        found = [tf.zeros_like(part) if one is None else one for part, one in zip(y, found, strict=True)]
        return Gradients(Parameters((), tuple(found)), ()), iterate.state

    def _follow(self, iterate: Iterate, gradients: Gradients, state: Any, meta: Any) -> Iterate:
        updates, _ = self.rule.update(gradients, iterate.rule_state, iterate.parameters, meta)
        moved = tuple(part + more for part, more in zip(iterate.parameters.head, updates.head, strict=True))
        return Iterate(Parameters((), moved), state, RuleState(carried=iterate.rule_state.carried + 1))


def _scalar(value: Any, name: str) -> tf.Tensor:
    value = tf.convert_to_tensor(value)
    if value.shape.rank != 0 or not value.dtype.is_floating:
        raise UserError(
            f"{name} must return one floating number, received {value.dtype.name} {value.shape}: take the mean."
        )
    return value
