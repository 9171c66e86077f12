"""A window of updates of the player, as the inner loop that the library's hypergradients run.

The parameters are the player's two networks, and the one meta-variable is eta: the discount gamma is sigmoid(eta).
An update follows the inner loss on what was played last, and then the new player plays on. So what is played after
update k both judges that update, which gives J_k, and feeds update k + 1. Where a window starts, player and slots are
constants; sampling is no path for gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from cml_tf.adaptation import InnerLoop, Iterate, Reverse, RuleState, UpdateRule
from cml_tf.adaptation.updates import Gradients
from cml_tf.episodes import Examples
from cml_tf.learners import Parameters
from examples.snake.agent import Rollout, Weights, inner_loss, outer_loss, play
from examples.snake.game import Board


class RMSProp(UpdateRule):
    """`slot = decay slot + (1 - decay) gradient^2`, `update = -rate gradient / sqrt(slot + epsilon)`.

    The slots are carried by the iterate, so that gradients of the outer loop pass through them.

    Args:
      rate: positive.
      decay: of the slots, in [0, 1).
      epsilon: inside of the root, whose derivative at 0 would have no bound.
    """

    def __init__(self, rate: float, decay: float = 0.9, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.rate, self.decay, self.epsilon = rate, decay, epsilon

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """Slots of zeros."""
        return RuleState(carried=tf.nest.map_structure(tf.zeros_like, parameters))

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """One step downhill, by the size that gradients had of late."""
        slots = tf.nest.map_structure(
            lambda slot, gradient: self.decay * slot + (1 - self.decay) * tf.square(gradient),
            state.carried,
            gradients.parameters,
        )
        updates = tf.nest.map_structure(
            lambda slot, gradient: -self.rate * gradient * tf.math.rsqrt(slot + self.epsilon),
            slots,
            gradients.parameters,
        )
        return updates, state._replace(carried=slots)


class Played(NamedTuple):
    """What an iterate carries beside the player.

    Attributes:
      rollout: what this player played.
      board: where its games stand.
      seed: of what is played next, `[2]`, int32.
    """

    rollout: Rollout
    board: Board
    seed: tf.Tensor


@dataclass(frozen=True)
class PlayerUpdates:
    """The functions of an `InnerLoop`; the groups of parameters are policy and critic.

    Attributes:
      rule: makes updates of gradients.
      trace: lambda of the inner advantages.
      steps: of every game between two updates.
      limit: of a game's moves.
    """

    rule: UpdateRule
    trace: float = 0.95
    steps: int = 5
    limit: int = 200

    def first(self, policy: Weights, critic: Weights, board: Board, seed: tf.Tensor) -> Iterate:
        """The iterate before any update, once this player has played."""
        parameters = Parameters(policy, critic)
        return Iterate(parameters, self._play(policy, board, seed), self.rule.init(parameters, ()))

    def loop(self, start: Iterate, eta: tf.Tensor, updates: int) -> InnerLoop:
        """A window of so many updates."""
        fixed = tf.nest.map_structure(tf.stop_gradient, start)
        return InnerLoop(
            field=self._field,
            follow=self._follow,
            loss=self._loss,
            moved=self.rule.moved,
            start=fixed,
            meta=(eta,),
            support=Examples((), ()),
            context=(),
            steps=updates,
        )

    def _play(self, policy: Weights, board: Board, seed: tf.Tensor) -> Any:
        now, later = tf.unstack(tf.random.split(seed, 2))
        return Played(*play(policy, board, now, self.steps, self.limit), later)

    def _loss(
        self,
        iterate: Iterate,
        meta: Any,
        support: Any,
        context: Any,
        second_order: bool,
        shift: Gradients | None = None,
    ) -> tf.Tensor:
        policy, critic = iterate.parameters
        if shift is not None:
            policy, critic = tf.nest.map_structure(tf.add, iterate.parameters, shift.parameters)
        return inner_loss(policy, critic, _played(iterate).rollout, tf.sigmoid(meta[0]), self.trace)

    def _field(
        self, iterate: Iterate, meta: Any, support: Any, context: Any, second_order: bool
    ) -> tuple[Gradients, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tf.nest.flatten(iterate.parameters))
            loss = self._loss(iterate, meta, support, context, second_order)
        return Gradients(tape.gradient(loss, iterate.parameters), ()), iterate.state

    def _follow(self, iterate: Iterate, gradients: Gradients, state: Any, meta: Any) -> Iterate:
        updates, slots = self.rule.update(gradients, iterate.rule_state, iterate.parameters, meta)
        player = tf.nest.map_structure(tf.add, iterate.parameters, updates)
        return Iterate(player, self._play(player.extractor, state.board, state.seed), slots)


class Window(NamedTuple):
    """What comes of a window.

    Attributes:
      gradients: of eta, a scalar for each of the mixes.
      path: all iterates, the start first.
    """

    gradients: list[tf.Tensor]
    path: tuple[Iterate, ...]


def run_window(
    updates: PlayerUpdates, start: Iterate, eta: tf.Tensor, outer_critic: Weights, mixes: Sequence[Sequence[float]]
) -> Window:
    """Makes updates and differentiates sum_k w_k J_k by eta, for each of some weights w.

    Args:
      updates: the player's.
      start: of the window.
      eta: of the discount, a scalar.
      outer_critic: of the outer loss.
      mixes: weights of the losses after update 1, 2, ..., all of one length, which is the number of updates.
    """
    with tf.GradientTape(persistent=len(mixes) > 1, watch_accessed_variables=False) as tape:
        tape.watch(eta)
        path = Reverse().solve(updates.loop(start, eta, len(mixes[0]))).path
        assert path is not None, "reverse mode shows all iterates"
        losses = {
            update: outer_loss(iterate.parameters.extractor, outer_critic, _played(iterate).rollout)
            for update, iterate in enumerate(path[1:])
            if any(weights[update] for weights in mixes)
        }
        mixed = [tf.add_n([weights[update] * loss for update, loss in losses.items()]) for weights in mixes]
    return Window([tape.gradient(one, eta) for one in mixed], path)


def _played(iterate: Iterate) -> Played:
    # What an iterate of a learner has as its state is here what was played.
    played: Any = iterate.state
    return played
