"""Adaptation by gradient descent on the support loss: MAML's inner loop and all its update rules.

The flat form of an adapted task: what a server hands to a client that wants to adapt once and predict often.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.gradients import ascent, dense_gradients
from cml_tf.adaptation.hypergradients.reverse import Hypergradient, Iterate, Reverse
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.adaptation.updates.update_rule import Gradients, UpdateRule
from cml_tf.episodes import Examples
from cml_tf.learners.layer_state import check_second_derivatives
from cml_tf.learners.layers.derivative_order import inner_gradient
from cml_tf.learners.learner import Forward, Learner, Parameters, State
from cml_tf.problems import Problem


class GradientDescent(AdaptationRule):
    """A number of update-rule steps on the mean support loss.

    Args:
      problem: gives the support loss. When the learner's outputs are a structure (two heads), their losses are added.
      update_rule: how gradients become updates.
      steps: inner steps, 0 or more.
      hypergradient: how the outer gradient passes through the steps; `Reverse()` by default.
      sharpness: radius of the ball in whose worst point each inner gradient is taken, 0 for where the parameters are
        (Sharp-MAML, Abbas et al. 2022, arXiv 2206.03996: `theta + radius * g / |g|`, to first order; the way there is
        a constant to the outer gradient).
    """

    answers_through_head = True

    def __init__(
        self,
        problem: Problem,
        update_rule: UpdateRule,
        steps: int = 1,
        hypergradient: Hypergradient | None = None,
        sharpness: float = 0.0,
    ) -> None:
        super().__init__()
        _check_steps(steps)
        if sharpness < 0:
            raise ValueError(f"sharpness must be 0 (none) or a positive radius, received {sharpness}.")
        self.problem = problem
        self.update_rule = update_rule
        self.steps = steps
        self.hypergradient = hypergradient or Reverse()
        self.sharpness = sharpness

    def build(self, learner: Learner) -> None:
        """Makes the update rule's meta-variables.

        Raises:
          ValueError: if the meta-gradient needs a second derivative that a layer of the learner has wrong.
        """
        if self.hypergradient.second_order:
            check_second_derivatives(learner.extractor)
            check_second_derivatives(learner.head)
        self.update_rule.build(learner.variables)
        self.meta_variables = self.update_rule.meta_variables

    def with_steps(self, steps: int) -> GradientDescent:
        """This rule with another number of steps; the variables are shared."""
        _check_steps(steps)
        other = copy.copy(self)
        other.steps = steps
        return other

    def with_update_rule(self, update_rule: UpdateRule) -> GradientDescent:
        """This rule with other updates, not built yet."""
        return GradientDescent(self.problem, update_rule, self.steps, self.hypergradient, self.sharpness)

    def with_hypergradient(self, hypergradient: Hypergradient) -> GradientDescent:
        """This rule with another hypergradient; the variables are shared."""
        other = copy.copy(self)
        other.hypergradient = hypergradient
        return other

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> AdaptedLearner:
        """Runs the inner loop on one task."""

        def inner_step(
            iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
        ) -> Iterate:
            return self._step(learner, iterate, meta, support, context, second_order)

        start = Iterate(initial.parameters, initial.state, self.update_rule.init(initial.parameters, initial.meta))
        iterates = self.hypergradient.solve(inner_step, start, initial.meta, support, context, self.steps)

        def predictor(iterate: Iterate) -> AdaptedLearner:
            return self._predictor(learner, iterate, initial.meta, support, context)

        adapted = predictor(iterates[-1])
        adapted.path = lambda: [*map(predictor, iterates[:-1]), adapted]
        return adapted

    def _predictor(
        self, learner: Learner, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any
    ) -> AdaptedLearner:
        parameters = self.update_rule.before_step(iterate.parameters, iterate.rule_state, meta)
        state = iterate.state
        if learner.state_follows_parameters:
            # The state that a step leaves behind belongs to the parameters before its update; one more pass over the
            # support set gives that of the parameters which predict.
            state = learner.call(parameters, state, support.inputs, context, True, support.targets).state
        return AdaptedLearner(learner, self.update_rule, parameters, state, context)

    def unpack(self, learner: Learner, initial: Initial, packed: tf.Tensor, context: Any) -> AdaptedLearner:
        """The adapted task that `packed` came from."""
        parameters, state = unpack_task(learner, self.update_rule, initial.parameters, initial.state, packed)
        return AdaptedLearner(learner, self.update_rule, parameters, state, context)

    def support_loss(self, outputs: Any, targets: tf.Tensor) -> tf.Tensor:
        """Mean loss over the support set, a scalar; summed over the heads of a learner with several."""
        losses = [tf.reduce_mean(self.problem.losses(output, targets)) for output in tf.nest.flatten(outputs)]
        return tf.add_n(losses)

    def _step(
        self,
        learner: Learner,
        iterate: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        second_order: bool,
    ) -> Iterate:
        def gradients_at(place: Iterate, of_second_order: bool) -> tuple[Gradients, State]:
            return self._gradients_at(learner, place, meta, support, context, of_second_order)

        place = iterate
        if self.sharpness:
            uphill, _ = gradients_at(iterate, False)
            offsets = tf.nest.map_structure(tf.stop_gradient, ascent(uphill.parameters, self.sharpness))
            place = iterate._replace(parameters=add_updates(iterate.parameters, offsets))
        gradients, state = gradients_at(place, second_order)
        if not second_order:
            gradients = tf.nest.map_structure(tf.stop_gradient, gradients)
        moved = self.update_rule.moved(iterate.parameters)
        updates, rule_state = self.update_rule.update(gradients, iterate.rule_state, moved, meta)
        return Iterate(add_updates(iterate.parameters, updates), state, rule_state)

    def _gradients_at(
        self,
        learner: Learner,
        iterate: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        second_order: bool,
    ) -> tuple[Gradients, State]:
        """Gradients of the support loss at an iterate, and the learner state of that pass."""
        watched = (self.update_rule.moved(iterate.parameters), iterate.rule_state.adapted)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tf.nest.flatten(watched))
            seen = self.update_rule.before_step(iterate.parameters, iterate.rule_state, meta)
            with inner_gradient(second_order):
                forward: Forward = learner.call(seen, iterate.state, support.inputs, context, True, support.targets)
            loss = self.support_loss(forward.outputs, support.targets)
        return Gradients(*_gradients(tape, loss, watched)), forward.state


def _check_steps(steps: Any) -> None:
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"inner steps must be 0 or more, received {steps!r}.")


class AdaptedLearner(AdaptedTask):
    """The learner under a task's parameters.

    Attributes:
      parameters: what forward passes use.
      state: the learner state after adaptation.
      path: makes all predictors from the first to this one, where the inner loop left a path.
    """

    def __init__(
        self, learner: Learner, update_rule: UpdateRule, parameters: Parameters, state: State, context: Any
    ) -> None:
        self.learner = learner
        self.update_rule = update_rule
        self.parameters = parameters
        self.state = state
        self.context = context
        self.path: Callable[[], Sequence[AdaptedLearner]] = lambda: (self,)

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features and outputs of the adapted learner."""
        forward = self.learner.call(self.parameters, self.state, inputs, self.context, training=False)
        return forward.features, forward.outputs

    @property
    def iterates(self) -> Sequence[AdaptedLearner]:
        """Predictors before the first step and after each one."""
        return self.path()

    def pack(self) -> tf.Tensor:
        """The changed parameters and threaded state, in learner order, row-major, float32."""
        return pack_task(self.learner, self.update_rule, self.parameters, self.state)


def add_updates(parameters: Parameters, updates: Parameters) -> Parameters:
    """Adds updates to the groups that have any; an empty group is frozen: a zero update."""
    return Parameters(
        *(
            tuple(parameter + update for parameter, update in zip(group, moves, strict=True)) if moves else group
            for group, moves in zip(parameters, updates, strict=True)
        )
    )


def _gradients(tape: tf.GradientTape, loss: tf.Tensor, watched: Any) -> Any:
    flat = tf.nest.flatten(watched)
    gradients = dense_gradients(tape, loss, flat)
    missing = [position for position, gradient in enumerate(gradients) if gradient is None]
    if missing:
        shapes = ", ".join(f"number {position} of shape {flat[position].shape}" for position in missing)
        raise ValueError(
            f"the support loss does not depend on these adapted tensors: {shapes}. Freeze the layers that the forward "
            "pass does not use (trainable = False), or remove them."
        )
    return tf.nest.pack_sequence_as(watched, gradients)


def pack_task(learner: Learner, update_rule: UpdateRule, parameters: Parameters, state: State) -> tf.Tensor:
    """Changed parameters, then threaded state, each in learner order and row-major, as one float32 vector."""
    tensors = tf.nest.flatten(tuple(update_rule.changed(parameters))) + _threaded(learner, state)
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors] or [tf.zeros([0])], 0)


def unpack_task(
    learner: Learner, update_rule: UpdateRule, parameters: Parameters, state: State, packed: tf.Tensor
) -> tuple[Parameters, State]:
    """Puts a packed vector in the place of the changed parameters and threaded state of an initial learner."""
    changed = update_rule.changed(parameters)
    slots = tf.nest.flatten(tuple(changed)) + _threaded(learner, state)
    pieces = tf.split(packed, [int(slot.shape.num_elements()) for slot in slots]) if slots else []
    tensors = [tf.cast(tf.reshape(piece, slot.shape), slot.dtype) for piece, slot in zip(pieces, slots, strict=True)]
    groups = []
    for group, moves in zip(parameters, changed, strict=True):
        groups.append(tuple(tensors[: len(moves)]) if moves else group)
        tensors = tensors[len(moves) :]
    return Parameters(*groups), _with_threaded(learner, state, tensors)


def _threaded(learner: Learner, state: State) -> list[tf.Tensor]:
    flags = tf.nest.flatten(tuple(learner.threaded_state()))
    return [tensor for tensor, flag in zip(tf.nest.flatten(tuple(state)), flags, strict=True) if flag]


def _with_threaded(learner: Learner, state: State, tensors: list[Any]) -> State:
    remaining = iter(tensors)
    return State(
        *(
            tuple(next(remaining) if flag else tensor for tensor, flag in zip(group, flags, strict=True))
            for group, flags in zip(state, learner.threaded_state(), strict=True)
        )
    )
