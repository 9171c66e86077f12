"""Sine waves: few-shot regression without any files (section 4.1 of the CML paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import ALGORITHM, SPLITS, DatasetError, EpisodeSource, FewShotDataset, check_integer
from cml_tf.episodes import Episode, Examples
from cml_tf.problems import Regression

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUTS = (-5.0, 5.0)
# What the keys of noise are made from, beside the episode's.
_NOISE, _WHETHER = 11, 12


class Parameters(NamedTuple):
    """The true functions y = amplitude * sin(x - phase) of some episodes, float32 `[count]` each."""

    amplitude: np.ndarray
    phase: np.ndarray


class SinusoidSource(EpisodeSource):
    """Episodes of waves whose amplitude, phase (radians) and inputs are uniform over fixed ranges.

    The record of an episode is the bit patterns of its float32 draws: amplitude, phase, support inputs, query inputs;
    and, where there are noisy tasks, 1 for one of them (else 0) and its targets.
    """

    def __init__(
        self,
        split: str,
        *,
        shots: int,
        queries: int,
        seed: int,
        noisy_tasks: float = 0.0,
        noise_variance: float = 25.0,
    ) -> None:
        """See `FewShotDataset.episodes`, and `SinusoidDataset` for the last two."""
        self.shots = check_integer("shots", shots, minimum=1)
        self.queries = check_integer("queries", queries, minimum=1)
        settings = {
            "kind": "y = amplitude * sin(x - phase)",
            "ranges": [AMPLITUDE, PHASE, INPUTS],
            "shots": self.shots,
            "queries": self.queries,
        }
        self.noisy_tasks = noisy_tasks
        self.noise_variance = noise_variance
        if noisy_tasks:
            # Without, the stream is the one of before there was noise, and is called so.
            settings |= {"noisy_tasks": noisy_tasks, "noise_variance": noise_variance}
        super().__init__(problem=Regression(outputs=1), split=split, seed=seed, settings=settings)

    def parameters(self, start: int, count: int) -> Parameters:
        """Amplitude and phase of the episodes `start` ... `start + count - 1`, to draw the true curves with."""
        records = self.indices(start, count)[:, :2].astype(np.int32)
        return Parameters(*np.ascontiguousarray(records.T).view(np.float32))

    def noisy(self, start: int, count: int) -> np.ndarray:
        """Whether each of the episodes `start` ... `start + count - 1` has noise in the place of its wave."""
        if not self.noisy_tasks:
            return np.zeros(count, bool)
        flags = self.indices(start, count)[:, 2 + self.shots + self.queries]
        return flags.astype(np.int32).view(np.float32) > 0

    def _draw(self, key: tf.Tensor) -> tf.Tensor:
        amplitude_key, phase_key, inputs_key = tf.unstack(tf.random.split(key, 3, alg=ALGORITHM))
        draws = [
            tf.random.stateless_uniform([size], draw_key, *limits, alg=ALGORITHM)
            for size, draw_key, limits in (
                (1, amplitude_key, AMPLITUDE),
                (1, phase_key, PHASE),
                (self.shots + self.queries, inputs_key, INPUTS),
            )
        ]
        if self.noisy_tasks:
            draws += self._noise(key)
        return tf.cast(tf.bitcast(tf.concat(draws, 0), tf.int32), tf.int64)

    def _noise(self, key: tf.Tensor) -> list[tf.Tensor]:
        """Whether the task is noisy, and its targets if it is; waves are drawn as they are without."""
        whether, noise = (tf.random.fold_in(key, salt, alg=ALGORITHM) for salt in (_WHETHER, _NOISE))
        drawn = tf.random.stateless_uniform([1], whether, alg=ALGORITHM)
        deviation, size = math.sqrt(self.noise_variance), self.shots + self.queries
        targets = tf.random.stateless_normal([size], noise, stddev=deviation, alg=ALGORITHM)
        return [tf.cast(drawn < self.noisy_tasks, tf.float32), targets]

    def _assemble(self, record: tf.Tensor) -> Episode:
        values = tf.bitcast(tf.cast(record, tf.int32), tf.float32)
        size = self.shots + self.queries
        inputs = values[2 : 2 + size, tf.newaxis]
        targets = values[0] * tf.sin(inputs - values[1])
        if self.noisy_tasks:
            targets = tf.where(values[2 + size] > 0, values[3 + size :, tf.newaxis], targets)
        return Episode(
            support=Examples(inputs[: self.shots], targets[: self.shots]),
            query=Examples(inputs[self.shots :], targets[self.shots :]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SinusoidDataset(FewShotDataset):
    """Waves; the splits are independent streams over the same family, since there are no classes to keep apart.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid", noisy_tasks=0.25, noise_variance=25.0)
      >>> int(waves.episodes("train", shots=5, queries=5, seed=0).noisy(0, 1000).sum())
      242

    Attributes:
      noisy_tasks: share of training tasks, from 0 to 1, all of whose targets (of support and query sets) are normal
        noise of mean 0 instead of a wave. The other training tasks, validation and tests are the same as without.
      noise_variance: of that noise, positive; the mean square of waves is 4.25.

    Raises:
      DatasetError: for a number out of range.
    """

    # What is the same of all of them is no argument, so that `load` offers none of it.
    name: str = field(default="sinusoid", init=False)
    problem_kind: Literal["classification", "regression"] = field(default="regression", init=False)
    input_shape: tuple[int, ...] = field(default=(1,), init=False)
    value_range: tuple[float, float] = field(default=INPUTS, init=False)
    splits: tuple[str, ...] = field(default=SPLITS, init=False)
    noisy_tasks: float = 0.0
    noise_variance: float = 25.0

    def __post_init__(self) -> None:
        if not 0 <= self.noisy_tasks <= 1:
            raise DatasetError(f"noisy_tasks must be a share from 0 to 1, received {self.noisy_tasks!r}.")
        if not 0 < self.noise_variance < math.inf:
            raise DatasetError(f"noise_variance must be positive, received {self.noise_variance!r}.")

    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> SinusoidSource:
        """Episodes with inputs and targets float32 `[tasks, shots or queries, 1]`; see `FewShotDataset.episodes`."""
        if ways is not None:
            raise DatasetError(f"ways must be None for sinusoid (regression), received {ways!r}.")
        noisy = self.noisy_tasks if self.check_split(split) == "train" else 0.0
        return SinusoidSource(
            split, shots=shots, queries=queries, seed=seed, noisy_tasks=noisy, noise_variance=self.noise_variance
        )

    def class_names(self, split: str) -> tuple[str, ...]:
        """Always empty: regression has no classes."""
        self.check_split(split)
        return ()
