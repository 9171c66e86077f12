"""The hypergradient axis: how d outer loss / d initial parameters is computed through the inner loop.

A hypergradient runs a pure inner step and owns its gradient. Everything differentiable comes in as an argument, since
`tf.custom_gradient` silently returns None for tensors that its function captures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from cml_tf.adaptation.hypergradients.rematerialised import rematerialised_path
from cml_tf.adaptation.updates.update_rule import RuleState
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Parameters, State


class Iterate(NamedTuple):
    """Where the inner loop stands: parameters, learner state and update-rule state."""

    parameters: Parameters
    state: State
    rule_state: RuleState


class InnerStep(Protocol):
    """One inner step as a pure function; `second_order=False` treats the inner gradient as a constant."""

    def __call__(
        self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
    ) -> Iterate:
        """The next iterate."""
        ...


class Hypergradient(ABC):
    """Runs the inner loop.

    Attributes:
      second_order: whether the meta-gradient needs second derivatives of the learner.
    """

    second_order: bool = True

    @abstractmethod
    def solve(
        self,
        inner_step: InnerStep,
        initial: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        steps: int,
    ) -> tuple[Iterate, ...]:
        """All `steps + 1` iterates, the initial one first."""


class Reverse(Hypergradient):
    """Exact: reverse-mode differentiation through every inner step (MAML, Finn et al. 2017)."""

    def solve(
        self,
        inner_step: InnerStep,
        initial: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        steps: int,
    ) -> tuple[Iterate, ...]:
        """Unrolls the loop; a tape around it does the rest."""
        return _unrolled(lambda iterate: inner_step(iterate, meta, support, context, True), initial, steps)


class RematerialisedReverse(Hypergradient):
    """The gradient of `Reverse`, in memory and a graph that do not grow with the number of steps.

    Forwards only the iterates are kept; backwards each step is made once more, from the last to the first, and
    differentiated at once. Support set and context are data: they receive no gradient.
    """

    def solve(
        self,
        inner_step: InnerStep,
        initial: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        steps: int,
    ) -> tuple[Iterate, ...]:
        """Two loops in the graph, one forwards and one backwards."""
        if steps == 0:
            return (initial,)

        def step(iterate: Iterate, meta: Any) -> Iterate:
            return inner_step(iterate, meta, support, context, True)

        path = rematerialised_path(step, initial, meta, steps)
        return (initial, *(tf.nest.map_structure(lambda tensor, k=k: tensor[k], path) for k in range(steps)))


class FirstOrder(Hypergradient):
    """First-order MAML: inner gradients are constants, so d adapted / d initial parameters is the identity.

    The update rule's own meta-variables (inner rates) still receive their exact gradient given those constants.
    """

    second_order = False

    def solve(
        self,
        inner_step: InnerStep,
        initial: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        steps: int,
    ) -> tuple[Iterate, ...]:
        """Unrolls the loop with inner gradients held constant."""
        return _unrolled(lambda iterate: inner_step(iterate, meta, support, context, False), initial, steps)


def _unrolled(step: Callable[[Iterate], Iterate], initial: Iterate, steps: int) -> tuple[Iterate, ...]:
    iterates = [initial]
    for _ in range(steps):
        iterates.append(step(iterates[-1]))
    return tuple(iterates)


HYPERGRADIENTS: dict[str, Callable[[], Hypergradient]] = {
    "reverse": Reverse,
    "reverse_rematerialised": RematerialisedReverse,
    "first_order": FirstOrder,
}


def make_hypergradient(name: str) -> Hypergradient:
    """The hypergradient of that name; ValueError lists the names there are."""
    if name not in HYPERGRADIENTS:
        raise ValueError(f"hypergradient must be one of {', '.join(HYPERGRADIENTS)}, received {name!r}.")
    return HYPERGRADIENTS[name]()
