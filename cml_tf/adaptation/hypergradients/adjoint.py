"""Adjoints: the outer gradient as a vector that is carried back in time along the inner loop, without its graph.

After A-MAML (Li et al. 2023, "Meta-Learning with Adjoint Methods", arXiv 2110.08432). The inner loop is taken for a
flow, of which the update rule's step is one step of Euler's method. With y what adapts, x all else that the step
depends on (frozen parameters, rates), f(y, x) what one step adds to y, and time in steps,

    dy/dt = f(y, x),   t = 0 .. steps;    l(steps) = d outer loss / dy;    dl/dt = -f_y^T l;    dm/dt = -f_x^T l

with m = 0 at the end; l and m at time 0 are the gradients of the initial y and, beside its direct part, of x. For SGD
f = -rate * L_y, so that f_y^T is -rate * H: the paper's equations in its time, T = steps * rate. (It writes H for minus
the Hessian.) Each product is one more pass over the support set; no graph of an inner step outlives it.

Ours: classical Runge-Kutta forwards, in steps of the update rule's length, where the paper has an adaptive solver; the
integral m, so that rates and frozen parts learn; only every so many states are stored if that is wanted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.adaptation.hypergradients.rematerialised import apart, floating, through_step, with_own_gradient
from cml_tf.adaptation.hypergradients.reverse import repeated
from cml_tf.adaptation.hypergradients.stored_states import with_stored_states
from cml_tf.adaptation.runge_kutta import SOLVERS, advance
from cml_tf.adaptation.updates.update_rule import UpdateRule
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.registry import Given, Settings, member, option, register

Tensors = tuple[tf.Tensor, ...]
Field = Callable[[Tensors, Tensors], Tensors]
"""The slopes of a state, given the state and constants."""

FORWARD = ("rk4", "euler")
"""Of `SOLVERS`, those whose steps have one length."""


class AdjointDiscrete(Hypergradient):
    """The adjoint of the update rule's own steps: the gradient of `Reverse`, whatever the update rule.

    For SGD, `l <- l - rate * H l` with H at the start of each step. It is `RematerialisedReverse` without iterates to
    show, which therefore need not all be kept.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("adjoint_discrete", stored_every=10).exact
      True

    Args:
      stored_every: how many steps lie between two stored states, 1 or more; those between are made again.
    """

    exact = True

    def __init__(self, stored_every: int = 1) -> None:
        self.stored_every = _checked(stored_every)

    def solve(self, loop: InnerLoop) -> Solution:
        """Makes the steps, and on the way back each one again."""

        def step(iterate: Iterate, meta: Any, second_order: bool = False) -> Iterate:
            return loop.step(iterate, meta, loop.support, loop.context, second_order)

        def pull_back(before: Iterate, after: Iterate, meta: Any, incoming: list[tf.Tensor]) -> Any:
            return through_step(lambda iterate, fixed: step(iterate, fixed, True), before, meta, incoming)

        end = with_stored_states(step, pull_back, loop.start, loop.meta, loop.steps, self.stored_every)
        return Solution(end, None)


class Flow(Hypergradient):
    """An inner loop that is a flow, and an adjoint that is one: not the derivative of what the solver computes.

    Args:
      solver: forwards; `rk4`, or `euler`, whose steps are those of the update rule.
      second_order: False to hold inner gradients constant: then only how the update rule uses them is differentiated.

    Raises:
      UserError: for an unknown solver.
    """

    def __init__(self, solver: str = "rk4", second_order: bool = True) -> None:
        if solver not in FORWARD:
            raise UserError(f"solver must be one of {', '.join(FORWARD)}, received {solver!r}.")
        self.solver, self.second_order = solver, second_order

    @abstractmethod
    def flowed(self, field: Field, start: Tensors, constants: Tensors, steps: int | tf.Tensor) -> Tensors:
        """The state that a field leads to in so many units of time, in as many steps; with an adjoint for gradient.

        Args:
          field: any: slopes need be no gradients.
          start: the state at time 0.
          constants: what else the field depends on and gradients are wanted of.
          steps: 0 or more.
        """

    @property
    def first_order(self) -> Hypergradient:  # type: ignore[override]
        """The same flow."""
        return type(self)(**{**self.get_config(), "second_order": False})

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"solver": self.solver, "second_order": self.second_order}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Flow:
        """Makes it again."""
        return cls(**config)

    def check(self, learner: Learner, update_rule: UpdateRule) -> None:
        """Looks for what has no meaning between two steps.

        Raises:
          UserError: for an update rule that remembers its steps, or layers that count them.
        """
        parameters, _ = learner.initial()
        state = update_rule.init(parameters, tuple(map(tf.convert_to_tensor, update_rule.meta_variables)))
        if tf.nest.flatten(state.carried):
            raise UserError(
                f"an inner loop that is a flow needs an update rule that remembers nothing, such as SGD or MetaSGD, "
                f"received {type(update_rule).__name__}, each step of which depends on those before: use the "
                "hypergradient adjoint_discrete."
            )
        if any(tf.nest.flatten(tuple(learner.threaded_state()))) and not learner.state_follows_parameters:
            raise UserError(
                "an inner loop that is a flow passes over the support set more often than it makes steps, received a "
                "learner that counts passes (Normalisation in mode 'per_step'): use the hypergradient adjoint_discrete."
            )

    def solve(self, loop: InnerLoop) -> Solution:
        """Follows what the update rule adds to the parameters, from where the loop starts."""
        iterate, leaves, positions = apart(loop, loop.start)
        if not positions:
            return Solution(loop.start, None)
        fixed = [position for position in range(len(leaves)) if position not in positions]

        def placed(adapted: Tensors, others: Tensors) -> Iterate:
            values = dict(zip((*positions, *fixed), (*adapted, *others), strict=True))
            ordered = iter([values[position] for position in range(len(leaves))])
            return tf.nest.map_structure(lambda leaf: next(ordered) if leaf.dtype.is_floating else leaf, iterate)

        def field(adapted: Tensors, constants: Tensors) -> Tensors:
            others, meta = constants[: len(fixed)], tuple(constants[len(fixed) :])
            here = placed(adapted, others)
            gradients, state = loop.field(here, meta, loop.support, loop.context, self.second_order)
            if not self.second_order:
                gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
            there = floating(loop.follow(here, gradients, state, meta))
            return tuple(there[position] - value for position, value in zip(positions, adapted, strict=True))

        others = tuple(leaves[position] for position in fixed)
        start = tuple(leaves[position] for position in positions)
        return Solution(placed(self.flowed(field, start, (*others, *loop.meta), loop.steps), others), None)


@keras.saving.register_keras_serializable("cml_tf")
class AdjointHeun(Flow):
    """The paper's adjoint: back by Heun's method along stored states, with an error of second order in the step.

    Two products with second derivatives a step: with p = l + f_y^T l at the step's end, l becomes l + (f_y^T l at its
    end + f_y^T p at its start) / 2. A flow of no time is of first order.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("adjoint_heun", stored_every=10).solver
      'rk4'

    Args:
      solver: of `Flow`.
      stored_every: how many steps lie between two stored states, 1 or more; those between are made again.
      second_order: of `Flow`.
    """

    def __init__(self, solver: str = "rk4", stored_every: int = 1, second_order: bool = True) -> None:
        super().__init__(solver, second_order)
        self.stored_every = _checked(stored_every)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "stored_every": self.stored_every}

    def flowed(self, field: Field, start: Tensors, constants: Tensors, steps: int | tf.Tensor) -> Tensors:
        """As `Flow.flowed`, by Heun's method on the way back."""

        def step(state: Tensors, fixed: Tensors) -> Tensors:
            return advance(lambda at: field(at, fixed), state, 1.0, SOLVERS[self.solver])

        def pull_back(before: Tensors, after: Tensors, fixed: Tensors, incoming: list[tf.Tensor]) -> Any:
            at_end, of_constants = through_step(field, after, fixed, incoming)
            predicted = [own + slope for own, slope in zip(incoming, at_end, strict=True)]
            at_start, more = through_step(field, before, fixed, predicted)
            both = [(one + other) / 2 for one, other in zip(at_end, at_start, strict=True)]
            return (
                [own + slope for own, slope in zip(incoming, both, strict=True)],
                [(one + other) / 2 for one, other in zip(of_constants, more, strict=True)],
            )

        return with_stored_states(step, pull_back, start, constants, steps, self.stored_every)


@keras.saving.register_keras_serializable("cml_tf")
class AdjointBacksolve(Flow):
    """Keeps the final state alone and solves for the way back with the adjoint: unstable, for comparison.

    Gradient descent contracts. Backwards in time the same flow stretches, and all errors with it: along a direction of
    curvature c by about `exp(c * rate * steps)`. What comes of that are wrong gradients, and no other sign (the paper
    sees it diverge at times `rate * steps` of 20 to 100). To save memory use `AdjointHeun` with a large `stored_every`.

    Example:
      >>> cml_tf.adaptation.make_hypergradient("adjoint_backsolve").second_order
      True
    """

    def flowed(self, field: Field, start: Tensors, constants: Tensors, steps: int | tf.Tensor) -> Tensors:
        """As `Flow.flowed`, by the same solver on the way back."""
        method, count = SOLVERS[self.solver], len(start)

        def forwards(first: Tensors, fixed: Tensors) -> tuple[Tensors, Tensors]:
            end = repeated(lambda state: advance(lambda at: field(at, fixed), state, 1.0, method), first, steps)
            return end, end

        def backwards(first: Tensors, fixed: Tensors, end: Tensors, arriving: list[tf.Tensor]) -> Any:
            def slopes(whole: Tensors) -> Tensors:
                state, adjoint = whole[:count], list(whole[count : 2 * count])
                of_state, of_constants = through_step(field, state, fixed, adjoint)
                return (*(-slope for slope in field(state, fixed)), *of_state, *of_constants)

            whole = (*end, *arriving, *map(tf.zeros_like, fixed))
            whole = repeated(lambda current: advance(slopes, current, 1.0, method), whole, steps)
            return list(whole[count : 2 * count]), list(whole[2 * count :])

        return with_own_gradient(forwards, backwards, start, constants)


def _checked(stored_every: int) -> int:
    if stored_every < 1:
        raise UserError(f"stored_every must be 1 or more, received {stored_every}.")
    return stored_every


@dataclass(frozen=True)
class StoredOptions:
    """Options of adjoints along stored states."""

    stored_every: int = option(1, "inner steps between two stored states; those between are made again", least=1)


@dataclass(frozen=True)
class FlowOptions:
    """Options of flows."""

    solver: str = option("rk4", "how the flow is solved forwards; euler makes the update rule's steps", choices=FORWARD)


@dataclass(frozen=True)
class AdjointHeunOptions(StoredOptions, FlowOptions):
    """Options of `AdjointHeun`."""


def _faults(settings: Settings) -> list[str]:
    faults, name = [], settings["hypergradient.name"]
    update = settings["adaptation.update"]
    if member("update", update).traits["remembers"]:
        faults.append(
            f"adaptation.update must be a rule that remembers nothing (sgd, meta_sgd) with {name}, whose inner loop is "
            f"a flow, received {update!r}: use adjoint_discrete."
        )
    if MODES[mode := settings.get("learner.normalisation", "none")].counts_steps:
        faults.append(
            f"learner.normalisation must not be {mode!r} with {name}, which passes over the support set more often "
            "than it makes steps: use 'batch_transductive', or adjoint_discrete."
        )
    return faults


@register("hypergradient", "adjoint_discrete", StoredOptions, path=False)
def _discrete(options: StoredOptions, given: Given) -> AdjointDiscrete:
    """Exact, an adjoint carried back over the inner steps, whose states need not all be stored."""
    return AdjointDiscrete(options.stored_every)


@register("hypergradient", "adjoint_heun", AdjointHeunOptions, faults=_faults, path=False)
def _heun(options: AdjointHeunOptions, given: Given) -> AdjointHeun:
    """An inner loop that is a flow, and its adjoint along stored states (A-MAML, arXiv 2110.08432)."""
    return AdjointHeun(options.solver, options.stored_every)


@register("hypergradient", "adjoint_backsolve", FlowOptions, faults=_faults, path=False)
def _backsolve(options: FlowOptions, given: Given) -> AdjointBacksolve:
    """An adjoint whose states are solved for once more, backwards: unstable over long times, for comparison."""
    return AdjointBacksolve(options.solver)
