"""The ways to the gradient of the upper loss.

Those that `cml_tf.adaptation` has for a learner's inner loop are run here on any lower problem, as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from cml_tf.adaptation import Hypergradient, make_hypergradient
from cml_tf.adaptation import Implicit as ImplicitHypergradient
from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.bilevel.forward import forward_gradient
from cml_tf.bilevel.problem import FlatProblem
from cml_tf.errors import UserError
from cml_tf.registry import members

Tensors = list[tf.Tensor]


class UpperGradient(NamedTuple):
    """What a solver found.

    Example:
      >>> problem = cml_tf.bilevel.BilevelProblem(lambda y, x: (y - x) ** 2 / 2, lambda y, x: y)
      >>> found = cml_tf.bilevel.hypergradient(problem, tf.constant(2.0), tf.constant(0.0), 5, 0.5, "implicit")
      >>> float(found.of_x), float(found.residual)
      (1.0, 0.0)

    Attributes:
      value: the upper loss at the final y.
      of_x: its gradient, in the structure of x.
      of_start: that of the y which the steps start at; None with `forward`.
      final: the final y.
      residual: with `implicit`, how much of its linear system is left unsolved, as a share of dF/dy; else None.
      state: what the next call on the same problem may start from, in the structure of y with `implicit`; else `()`.
    """

    value: tf.Tensor
    of_x: Any
    of_start: Any
    final: Any
    residual: tf.Tensor | None = None
    state: Any = ()


class Solver(ABC):
    """One way to differentiate the upper loss.

    Example:
      >>> cml_tf.bilevel.make_solver("reverse").of_minimum
      False

    Attributes:
      of_minimum: whether it differentiates the minimum that the steps lead to and not the steps. Then it has a state to
        start from, and the steps must follow the lower loss alone.
      own_steps: whether it makes other steps than those asked for (a flow), which nobody can number.
    """

    of_minimum: bool = False
    own_steps: bool = False

    @abstractmethod
    def differentiate(self, problem: FlatProblem, x: Tensors, y: Tensors, state: Tensors) -> UpperGradient:
        """The gradient at x of the upper loss after steps that start at y; all structures are lists."""


class ByHypergradient(Solver):
    """Any hypergradient of `cml_tf.adaptation`: it runs the inner loop and owns its gradient."""

    def __init__(self, hypergradient: Hypergradient) -> None:
        self.hypergradient = hypergradient
        self.own_steps = hypergradient.first_order is not None

    def differentiate(self, problem: FlatProblem, x: Tensors, y: Tensors, state: Tensors) -> UpperGradient:
        """A tape around the loop."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*x, *y])
            final = self.hypergradient.solve(problem.loop(y, x)).final.parameters.head
            value = problem.upper(final, x)
        found = dense_gradients(tape, value, [*x, *y], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return UpperGradient(value, found[: len(x)], found[len(x) :], list(final))


class Implicit(Solver):
    """That of the minimum (HOAG, arXiv 1602.02355), started where the last call on the same problem ended.

    x changes little from call to call, and so does what conjugate gradients solve for.

    Example:
      >>> cml_tf.bilevel.make_solver("implicit", iterations=5).of_minimum
      True

    Args:
      proximity: as of `cml_tf.adaptation.Implicit`; by default 0: the minimum does not remember where y started.
      iterations: of conjugate gradients, at most; one Hessian-vector product each.
      tolerance: the residual, as a share of dF/dy, at which they stop.
    """

    of_minimum = True

    def __init__(self, proximity: float = 0.0, iterations: int = 20, tolerance: float = 1e-6) -> None:
        self.hypergradient = ImplicitHypergradient(proximity, iterations, tolerance)

    def differentiate(self, problem: FlatProblem, x: Tensors, y: Tensors, state: Tensors) -> UpperGradient:
        """No tape around the loop; one at its end."""
        loop = problem.loop(y, x)
        final = self.hypergradient.solve(loop).final
        end = list(final.parameters.head)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*x, *end])
            value = problem.upper(end, x)
        found = dense_gradients(tape, value, [*x, *end], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        direct, arriving = found[: len(x)], found[len(x) :]
        minimum = self.hypergradient.of_minimum(loop, final, tuple(x), arriving, state or None)
        residual = tf.math.divide_no_nan(tf.linalg.global_norm(minimum.left), tf.linalg.global_norm(arriving))
        of_x = [own + more for own, more in zip(direct, minimum.of_meta, strict=True)]
        return UpperGradient(value, of_x, minimum.of_start, end, residual, minimum.solved)


class Forward(Solver):
    """Exact, by forward mode: dy/dx is carried along with the steps, a column for every number in x.

    Memory does not grow with the steps, and nothing is gone back through; a step costs as much for each column as its
    derivative along one direction. It gives no gradient of the start.

    Example:
      >>> cml_tf.bilevel.make_solver("forward", most=10).most
      10

    Args:
      most: how many numbers x may have; more are refused.
    """

    def __init__(self, most: int = 100) -> None:
        self.most = most

    def differentiate(self, problem: FlatProblem, x: Tensors, y: Tensors, state: Tensors) -> UpperGradient:
        """Refuses an x that is too large, since every number in it would take as much memory as y."""
        count = sum(part.shape.num_elements() for part in x)
        if count > self.most:
            raise UserError(
                f"x must have at most {self.most} numbers with forward, which works on as many copies of y as there "
                f"are, received {count}: use reverse_rematerialised."
            )
        return UpperGradient(*forward_gradient(problem.loop(y, x), problem.upper))


_OWN: dict[str, Callable[..., Solver]] = {"forward": Forward, "implicit": Implicit}


def make_solver(name: str, **options: Any) -> Solver:
    """The solver of that name: `forward`, `implicit`, or a hypergradient of `cml_tf.adaptation`.

    Example:
      >>> cml_tf.bilevel.make_solver("truncated", kept_steps=5).of_minimum
      False

    Args:
      name: docs/BILEVEL.md lists them.
      **options: of the solver; those of a hypergradient are in docs/CONFIGURATION.md.

    Raises:
      UserError: if there is none of that name; it lists those that there are.
    """
    if name in _OWN:
        return _OWN[name](**options)
    known = sorted({*_OWN, *members("hypergradient")})
    if name not in known:
        raise UserError(f"solver must be one of {', '.join(known)}, received {name!r}.")
    return ByHypergradient(make_hypergradient(name, **options))
