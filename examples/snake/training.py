"""Trains a player and its discount, and says how well it plays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation import Iterate, RuleState
from cml_tf.adaptation.updates import Gradients
from cml_tf.learners import Parameters
from cml_tf.objectives import trajectory_weights
from examples.snake.agent import Weights, answer, critic_loss, new_network
from examples.snake.game import DRAWS, MOVES, Board, move, observe, start
from examples.snake.window import PlayerUpdates, RMSProp, run_window


@dataclass(frozen=True)
class Settings:
    """Of a run, but for its seed.

    Attributes:
      mix: `uniform`, `geometric`, `first` or `last`: which outer losses of a window count; `fixed`: gamma stays.
      side: of the board.
      limit: moves that a game lasts at most.
      games: played at once.
      steps: of every game between two updates.
      updates: in a window, K.
      windows: of the run; each moves gamma once.
      hidden: numbers of units of both networks' hidden layers.
      rate: of RMSProp, for player and outer critic.
      gamma: the discount at the start.
      trace: lambda of the inner advantages.
      meta_rate: of Adam, for eta.
      clip: largest absolute meta-gradient.
      points: of the curve.
    """

    mix: str = "uniform"
    side: int = 4
    limit: int = 200
    games: int = 64
    steps: int = 5
    updates: int = 5
    windows: int = 3000
    hidden: tuple[int, ...] = (64, 64)
    rate: float = 5e-4
    gamma: float = 0.8
    trace: float = 0.95
    meta_rate: float = 3e-3
    clip: float = 0.1
    points: int = 20

    def weights(self) -> list[float]:
        """Of the outer losses after each update of a window."""
        if self.mix in ("first", "last", "fixed"):
            return trajectory_weights(self.updates, "one_hot", step=1 if self.mix == "first" else self.updates)
        return trajectory_weights(self.updates, self.mix)

    def as_json(self) -> dict[str, Any]:
        """As a line of results has it."""
        return {**asdict(self), "hidden": list(self.hidden)}


MIXES = ("uniform", "geometric", "last", "first", "fixed")


class Learning(NamedTuple):
    """Where a run stands, but for eta.

    Attributes:
      iterate: the player, its slots, and what it has played.
      critic: of the outer loss.
      critic_slots: of its RMSProp.
    """

    iterate: Iterate
    critic: Weights
    critic_slots: RuleState


class Run:
    """One run: `learning` and `eta` move with every window.

    Args:
      settings: of the run.
      seed: of networks and chance.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.rule = RMSProp(settings.rate)
        self.player_updates = PlayerUpdates(self.rule, settings.trace, settings.steps, settings.limit)
        generator, cells = np.random.default_rng(seed), settings.side**2
        policy, *critics = (new_network(generator, cells, settings.hidden, outputs) for outputs in (len(MOVES), 1, 1))
        of_start, of_play = tf.unstack(tf.random.split(tf.constant([seed, 4]), 2))
        board = start(tf.random.stateless_uniform([settings.games, DRAWS, cells], of_start))
        iterate = self.player_updates.first(policy, critics[0], board, of_play)
        self.learning = Learning(iterate, critics[1], self.rule.init(Parameters((), critics[1]), ()))
        self.eta = keras.Variable(np.log(settings.gamma / (1 - settings.gamma)), dtype="float32", name="eta")
        self._optimizer = keras.optimizers.Adam(settings.meta_rate)
        self._optimizer.build([self.eta])
        self._window = tf.function(self._one_window, autograph=False)

    @property
    def gamma(self) -> float:
        """The discount."""
        return float(tf.sigmoid(self.eta.value))

    def window(self) -> None:
        """Makes the updates of a window, then moves gamma and the outer critic."""
        self.learning = self._window(self.learning)

    def _one_window(self, learning: Learning) -> Learning:
        settings, (iterate, critic, slots) = self.settings, learning
        eta = tf.identity(self.eta.value)
        found = run_window(self.player_updates, iterate, eta, critic, [settings.weights()])
        if settings.mix != "fixed":
            gradient = tf.clip_by_value(found.gradients[0], -settings.clip, settings.clip)
            self._optimizer.apply([gradient], [self.eta])
        for played in found.path[:-1]:
            critic, slots = self._fit(critic, slots, played)
        return Learning(found.path[-1], critic, slots)

    def _fit(self, critic: Weights, slots: RuleState, iterate: Iterate) -> tuple[Weights, RuleState]:
        """The outer critic after one update on what was played."""
        played: Any = iterate.state
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(critic)
            loss = critic_loss(critic, played.rollout, 1.0, 1.0)
        moved = Parameters((), critic)
        updates, slots = self.rule.update(Gradients(Parameters((), tape.gradient(loss, critic)), ()), slots, moved, ())
        return tuple(part + more for part, more in zip(critic, updates.head, strict=True)), slots


def scorer(settings: Settings, games: int, greedy: bool) -> Callable[[Weights, tf.Tensor], tf.Tensor]:
    """Makes a function from a policy and a seed to the returns, `[games]`, of whole games."""

    @tf.function(autograph=False)
    def returns(policy: Weights, seed: tf.Tensor) -> tf.Tensor:
        cells = settings.side**2

        def draw(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_game, of_player = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 2))
            noise = tf.random.stateless_uniform([games, len(MOVES)], of_player, 1e-7, 1.0)
            return tf.random.stateless_uniform([games, DRAWS, cells], of_game), -tf.math.log(-tf.math.log(noise))

        def one(number: tf.Tensor, board: Board, playing: tf.Tensor, total: tf.Tensor) -> Any:
            draws, noise = draw(number)
            outputs = answer(policy, observe(board))
            chosen = tf.argmax(outputs if greedy else outputs + noise, -1, tf.int32)
            board, reward, done = move(board, chosen, draws, settings.limit)
            return number + 1, board, playing & ~done, total + tf.where(playing, reward, 0.0)

        state = (tf.constant(1), start(draw(tf.constant(0))[0]), tf.fill([games], True), tf.zeros([games]))
        return tf.while_loop(lambda number, board, playing, total: tf.reduce_any(playing), one, state)[-1]

    return returns


def train(settings: Settings, seed: int, say: Callable[[str], None] = print) -> tuple[dict[str, Any], Run]:
    """Trains a run to its end, and gives its line of results.

    Args:
      settings: of the run.
      seed: of all chance in it.
      say: is told of every point of the curve.
    """
    began, run = time.process_time(), Run(settings, seed)
    drawn, greedy = (scorer(settings, 64, choice) for choice in (False, True))
    curve: dict[str, list[float]] = {"frames": [], "drawn": [], "greedy": [], "gamma": []}
    every = max(1, settings.windows // settings.points)
    frames = settings.games * settings.steps * settings.updates
    for window in range(1, settings.windows + 1):
        run.window()
        if window % every and window != settings.windows:
            continue
        policy, of_point = run.learning.iterate.parameters.extractor, tf.constant([seed, 10_000_000 + window])
        scores = [float(np.mean(one(policy, of_point))) for one in (drawn, greedy)]
        for name, value in zip(curve, (window * frames, *scores, run.gamma), strict=True):
            curve[name].append(round(value, 4))
        say(f"{settings.mix}, seed {seed}: {window * frames} frames, return {scores[0]:.2f}, gamma {run.gamma:.4f}")
    policy, of_end = run.learning.iterate.parameters.extractor, tf.constant([seed, 20_000_000])
    final = {
        name: round(float(np.mean(scorer(settings, 256, name == "greedy")(policy, of_end))), 4)
        for name in ("drawn", "greedy")
    }
    seconds = round(time.process_time() - began)
    line = {"settings": settings.as_json(), "seed": seed, "curve": curve, "final": final, "processor_seconds": seconds}
    return line, run
