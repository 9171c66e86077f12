"""Sine waves: few-shot regression without any files (section 4.1 of the CML paper)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import ALGORITHM, DatasetError, EpisodeSource, FewShotDataset, check_integer
from cml_tf.episodes import Episode, Examples
from cml_tf.problems import Regression

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUTS = (-5.0, 5.0)


class Parameters(NamedTuple):
    """The true functions y = amplitude * sin(x - phase) of some episodes, float32 `[count]` each."""

    amplitude: np.ndarray
    phase: np.ndarray


class SinusoidSource(EpisodeSource):
    """Episodes of waves whose amplitude, phase (radians) and inputs are uniform over fixed ranges.

    The record of an episode is the bit patterns of its float32 draws: amplitude, phase, support inputs, query inputs.
    """

    def __init__(self, split: str, *, shots: int, queries: int, seed: int) -> None:
        """See `FewShotDataset.episodes`."""
        self.shots = check_integer("shots", shots, minimum=1)
        self.queries = check_integer("queries", queries, minimum=1)
        settings = {
            "kind": "y = amplitude * sin(x - phase)",
            "ranges": [AMPLITUDE, PHASE, INPUTS],
            "shots": self.shots,
            "queries": self.queries,
        }
        super().__init__(problem=Regression(outputs=1), split=split, seed=seed, settings=settings)

    def parameters(self, start: int, count: int) -> Parameters:
        """Amplitude and phase of the episodes `start` ... `start + count - 1`, to draw the true curves with."""
        records = self.indices(start, count)[:, :2].astype(np.int32)
        return Parameters(*np.ascontiguousarray(records.T).view(np.float32))

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
        return tf.cast(tf.bitcast(tf.concat(draws, 0), tf.int32), tf.int64)

    def _assemble(self, record: tf.Tensor) -> Episode:
        values = tf.bitcast(tf.cast(record, tf.int32), tf.float32)
        inputs = values[2:, tf.newaxis]
        targets = values[0] * tf.sin(inputs - values[1])
        return Episode(
            support=Examples(inputs[: self.shots], targets[: self.shots]),
            query=Examples(inputs[self.shots :], targets[self.shots :]),
        )


class SinusoidDataset(FewShotDataset):
    """Waves; the splits are independent streams over the same family, since there are no classes to keep apart."""

    def __init__(self) -> None:
        """Takes no options: the ranges are the paper's."""
        super().__init__(name="sinusoid", problem_kind="regression", input_shape=(1,), value_range=INPUTS)

    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> SinusoidSource:
        """Episodes with inputs and targets float32 `[tasks, shots or queries, 1]`; see `FewShotDataset.episodes`."""
        if ways is not None:
            raise DatasetError(f"ways must be None for sinusoid (regression), received {ways!r}.")
        return SinusoidSource(self.check_split(split), shots=shots, queries=queries, seed=seed)

    def class_names(self, split: str) -> tuple[str, ...]:
        """Always empty: regression has no classes."""
        self.check_split(split)
        return ()
