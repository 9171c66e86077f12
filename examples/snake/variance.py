"""How much meta-gradients vary, and how far they are off, where the player stands still.

A short training makes a player. Then every seed begins 512 new games, plays until they are well mixed, and makes one
window of 20 updates. Of its losses J_k come g_1 to g_5 and g_20, so that all of them, and the mixes of the first five,
are compared on the same windows. With n seeds,

    relative variance = var / (mean^2 - var / n),    bias = mean - mean of g_20,

where var / n takes from mean^2 what noise adds to it. Intervals are the middle 95 % of 2,000 resamplings of the seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.objectives import trajectory_weights
from cml_tf.training.evaluator import confidence_interval
from examples.snake.agent import play
from examples.snake.game import DRAWS, start
from examples.snake.training import Run, Settings
from examples.snake.window import run_window

SHORT, LONG = 5, 20
GAMES, MIXING = 512, 60
"""Games of a window, and moves in every one before it, so that games of all ages are in it."""


def meta_gradients(run: Run, seeds: int) -> np.ndarray:
    """g_1 to g_5 and g_20 of each seed, `[seeds, 6]`; the run stays as it is."""
    settings = run.settings
    mixes = [trajectory_weights(LONG, "one_hot", step=step) for step in (*range(1, SHORT + 1), LONG)]
    learning, eta = run.learning, tf.identity(run.eta.value)
    player = learning.iterate.parameters

    @tf.function(autograph=False)
    def of_seed(seed: tf.Tensor) -> tf.Tensor:
        of_start, of_mixing, of_window = tf.unstack(tf.random.split(seed, 3))
        board = start(tf.random.stateless_uniform([GAMES, DRAWS, settings.side**2], of_start))
        _, board = play(player.extractor, board, of_mixing, MIXING, settings.limit)
        first = run.player_updates.first(player.extractor, player.head, board, of_window)
        first = first._replace(rule_state=learning.iterate.rule_state)
        return tf.stack(run_window(run.player_updates, first, eta, learning.critic, mixes).gradients)

    return np.array([of_seed(tf.constant([seed, 30_000_000])) for seed in range(seeds)], np.float64)


def estimators(gradients: np.ndarray) -> dict[str, np.ndarray]:
    """What a window of five updates may follow, `[seeds]` each: g_1, g_5 and the mixes."""
    early = gradients[:, :SHORT]
    mixed = {kind: early @ np.array(trajectory_weights(SHORT, kind)) for kind in ("uniform", "geometric")}
    return {"g_1": early[:, 0], "g_5": early[:, -1], **mixed}


def relative_variance(values: np.ndarray) -> np.ndarray:
    """Of the last axis; infinite where nothing but noise is left of the mean."""
    variance, count = values.var(-1, ddof=1), values.shape[-1]
    square = values.mean(-1) ** 2 - variance / count
    return np.where(square > 0, variance / np.where(square > 0, square, 1.0), np.inf)


def summary(gradients: np.ndarray) -> dict[str, Any]:
    """The figures of all estimators, and those that the claim is about.

    Args:
      gradients: of `meta_gradients`.
    """
    last, found = gradients[:, -1], estimators(gradients)
    rows = np.random.default_rng(0).integers(len(gradients), size=(2000, len(gradients)))
    everyone = np.arange(len(gradients))[None]

    def measured(figure: Callable[..., np.ndarray], *values: np.ndarray) -> dict[str, Any]:
        """A figure of numbers of the seeds."""
        with np.errstate(invalid="ignore"):
            low, high = np.quantile(figure(*(one[rows] for one in values)), [0.025, 0.975], method="nearest")
            value = figure(*(one[everyone] for one in values))[0]
        return {"value": _rounded(value), "interval": [_rounded(low), _rounded(high)]}

    return {
        "seeds": len(gradients),
        "games": GAMES,
        "mean": {name: measured(_mean, own) for name, own in {**found, "g_20": last}.items()},
        "variance": {name: _rounded(own.var(ddof=1)) for name, own in found.items()},
        "relative_variance": {name: measured(relative_variance, own) for name, own in found.items()},
        "relative_variance_of_g_5_over_it": {name: measured(_ratio, found["g_5"], own) for name, own in found.items()},
        "bias": {name: measured(_mean, own - last) for name, own in found.items()},
        "bias_of_g_1_minus_it": {
            name: measured(_farther, found["g_1"] - last, own - last) for name, own in found.items()
        },
    }


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1)


def _ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return relative_variance(one) / relative_variance(other)


def _farther(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.mean(-1)) - np.abs(other.mean(-1))


def players_table(measured: Sequence[dict[str, Any]]) -> str:
    """Markdown: of players trained for as long, means over players with their 95 % intervals, and the claim by player.

    Args:
      measured: of `measure`, at least one.
    """
    lengths = sorted({one["windows_before"] for one in measured})
    columns = {length: [one for one in measured if one["windows_before"] == length] for length in lengths}
    found = {length: [summary(np.array(one["gradients"])) for one in ones] for length, ones in columns.items()}
    rows: dict[str, list[str]] = defaultdict(list)
    for length, summaries in found.items():
        for name, figure in _FIGURES.items():
            rows[name].append(_over_players([figure(one) for one in summaries]))
        claims = {one["player"]: _claim(own) for one, own in zip(columns[length], summaries, strict=True)}
        for player in sorted({one["player"] for one in measured}):
            rows[f"relative variance of g_5 over the uniform mix's, player {player}"].append(claims.get(player, ""))
    lines = [f"| | {' | '.join(f'{length} windows' for length in lengths)} |", f"|---|{'---|' * len(lengths)}"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def _over_players(values: list[float]) -> str:
    places = 2 if np.mean(values) >= 1 else 3
    wide = f" ± {confidence_interval(np.array(values)):.{places}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{places}f}{wide}"


def _claim(own: dict[str, Any]) -> str:
    claim = own["relative_variance_of_g_5_over_it"]["uniform"]
    low, high = claim["interval"]
    return f"{claim['value']:.2f} ({low:.2f} to {high:.2f})"


def _share(name: str) -> Callable[[dict[str, Any]], float]:
    return lambda own: own["mean"][name]["value"] / own["mean"]["g_20"]["value"]


def _relative(mix: str) -> Callable[[dict[str, Any]], float]:
    return lambda own: own["relative_variance_of_g_5_over_it"][mix]["value"]


_FIGURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "variance of g_5 over the uniform mix's": lambda own: own["variance"]["g_5"] / own["variance"]["uniform"],
    "relative variance of g_5 over the uniform mix's": _relative("uniform"),
    "relative variance of g_5 over the geometric mix's": _relative("geometric"),
    "mean of g_1 over that of g_20": _share("g_1"),
    "mean of the uniform mix over that of g_20": _share("uniform"),
    "mean of g_5 over that of g_20": _share("g_5"),
}


def measure(settings: Settings, windows: int, seeds: int, player: int = 0) -> dict[str, Any]:
    """Trains a player for so many windows, and takes the meta-gradients of so many seeds at it.

    Args:
      settings: of the player.
      windows: that train it.
      seeds: of the meta-gradients, from 0 on.
      player: the seed of its training.

    Returns:
      As JSON: the settings, seed, windows and discount of the player, and `gradients`, `[seeds, 6]` of
      `meta_gradients`, each with seven digits.
    """
    run = Run(settings, player)
    for _ in range(windows):
        run.window()
    return {
        "settings": settings.as_json(),
        "player": player,
        "windows_before": windows,
        "gamma": round(run.gamma, 4),
        "gradients": [[float(f"{value:.7g}") for value in row] for row in meta_gradients(run, seeds)],
    }


def _rounded(value: Any) -> float | None:
    """To four digits; none if it is not finite: where noise left nothing of a mean."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
