"""What one inner step is made of, as pure functions: the support loss, its gradient, and what a rule makes of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradients import ascent, clipped, dense_gradients
from cml_tf.adaptation.hypergradients import Iterate
from cml_tf.adaptation.updates.update_rule import Gradients, UpdateRule
from cml_tf.episodes import Examples
from cml_tf.learners.layers.derivative_order import inner_gradient
from cml_tf.learners.learner import Learner, Parameters, State


@dataclass(frozen=True)
class InnerFunctions:
    """The functions of an `InnerLoop`; everything differentiable is an argument of theirs.

    Attributes:
      learner: that adapts.
      update_rule: how gradients become updates.
      support_loss: a scalar, of the learner's outputs and the targets.
      sharpness: of `GradientDescent`.
      clip_norm: likewise.
      pace: what every update of parameters is multiplied by, a scalar; None leaves them as they are.
    """

    learner: Learner
    update_rule: UpdateRule
    support_loss: Callable[[Any, tf.Tensor], tf.Tensor]
    sharpness: float = 0.0
    clip_norm: float = 0.0
    pace: tf.Tensor | None = None

    def follow(self, iterate: Iterate, gradients: Gradients, state: State, meta: tuple[tf.Tensor, ...]) -> Iterate:
        """What the update rule makes of gradients, and of the learner state after the pass that gave them."""
        moved = self.update_rule.moved(iterate.parameters)
        updates, rule_state = self.update_rule.update(gradients, iterate.rule_state, moved, meta)
        if (pace := self.pace) is not None:
            updates = tf.nest.map_structure(lambda update: update * tf.cast(pace, update.dtype), updates)
        return Iterate(add_updates(iterate.parameters, updates), state, rule_state)

    def field(
        self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
    ) -> tuple[Gradients, State]:
        """The gradient that a step from an iterate follows, and the learner state of that pass."""
        place = self._place(iterate, meta, support, context)
        gradients, state = self._gradients_at(place, meta, support, context, second_order)
        return (clipped(gradients, self.clip_norm) if self.clip_norm else gradients), state

    def _place(self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any) -> Iterate:
        """Where the gradient of a step is taken: at the iterate itself, or at the worst point near by."""
        if not self.sharpness:
            return iterate
        uphill, _ = self._gradients_at(iterate, meta, support, context, False)
        offsets = tf.nest.map_structure(tf.stop_gradient, ascent(uphill.parameters, self.sharpness))
        return iterate._replace(parameters=add_updates(iterate.parameters, offsets))

    def loss(
        self,
        iterate: Iterate,
        meta: tuple[tf.Tensor, ...],
        support: Examples,
        context: Any,
        second_order: bool,
        shift: Gradients | None = None,
    ) -> tf.Tensor:
        """The support loss where the gradient of a step is taken, what the rule moves being shifted there."""
        parameters, state, rule_state = self._place(iterate, meta, support, context)
        if shift is not None:
            shift = shift._replace(parameters=self._at_rest(shift.parameters))
            rule_state = rule_state._replace(adapted=tf.nest.map_structure(tf.add, rule_state.adapted, shift.adapted))
            if not self.update_rule.at_seen:
                parameters = add_updates(parameters, shift.parameters)
        seen = self.update_rule.before_step(parameters, rule_state, meta)
        if shift is not None and self.update_rule.at_seen:
            seen = add_updates(seen, shift.parameters)
        with inner_gradient(second_order):
            forward = self.learner.call(seen, state, support.inputs, context, True, support.targets)
        return self.support_loss(forward.outputs, support.targets)

    def _gradients_at(
        self, iterate: Iterate, meta: tuple[tf.Tensor, ...], support: Examples, context: Any, second_order: bool
    ) -> tuple[Gradients, State]:
        """Gradients of the support loss at an iterate, and the learner state of that pass."""
        watched = (self.update_rule.moved(iterate.parameters), iterate.rule_state.adapted)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._followed(watched))
            seen = self.update_rule.before_step(iterate.parameters, iterate.rule_state, meta)
            if self.update_rule.at_seen:
                watched = (self.update_rule.moved(seen), iterate.rule_state.adapted)
                tape.watch(self._followed(watched))
            with inner_gradient(second_order):
                forward = self.learner.call(seen, iterate.state, support.inputs, context, True, support.targets)
            loss = self.support_loss(forward.outputs, support.targets)
        return Gradients(*self._gradients(tape, loss, watched)), forward.state

    def _followed(self, watched: tuple[Parameters, Any]) -> list[tf.Tensor]:
        """Of what the rule moves, all that has a gradient in the inner loop."""
        parameters, adapted = watched
        return tf.nest.flatten((self.learner.adaptable(parameters), adapted))

    def _at_rest(self, shift: Parameters) -> Parameters:
        """The shift, zero for what layers leave to the outer loop."""
        followed = {id(part) for part in tf.nest.flatten(self.learner.adaptable(shift))}
        return tf.nest.map_structure(lambda part: part if id(part) in followed else tf.zeros_like(part), shift)

    def _gradients(self, tape: tf.GradientTape, loss: tf.Tensor, watched: tuple[Parameters, Any]) -> Any:
        """The gradient of all that the rule moves: zero for what layers leave to the outer loop."""
        followed = self._followed(watched)
        gradients = dense_gradients(tape, loss, followed)
        missing = [position for position, gradient in enumerate(gradients) if gradient is None]
        if missing:
            shapes = ", ".join(f"tensor {position} of shape {followed[position].shape}" for position in missing)
            raise ValueError(
                f"the support loss does not depend on these adapted tensors: {shapes}. Freeze layers that the forward "
                "pass does not use (trainable = False), or remove them."
            )
        found = {id(tensor): gradient for tensor, gradient in zip(followed, gradients, strict=True)}
        return tf.nest.map_structure(
            lambda part: found[id(part)] if id(part) in found else tf.zeros_like(part), watched
        )


def add_updates(parameters: Parameters, updates: Parameters) -> Parameters:
    """Adds updates to the groups that have any; an empty group is frozen: a zero update."""
    return Parameters(
        *(
            tuple(parameter + update for parameter, update in zip(group, moves, strict=True)) if moves else group
            for group, moves in zip(parameters, updates, strict=True)
        )
    )
