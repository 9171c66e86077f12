"""The gradient of any bilevel problem, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.adaptation import SGD
from cml_tf.bilevel.descent_aggregation import DescentAggregation
from cml_tf.bilevel.problem import BilevelProblem, FlatProblem
from cml_tf.bilevel.solvers import Solver, UpperGradient, make_solver
from cml_tf.errors import UserError


def hypergradient(
    problem: BilevelProblem,
    x: Any,
    y_start: Any,
    steps: int | tf.Tensor,
    rate: float,
    solver: str | Solver = "reverse",
    *,
    state: Any = None,
    aggregation: DescentAggregation | None = None,
) -> UpperGradient:
    """Takes gradient steps on the lower loss, and differentiates the upper loss where they end.

    It works eagerly and inside of `tf.function`.

    Example:
      >>> problem = cml_tf.bilevel.BilevelProblem(
      ...     lower=lambda y, x: tf.square(y - x) / 2, upper=lambda y, x: tf.square(y - 1.0) / 2
      ... )
      >>> found = cml_tf.bilevel.hypergradient(problem, x=tf.constant(3.0), y_start=tf.constant(3.0), steps=1, rate=0.5)
      >>> float(found.final), float(found.of_x)  # y stays at 3; half of a change of x arrives
      (3.0, 1.0)

    Args:
      problem: the two losses.
      x: what the upper level learns: any `tf.nest` structure of floating tensors or variables.
      y_start: where the lower steps start; likewise.
      steps: how many, 0 or more: an integer, or an int32 scalar that is known only when the graph runs.
      rate: of the steps, positive.
      solver: how the gradient is found: a name (`make_solver` lists them) or what `make_solver` made.
      state: `UpperGradient.state` of the last call on the same problem, to start `implicit` warm; None starts it cold,
        as zeros like y do.
      aggregation: mixes the upper loss into the steps.

    Raises:
      UserError: if an argument is not as described, or if the solver cannot be combined with it.
    """
    solver = make_solver(solver) if isinstance(solver, str) else solver
    flat_x, flat_y = _floating(x, "x"), _floating(y_start, "y_start")
    _check_steps(steps)
    if not rate > 0:
        raise UserError(f"rate must be positive, received {rate!r}: use 0.1, for example.")
    if aggregation is not None and solver.of_minimum:
        raise UserError(
            "aggregation and implicit cannot be combined, since steps that follow both losses lead to no minimum of "
            "the lower one: use only one of them."
        )
    if aggregation is not None and solver.own_steps:
        raise UserError(
            "aggregation and the solver of a flow cannot be combined, since the share of the upper loss depends on the "
            "number of the step: use only one of them."
        )
    warm = tf.nest.flatten(() if state is None else state)
    if warm and not solver.of_minimum:
        raise UserError(f"state must be left out with solvers other than implicit, received {len(warm)} tensors.")
    if warm:
        tf.nest.assert_same_structure(y_start, state)
    flat = FlatProblem(problem, y_start, x, steps, SGD(rate), aggregation)
    found = solver.differentiate(flat, flat_x, flat_y, [tf.convert_to_tensor(part) for part in warm])
    of_start, ending = found.of_start, found.state
    return found._replace(
        of_x=tf.nest.pack_sequence_as(x, list(found.of_x)),
        of_start=None if of_start is None else tf.nest.pack_sequence_as(y_start, list(of_start)),
        final=tf.nest.pack_sequence_as(y_start, list(found.final)),
        state=tf.nest.pack_sequence_as(y_start, list(ending)) if ending else (),
    )


def _check_steps(steps: Any) -> None:
    """Raises UserError unless it is a number of steps, or a tensor that may be one."""
    scalar = tf.is_tensor(steps) and steps.shape == () and steps.dtype.is_integer
    whole = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if not (scalar or (whole and steps >= 0)):
        raise UserError(f"steps must be a whole number of 0 or more, received {steps!r}: use 10, for example.")


def _floating(structure: Any, name: str) -> list[tf.Tensor]:
    """The leaves as tensors of their own: one tensor may stand in several places, each with its gradient."""
    leaves = [tf.identity(tf.convert_to_tensor(leaf)) for leaf in tf.nest.flatten(structure)]
    if not leaves or not all(leaf.dtype.is_floating for leaf in leaves):
        received = ", ".join(leaf.dtype.name for leaf in leaves) or "none"
        raise UserError(f"{name} must be one or more floating tensors, received {received}.")
    return leaves
