"""The hypergradient axis: how d outer loss / d initial parameters is computed through the inner loop.

A hypergradient runs a pure inner step and owns its gradient. Everything differentiable comes in as an argument, since
`tf.custom_gradient` silently returns None for tensors that its function captures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from cml_tf.adaptation.update_rules.base import RuleState
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
    """Exact: reverse-mode differentiation through every inner step (MAML, Finn et al. 2017).

    Args:
      rematerialise: keep only the iterates and compute each step's activations again in the backward pass; the same
        gradient with memory that does not grow with the activations of all steps, for one more forward pass a step.
    """

    def __init__(self, rematerialise: bool = False) -> None:
        self.rematerialise = rematerialise

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

        def step(iterate: Iterate, meta: Any, support: Examples, context: Any) -> Iterate:
            return inner_step(iterate, meta, support, context, True)

        run = rematerialised(step) if self.rematerialise else step
        iterates = [initial]
        for _ in range(steps):
            iterates.append(run(iterates[-1], meta, support, context))
        return tuple(iterates)


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
        iterates = [initial]
        for _ in range(steps):
            iterates.append(inner_step(iterates[-1], meta, support, context, False))
        return tuple(iterates)


HYPERGRADIENTS: dict[str, Callable[[], Hypergradient]] = {
    "reverse": Reverse,
    "reverse_rematerialised": lambda: Reverse(rematerialise=True),
    "first_order": FirstOrder,
}


def make_hypergradient(name: str) -> Hypergradient:
    """The hypergradient of that name; ValueError lists the names there are."""
    if name not in HYPERGRADIENTS:
        raise ValueError(f"hypergradient must be one of {', '.join(HYPERGRADIENTS)}, received {name!r}.")
    return HYPERGRADIENTS[name]()


def rematerialised(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `tf.nest` structures that is computed again when its gradient is taken.

    `tf.recompute_grad` does not serve here: it stops all tapes while it runs the function, and the inner gradient is
    taken by a tape inside. The result can be differentiated once.
    """

    def wrapped(*arguments: Any) -> Any:
        flat = tf.nest.flatten(arguments, expand_composites=True)
        structure: list[Any] = []

        @tf.custom_gradient
        def run(*tensors: tf.Tensor) -> Any:
            result = function(*tf.nest.pack_sequence_as(arguments, tensors, expand_composites=True))
            structure[:] = [result]

            def gradient(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
                # The control dependency keeps the second run after the backward pass has arrived here: without it the
                # optimiser may merge it with the first one and keep all activations alive after all.
                with tf.control_dependencies(upstream), tf.GradientTape() as tape:
                    again = [tf.identity(tensor) for tensor in tensors]
                    tape.watch([tensor for tensor in again if tensor.dtype.is_floating])
                    outputs = function(*tf.nest.pack_sequence_as(arguments, again, expand_composites=True))
                    flat_outputs = tf.nest.flatten(outputs, expand_composites=True)
                return tape.gradient(flat_outputs, again, output_gradients=list(upstream))

            return tf.nest.flatten(result, expand_composites=True), gradient

        results = tf.nest.flatten(run(*flat))
        return tf.nest.pack_sequence_as(structure[0], results, expand_composites=True)

    return wrapped
