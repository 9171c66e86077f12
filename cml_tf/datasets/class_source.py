"""Classification episodes of whatever is sorted by class."""

from __future__ import annotations

import abc
import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import ALGORITHM, DatasetError, EpisodeSource, check_integer
from cml_tf.episodes import Episode, Examples
from cml_tf.problems import Classification


class ClassSource(EpisodeSource):
    """Episodes of `ways` different classes, with `shots + queries` different examples of each.

    The record of an episode is int64 `[ways, 1 + shots + queries]`: the class number, then the numbers of its examples
    within the class, support first. Row w holds label w; which class gets which label is random. Examples come class
    after class.
    """

    def __init__(
        self,
        *,
        class_names: Sequence[str],
        counts: np.ndarray,
        content: dict[str, Any],
        split: str,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        context: Any = (),
        chosen: np.ndarray | None = None,
    ) -> None:
        """Arguments beyond those of `FewShotDataset.episodes`.

        Args:
          class_names: names, for errors.
          counts: how many examples each class has, int64 `[classes]`.
          content: what the examples are, as JSON values: part of the fingerprint.
          split: see `FewShotDataset.episodes`, like those not named here.
          ways: likewise.
          shots: likewise.
          queries: likewise.
          seed: likewise.
          context: see `EpisodeSource`.
          chosen: positions of the classes that episodes are made of, int64; None for all. They are numbered anew.

        Raises:
          DatasetError: if there are fewer classes than `ways`, or a class with fewer examples than shots + queries.
        """
        self.shots = check_integer("shots", shots, minimum=1)
        self.queries = check_integer("queries", queries, minimum=1)
        self.ways = check_integer("ways", ways, minimum=2)
        self._counts = np.asarray(counts, np.int64)
        self._offsets = np.cumsum(self._counts) - self._counts
        if chosen is not None:
            class_names = [class_names[position] for position in chosen]
            self._counts, self._offsets = self._counts[chosen], self._offsets[chosen]
            content = {**content, "classes": chosen.tolist()}
        _check_enough(class_names, self._counts, split, self.ways, self.shots, self.queries)
        settings = {**content, "ways": self.ways, "shots": self.shots, "queries": self.queries}
        super().__init__(problem=Classification(self.ways), split=split, seed=seed, settings=settings, context=context)

    @abc.abstractmethod
    def _inputs(self, positions: tf.Tensor) -> tf.Tensor:
        """The inputs of some examples, `[examples, ...]`.

        Args:
          positions: int64 `[examples]`: the examples of class 0 have the first positions, then come those of class 1.
        """

    def sizes(self, record: tf.Tensor) -> tf.Tensor:
        """How many examples in all the classes of an episode have, int64 `[ways]`, from its record."""
        return tf.gather(self._counts, record[:, 0])

    def within(self, ways: int) -> Self:
        """The same episodes for a model that has room for more classes.

        Raises:
          DatasetError: if it has room for fewer.
        """
        if ways < self.ways:
            raise DatasetError(
                f"ways must be at most {ways}, the most that the model takes, received {self.ways}: ask for fewer."
            )
        if ways == self.ways:
            return self
        # With the graphs of this source where it has some: the episodes are the same.
        other = copy.copy(self)
        other.problem = Classification(ways)
        return other

    def draw(self, key: tf.Tensor) -> tf.Tensor:
        """Class numbers, and behind each the numbers of its examples, int64 `[ways, 1 + shots + queries]`."""
        class_key, example_key = tf.unstack(tf.random.split(key, 2, alg=ALGORITHM))
        classes = random_choice(len(self._counts), self.ways, class_key)
        counts = tf.gather(self._counts, classes)
        most = int(self._counts.max())
        ranks = _random_bits([self.ways, most], example_key)
        # Examples that a class does not have rank last; `_check_enough` made sure that none of them is needed.
        ranks = tf.where(tf.range(most, dtype=tf.int64) < counts[:, tf.newaxis], ranks, tf.int64.min)
        return tf.concat([classes[:, tf.newaxis], _largest(ranks, self.shots + self.queries)], axis=1)

    def assemble(self, record: tf.Tensor) -> Episode:
        """The examples of a record, class after class."""
        positions = tf.gather(self._offsets, record[:, :1]) + record[:, 1:]
        return Episode(
            support=self._examples(positions[:, : self.shots]),
            query=self._examples(positions[:, self.shots :]),
            classes=tf.cast(record[:, 0], tf.int32),
        )

    def _examples(self, positions: tf.Tensor) -> Examples:
        labels = tf.repeat(tf.range(self.ways, dtype=tf.int32), positions.shape[1])
        labels = tf.ensure_shape(labels, [positions.shape.num_elements()])
        return Examples(self._inputs(tf.reshape(positions, [-1])), labels)


def random_choice(count: int, chosen: int, key: Any) -> tf.Tensor:
    """`chosen` different numbers in [0, count), in random order, int64 `[chosen]`: a pure function of `key`."""
    # The largest of independent random numbers: a uniform choice without repetition.
    return _largest(_random_bits([count], key), chosen)


def _check_enough(
    class_names: Sequence[str], counts: np.ndarray, split: str, ways: int, shots: int, queries: int
) -> None:
    if ways > len(class_names):
        raise DatasetError(f"ways must be at most {len(class_names)}, the number of {split} classes, received {ways}.")
    smallest = int(np.argmin(counts))
    if shots + queries > counts[smallest]:
        raise DatasetError(
            f"shots + queries must be at most {counts[smallest]}, the number of examples of the class "
            f"{class_names[smallest]!r} in {split}, received {shots} + {queries}."
        )


def _random_bits(shape: list[int], key: Any) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, key, minval=None, maxval=None, dtype=tf.int64, alg=ALGORITHM)


def _largest(values: tf.Tensor, count: int) -> tf.Tensor:
    return tf.math.top_k(values, count, index_type=tf.int64).indices
