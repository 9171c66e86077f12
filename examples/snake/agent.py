"""The player: a policy and a critic, two small networks, and the losses that both levels take of what was played.

With r the rewards, d = 0 where a game ends and else 1, V the critic and gamma the discount, the advantage is

    A_t = sum_i (gamma lambda)^i delta_(t+i),   delta_t = r_t + gamma d_t V_(t+1) - V_t,

its sum ending with a game, and with the last step that was played. V is a constant in it and gamma is not.

    inner loss = -mean(A log pi) + mean((A + stop(V) - V)^2) / 2 - 0.01 mean(entropy of pi)
    outer loss = -mean(A' log pi)

A' has gamma' = lambda' = 1 and a critic of its own, which is trained beside and belongs to neither level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from examples.snake.game import DRAWS, MOVES, PLANES, Board, move, observe

ENTROPY = 0.01
Weights = tuple[tf.Tensor, ...]
"""Of one network: a kernel and a bias for each layer."""


class Rollout(NamedTuple):
    """What was played.

    Attributes:
      seen: `[steps + 1, games, cells, PLANES]`; the last is what comes after the last step.
      action: `[steps, games]`, int32.
      reward: `[steps, games]`, float32.
      going: `[steps, games]`, float32: 0 where the step ended a game, else 1.
    """

    seen: tf.Tensor
    action: tf.Tensor
    reward: tf.Tensor
    going: tf.Tensor


def new_network(generator: np.random.Generator, cells: int, hidden: Sequence[int], outputs: int) -> Weights:
    """Dense layers with ReLU between them; the last one begins small, so that a policy begins nearly even."""
    sizes = [cells * PLANES, *hidden, outputs]
    weights: list[tf.Tensor] = []
    for layer, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        scale = np.sqrt(2 / fan_in) if layer < len(hidden) else 0.1 / np.sqrt(fan_in)
        weights += [tf.constant(scale * generator.standard_normal((fan_in, fan_out)), tf.float32), tf.zeros(fan_out)]
    return tuple(weights)


def answer(weights: Weights, seen: tf.Tensor) -> tf.Tensor:
    """What a network says of what is seen, `[..., cells, PLANES]` to `[..., outputs]`."""
    lead = tf.shape(seen)[:-2]
    hidden = tf.cast(tf.reshape(seen, [-1, weights[0].shape[0]]), weights[0].dtype)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        hidden = tf.nn.relu(hidden @ kernel + bias)
    return tf.reshape(hidden @ weights[-2] + weights[-1], tf.concat([lead, [weights[-1].shape[0]]], 0))


def play(policy: Weights, board: Board, seed: tf.Tensor, steps: int, limit: int) -> tuple[Rollout, Board]:
    """Plays some steps in every game by actions drawn from the policy; no gradient passes.

    Args:
      policy: network with an output for each action.
      board: where the games stand.
      seed: `[2]`, int32, from which all chance follows.
      steps: how many.
      limit: of `move`.
    """
    policy = tuple(tf.stop_gradient(part) for part in policy)
    games, cells = board.order.shape
    of_game, of_player = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([steps, games, DRAWS, cells], of_game)
    # The highest of log-probabilities with Gumbel noise is a draw from them.
    noise = -tf.math.log(-tf.math.log(tf.random.stateless_uniform([steps, games, len(MOVES)], of_player, 1e-7, 1.0)))
    seen, actions, rewards, going = [observe(board)], [], [], []
    for step in range(steps):
        outputs = answer(policy, seen[-1])
        actions.append(tf.argmax(outputs + tf.cast(noise[step], outputs.dtype), -1, tf.int32))
        board, reward, done = move(board, actions[-1], draws[step], limit)
        seen.append(observe(board))
        rewards.append(reward)
        going.append(1 - tf.cast(done, tf.float32))
    return Rollout(*(tf.stack(part) for part in (seen, actions, rewards, going))), board


def advantages(rollout: Rollout, values: tf.Tensor, gamma: tf.Tensor | float, trace: float) -> tf.Tensor:
    """Generalised advantages, `[steps, games]`.

    Args:
      rollout: what was played.
      values: of all that was seen, `[steps + 1, games]`; constants here.
      gamma: the discount, which a gradient may pass to.
      trace: lambda.
    """
    values = tf.stop_gradient(values)
    reward, going = tf.cast(rollout.reward, values.dtype), tf.cast(rollout.going, values.dtype)
    found = [tf.zeros_like(values[0])]
    for step in reversed(range(reward.shape[0])):
        delta = reward[step] + gamma * going[step] * values[step + 1] - values[step]
        found.append(delta + gamma * trace * going[step] * found[-1])
    return tf.stack(found[:0:-1])


def inner_loss(policy: Weights, critic: Weights, rollout: Rollout, gamma: tf.Tensor, trace: float) -> tf.Tensor:
    """What the player's updates lower, a scalar; it depends on gamma."""
    values = answer(critic, rollout.seen)[..., 0]
    advantage = advantages(rollout, values, gamma, trace)
    wanted = advantage + tf.stop_gradient(values[:-1])
    logs = tf.nn.log_softmax(answer(policy, rollout.seen[:-1]))
    entropy = -tf.reduce_mean(tf.reduce_sum(tf.exp(logs) * logs, -1))
    of_policy = -tf.reduce_mean(advantage * _taken(logs, rollout))
    return of_policy + tf.reduce_mean(tf.square(wanted - values[:-1])) / 2 - ENTROPY * entropy


def outer_loss(policy: Weights, outer_critic: Weights, rollout: Rollout) -> tf.Tensor:
    """What gamma is to lower, a scalar; it depends on the policy alone."""
    advantage = advantages(rollout, answer(outer_critic, rollout.seen)[..., 0], 1.0, 1.0)
    return -tf.reduce_mean(advantage * _taken(tf.nn.log_softmax(answer(policy, rollout.seen[:-1])), rollout))


def critic_loss(critic: Weights, rollout: Rollout, gamma: float, trace: float) -> tf.Tensor:
    """What a critic alone lowers, a scalar."""
    values = answer(critic, rollout.seen)[..., 0]
    wanted = advantages(rollout, values, gamma, trace) + tf.stop_gradient(values[:-1])
    return tf.reduce_mean(tf.square(wanted - values[:-1])) / 2


def _taken(logs: tf.Tensor, rollout: Rollout) -> tf.Tensor:
    return tf.gather(logs, rollout.action, batch_dims=2)
