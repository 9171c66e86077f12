"""The hypergradient axis: how d outer loss / d initial parameters is computed through the inner loop.

A hypergradient runs a pure inner loop and owns its gradient. Everything differentiable comes in as an argument, since
`tf.custom_gradient` silently returns None for tensors that its function captures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from cml_tf.adaptation.updates.update_rule import Gradients, RuleState, UpdateRule
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Learner, Parameters, State


class Iterate(NamedTuple):
    """Where the inner loop stands: parameters, learner state and update-rule state.

    Example:
      >>> [len(group) for group in loop.start.parameters]  # kernels and biases
      [2, 2]
    """

    parameters: Parameters
    state: State
    rule_state: RuleState


class Field(Protocol):
    """The gradient of the support loss as a pure function, and the learner state of that pass."""

    def __call__(
        self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
    ) -> tuple[Gradients, State]:
        """Gradients of what the update rule moves, at an iterate."""
        ...


class Follow(Protocol):
    """What the update rule makes of a gradient, as a pure function: a step is `follow` of the `field`."""

    def __call__(self, iterate: Iterate, gradients: Gradients, state: State, meta: tuple[tf.Tensor, ...]) -> Iterate:
        """The next iterate; `state` is the learner's after the pass that gave the gradients."""
        ...


class SupportLoss(Protocol):
    """The support loss where a step takes its gradient, as a pure function: `field` is its gradient in `shift` at 0."""

    def __call__(
        self,
        iterate: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        second_order: bool,
        shift: Gradients | None = None,
    ) -> tf.Tensor:
        """The loss at an iterate, a scalar; `shift` is added to what the update rule moves."""
        ...


class InnerLoop(NamedTuple):
    """The inner loop of one task, whole.

    Example:
      >>> given = loop.meta, loop.support, loop.context, False
      >>> before, after = (loop.loss(one, *given) for one in (loop.start, loop.next(loop.start)))
      >>> bool(after < before)
      True

    Attributes:
      field: the gradient that a step follows.
      follow: the rest of a step.
      loss: what the field is the gradient of, for methods that take other derivatives of it (implicit ones).
      moved: of an iterate's parameters, those that steps move; none of a group that the update rule leaves as it is.
      start: the iterate before the first step; proximal and implicit methods look at it.
      meta: values of the rule's meta-variables.
      support: the examples, `[examples, ...]`.
      context: of the episode.
      steps: how many: an integer, or an int32 scalar that is known only when the graph runs.
    """

    field: Field
    follow: Follow
    loss: SupportLoss
    moved: Callable[[Parameters], Parameters]
    start: Iterate
    meta: tuple[tf.Tensor, ...]
    support: Examples
    context: Any
    steps: int | tf.Tensor

    def step(
        self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
    ) -> Iterate:
        """One step of the update rule, as a pure function; without second order its gradient is a constant."""
        gradients, state = self.field(iterate, meta, support, context, second_order)
        if not second_order:
            gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
        return self.follow(iterate, gradients, state, meta)

    def next(self, iterate: Iterate, second_order: bool = True) -> Iterate:
        """One step from an iterate."""
        return self.step(iterate, self.meta, self.support, self.context, second_order)


class Solution(NamedTuple):
    """Where an inner loop ended.

    Example:
      >>> solution = Reverse().solve(loop)
      >>> len(solution.path) == loop.steps + 1, solution.path[-1] is solution.final
      (True, True)

    Attributes:
      final: the last iterate.
      path: all iterates from the start to the final one; None where there are none to show (a flow, an implicit
        method, a number of steps that the graph does not know).
    """

    final: Iterate
    path: tuple[Iterate, ...] | None


class Hypergradient(ABC):
    """Runs the inner loop.

    Example: that of `Reverse`.

    Attributes:
      second_order: whether the meta-gradient needs second derivatives of the learner.
      exact: whether it is the derivative of what the loop makes, however many steps it has.
      unrolled: whether the loop is a straight line of steps in the graph, so that all tasks can be worked out at once.
      of_loss: whether it takes the field for the gradient of the loop's `loss`, so that nothing may change it.
      first_order: for one that makes other steps than the update rule's: itself with inner gradients as constants of
        the outer loop. Saved models keep such a one, by `get_config`. None where `FirstOrder` makes the same steps.
    """

    second_order: bool = True
    exact: bool = False
    unrolled: bool = False
    of_loss: bool = False
    first_order: Hypergradient | None = None

    def check(self, learner: Learner, update_rule: UpdateRule) -> None:
        """Raises UserError for a built learner or update rule that no gradient can be passed through this way."""

    @abstractmethod
    def solve(self, loop: InnerLoop) -> Solution:
        """Runs a loop to its end."""
