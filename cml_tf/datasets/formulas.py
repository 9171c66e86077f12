"""Few-shot regression of functions that a formula gives: there are no files, episodes are made as they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import ALGORITHM, DatasetError, EpisodeSource, FewShotDataset, check_integer
from cml_tf.episodes import Episode, Examples
from cml_tf.problems import Regression

Range = tuple[float, float]
# What the keys of noise are made from, beside the episode's.
_NOISE, _WHETHER = 11, 12


@dataclass(frozen=True)
class Formula:
    """A family of functions of one or more numbers; each task is the function of one choice of parameters.

    Attributes:
      text: the formula, for the fingerprint.
      parameters: over which range each parameter is uniform, by name.
      inputs: over which range each number of an input is uniform.
      dimensions: how many numbers an input has.
      value: from the parameters, scalars in their order, and inputs `[examples, dimensions]` to targets
        `[examples, 1]`.
    """

    text: str
    parameters: Mapping[str, Range]
    inputs: Range
    dimensions: int
    value: Callable[..., tf.Tensor]


class FormulaSource(EpisodeSource):
    """Episodes of a formula's functions, each at points of its own.

    The record of an episode is the bit patterns of its float32 draws: parameters, support inputs, query inputs; and,
    where there are noisy tasks, 1 for one of them (else 0) and its targets. With a fixed number of tasks every episode
    is one of the first so many of the endless stream, points included.
    """

    def __init__(
        self,
        formula: Formula,
        split: str,
        *,
        shots: int,
        queries: int,
        seed: int,
        tasks: int = 0,
        noisy_tasks: float = 0.0,
        noise_variance: float = 25.0,
    ) -> None:
        """See `FewShotDataset.episodes`.

        Args:
          formula: whose functions are learned.
          split: of the stream.
          shots: support points.
          queries: query points.
          seed: of the stream.
          tasks: how many different tasks the stream holds; 0 for a new one with every episode.
          noisy_tasks: as of `FormulaDataset`.
          noise_variance: likewise.
        """
        self.formula = formula
        self.shots = check_integer("shots", shots, minimum=1)
        self.queries = check_integer("queries", queries, minimum=1)
        self.tasks = check_integer("tasks", tasks, minimum=0)
        self.noisy_tasks, self.noise_variance = noisy_tasks, noise_variance
        noise = {"noisy_tasks": noisy_tasks, "noise_variance": noise_variance}
        settings: dict[str, Any] = {
            "kind": formula.text,
            "ranges": [*formula.parameters.values(), formula.inputs],
            "shots": self.shots,
            "queries": self.queries,
            # Endless streams without noise keep the fingerprint that they had before there was a choice.
            **({"tasks": self.tasks} if self.tasks else {}),
            **(noise if noisy_tasks else {}),
        }
        super().__init__(problem=Regression(outputs=1), split=split, seed=seed, settings=settings)

    def parameters(self, start: int, count: int) -> tuple[np.ndarray, ...]:
        """Each parameter of the episodes `start` ... `start + count - 1`, float32 `[count]`, in the formula's order."""
        records = self.indices(start, count)[:, : len(self.formula.parameters)].astype(np.int32)
        return tuple(np.ascontiguousarray(records.T).view(np.float32))

    def noisy(self, start: int, count: int) -> np.ndarray:
        """Whether each of the episodes `start` ... `start + count - 1` has noise in the place of its function."""
        if not self.noisy_tasks:
            return np.zeros(count, bool)
        flags = self.indices(start, count)[:, self._drawn]
        return flags.astype(np.int32).view(np.float32) > 0

    @property
    def _drawn(self) -> int:
        """How many numbers an episode without noise has: its parameters, and those of its inputs."""
        return len(self.formula.parameters) + (self.shots + self.queries) * self.formula.dimensions

    def _record(self, number: tf.Tensor) -> tf.Tensor:
        if self.tasks:
            # With a key of its own: that of the episode makes the draws of the task that has its number.
            key = tf.random.fold_in(self._key(number), 0, alg=ALGORITHM)
            number = tf.random.stateless_uniform([], key, maxval=self.tasks, dtype=tf.int64, alg=ALGORITHM)
        return super()._record(number)

    def draw(self, key: tf.Tensor) -> tf.Tensor:
        """The bits of parameters and inputs, and of the noise where there may be some, int64 `[numbers]`."""
        values = (self.shots + self.queries) * self.formula.dimensions
        sizes = [*((1, limits) for limits in self.formula.parameters.values()), (values, self.formula.inputs)]
        keys = tf.unstack(tf.random.split(key, len(sizes), alg=ALGORITHM))
        draws = [
            tf.random.stateless_uniform([size], draw_key, *limits, alg=ALGORITHM)
            for (size, limits), draw_key in zip(sizes, keys, strict=True)
        ]
        if self.noisy_tasks:
            draws += self._noise(key)
        return tf.cast(tf.bitcast(tf.concat(draws, 0), tf.int32), tf.int64)

    def _noise(self, key: tf.Tensor) -> list[tf.Tensor]:
        """Whether the task is noisy, and its targets if it is; functions are drawn as they are without."""
        whether, noise = (tf.random.fold_in(key, salt, alg=ALGORITHM) for salt in (_WHETHER, _NOISE))
        drawn = tf.random.stateless_uniform([1], whether, alg=ALGORITHM)
        deviation, size = math.sqrt(self.noise_variance), self.shots + self.queries
        targets = tf.random.stateless_normal([size], noise, stddev=deviation, alg=ALGORITHM)
        return [tf.cast(drawn < self.noisy_tasks, tf.float32), targets]

    def assemble(self, record: tf.Tensor) -> Episode:
        """The points of a record, support first."""
        values, count = tf.bitcast(tf.cast(record, tf.int32), tf.float32), len(self.formula.parameters)
        inputs = tf.reshape(values[count : self._drawn], [-1, self.formula.dimensions])
        targets = self.formula.value(*tf.unstack(values[:count]), inputs)
        if self.noisy_tasks:
            targets = tf.where(values[self._drawn] > 0, values[self._drawn + 1 :, tf.newaxis], targets)
        return Episode(
            support=Examples(inputs[: self.shots], targets[: self.shots]),
            query=Examples(inputs[self.shots :], targets[self.shots :]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FormulaDataset(FewShotDataset):
    """A formula's functions; the splits are independent streams of them, since there are no classes to keep apart.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid", noisy_tasks=0.25, noise_variance=25.0)
      >>> int(waves.episodes("train", shots=5, queries=5, seed=0).noisy(0, 1000).sum())
      242

    Attributes:
      formula: whose functions are learned.
      tasks: how many different tasks training has; 0 for a new one with every episode. The other splits never repeat.
      noisy_tasks: share of training tasks, from 0 to 1, all of whose targets (of support and query sets) are normal
        noise of mean 0 instead of a function. The other training tasks, validation and tests are the same as without.
      noise_variance: of that noise, positive; the mean square of waves is 4.25.

    Raises:
      UserError: for a number out of range.
    """

    formula: Formula
    tasks: int = 0
    noisy_tasks: float = 0.0
    noise_variance: float = 25.0

    def __post_init__(self) -> None:
        check_integer("tasks", self.tasks, minimum=0)
        if not 0 <= self.noisy_tasks <= 1:
            raise DatasetError(f"noisy_tasks must be a share from 0 to 1, received {self.noisy_tasks!r}.")
        if not 0 < self.noise_variance < math.inf:
            raise DatasetError(f"noise_variance must be positive, received {self.noise_variance!r}.")

    @classmethod
    def of(
        cls, name: str, formula: Formula, tasks: int = 0, noisy_tasks: float = 0.0, noise_variance: float = 25.0
    ) -> FormulaDataset:
        """The dataset of a formula, under its name."""
        return cls(
            name=name,
            problem_kind="regression",
            input_shape=(formula.dimensions,),
            value_range=formula.inputs,
            formula=formula,
            tasks=tasks,
            noisy_tasks=noisy_tasks,
            noise_variance=noise_variance,
        )

    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> FormulaSource:
        """Inputs float32 `[tasks, shots or queries, dimensions]`, targets `[..., 1]`; see `FewShotDataset.episodes`."""
        if ways is not None:
            raise DatasetError(f"ways must be None for {self.name} (regression), received {ways!r}.")
        training = {
            "tasks": self.tasks,
            "noisy_tasks": self.noisy_tasks,
            "noise_variance": self.noise_variance,
        }
        own: dict[str, Any] = training if self.check_split(split) == "train" else {}
        return FormulaSource(self.formula, split, shots=shots, queries=queries, seed=seed, **own)

    def class_names(self, split: str) -> tuple[str, ...]:
        """Always empty: regression has no classes."""
        self.check_split(split)
        return ()
