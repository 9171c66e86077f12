"""What every dataset offers: splits, and for each split an endless stream of episodes that are numbered.

Episode i of a split is a pure function of (seed, split, i): the position in a stream is one integer. Exact resumption,
comparing two runs on the same episodes and sharding all follow from that.
"""

from __future__ import annotations

import abc
import hashlib
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from cml_tf.episodes import Episode
from cml_tf.errors import DatasetError, UserError
from cml_tf.problems import Problem

SPLITS = ("train", "validation", "test")

# Counter-based and specified bit by bit; "auto_select" would let the device choose the numbers.
ALGORITHM = "philox"
_PREFETCHED_BATCHES = 4
_NUMBER = tf.TensorSpec([], tf.int64)
_LARGEST = np.iinfo(np.int64).max
# No learner here is for larger images, and a slip of the pen would ask for terabytes.
LARGEST_SIDE = 4096
_IMAGE_SIZE = f"image_size must be (height, width), both positive and at most {LARGEST_SIDE}, received {{!r}}."


class EpisodeSource(abc.ABC):
    """Endless, stateless stream of the episodes of one split.

    An episode is first *drawn*: a record of int64 numbers that identifies it (classes and example numbers, say). Then
    it is *assembled* from that record alone. Both are traced once, without AutoGraph: what they read of the source must
    not change later, and conditions on tensors are `tf.cond`.

    Example:
      >>> source = cml_tf.datasets.load("sinusoid").episodes("test", shots=5, queries=10, seed=0)
      >>> bool((source.batch(7, 1).query.inputs == source.batch(6, 2).query.inputs[1:]).numpy().all())
      True

    Attributes:
      problem: what the targets mean.
      split: which split the episodes come from.
      seed: which of the streams of that split this is.
      fingerprint: SHA-256 in hexadecimal over the content of the split and the settings of the sampling (ways, shots,
        queries, split), but not the seed. Two sources with one fingerprint and one seed yield the same episodes.
      context: what all episodes of the stream share, a graph for example: any `tf.nest` structure of eager tensors,
        `()` for nothing.
    """

    def __init__(self, *, problem: Problem, split: str, seed: int, settings: dict[str, Any], context: Any = ()) -> None:
        """Sets the attributes; `settings` holds everything but the seed that determines an episode, as JSON values."""
        self.problem = problem
        self.context = context
        self.split = split
        self.seed = check_integer("seed", seed, minimum=0)
        self.fingerprint = digest({"split": split, **settings})
        self._stream_key = np.array([self.seed, _stable_hash(split)], np.int64)

    @abc.abstractmethod
    def draw(self, key: tf.Tensor) -> tf.Tensor:
        """The record of one episode, int64 of static shape, as a pure function of `key` (int64 `[2]`)."""

    @abc.abstractmethod
    def assemble(self, record: tf.Tensor) -> Episode:
        """One episode without the task axis and without context, of static shapes, from its record."""

    def indices(self, start: int, count: int) -> np.ndarray:
        """What identifies each of the episodes `start` ... `start + count - 1`: int64 `[count, ...]`.

        Raises:
          ValueError: if `start` is negative or `count` is not positive.
        """
        return self._eager(start, count, self._traced_record).numpy()

    def batches(self, start: int, meta_batch: int, share: tuple[int, int, int] = (0, 1, 1)) -> tf.data.Dataset:
        """Endless meta-batches, in order; the first holds the episodes `start` ... `start + meta_batch - 1`.

        Batches are made ahead of time in background threads. Every element is an `Episode` with static shapes, task
        axis first. Its context is that of the source, without a task axis: the very tensors, not copies of them.

        Args:
          start: number of the first episode.
          meta_batch: how many episodes make a meta-batch.
          share: `(first, count, of)`: of every meta-batch only the episodes at positions p with
            `first <= p mod of < first + count` are made; `of` divides `meta_batch`.

        Raises:
          ValueError: if `start` is negative or `meta_batch` is not positive.
        """
        start = check_integer("start", start, minimum=0)
        meta_batch = check_integer("meta_batch", meta_batch, minimum=1)
        batches = _pipeline(start, _LARGEST, self._traced_episode, meta_batch, share)
        # Behind the batching, which would make a copy for every task.
        return batches.map(_as_it_is(self._with_context)).prefetch(_PREFETCHED_BATCHES)

    def batch(self, start: int, count: int) -> Episode:
        """The episodes `start` ... `start + count - 1` as one meta-batch of eager tensors.

        Raises:
          ValueError: if `start` is negative or `count` is not positive.
        """
        return self._with_context(self._eager(start, count, self._traced_episode))

    def _key(self, number: tf.Tensor) -> tf.Tensor:
        return tf.random.fold_in(self._stream_key, number, alg=ALGORITHM)

    def _record(self, number: tf.Tensor) -> tf.Tensor:
        return self.draw(self._key(number))

    def _episode(self, number: tf.Tensor) -> Episode:
        return self.assemble(self._record(number))._replace(key=self._key(number))

    # A pipeline of every validation calls the graphs of the first one; to trace them takes longer than many an epoch.
    @cached_property
    def _traced_record(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return tf.function(self._record, [_NUMBER], autograph=False)

    @cached_property
    def _traced_episode(self) -> Callable[[tf.Tensor], Episode]:
        return tf.function(self._episode, [_NUMBER], autograph=False)

    def _with_context(self, episode: Episode) -> Episode:
        return episode._replace(context=self.context)

    def _eager(self, start: int, count: int, function: Callable[[tf.Tensor], Any]) -> Any:
        start = check_integer("start", start, minimum=0)
        count = check_integer("count", count, minimum=1)
        return next(iter(_pipeline(start, start + count, function, count)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FewShotDataset(abc.ABC):
    """Splits with disjoint classes (or, for regression, independent streams), and how to sample episodes from them.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid")
      >>> waves.problem_kind, waves.input_shape, waves.splits
      ('regression', (1,), ('train', 'validation', 'test'))

    Attributes:
      name: under which `load` knows it.
      problem_kind: "classification" or "regression".
      input_shape: shape of one example's input; () where it is a number, that of a node for example.
      value_range: smallest and largest value an input can have.
      splits: the names of the splits.
    """

    name: str
    problem_kind: Literal["classification", "regression"]
    input_shape: tuple[int, ...]
    value_range: tuple[float, float]
    splits: tuple[str, ...] = SPLITS

    @abc.abstractmethod
    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> EpisodeSource:
        """The stream of episodes of a split.

        Args:
          split: "train", "validation" or "test".
          ways: classes an episode; None for regression.
          shots: support examples a class (regression: a task).
          queries: query examples a class (regression: a task).
          seed: which stream; non-negative and below 2**63.

        Raises:
          DatasetError: if the split does not exist or does not hold what is asked for.
          ValueError: if a number is out of range.
        """

    @abc.abstractmethod
    def class_names(self, split: str) -> tuple[str, ...]:
        """The classes of a split, in the order of their numbers in `EpisodeSource.indices`; empty for regression."""

    def check_split(self, split: str) -> str:
        """Returns `split`, or raises `DatasetError` if there is none of that name."""
        if split not in self.splits:
            raise DatasetError(
                f"split of the dataset {self.name!r} must be one of {', '.join(self.splits)}, received {split!r}."
            )
        return split


def check_integer(name: str, value: Any, *, minimum: int) -> int:
    """Returns `value` as int, or raises `UserError` unless it is an integer in [minimum, 2**63)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not minimum <= number <= _LARGEST:
        raise UserError(f"{name} must be an integer of at least {minimum} (and below 2**63), received {value!r}.")
    return number


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Returns `(height, width)`, or raises `DatasetError` unless these are two integers from 1 to 4096."""
    try:
        height, width = (check_integer("image_size", side, minimum=1) for side in image_size)
    except (TypeError, ValueError) as error:
        raise DatasetError(_IMAGE_SIZE.format(image_size)) from error
    if max(height, width) > LARGEST_SIDE:
        raise DatasetError(_IMAGE_SIZE.format(image_size))
    return height, width


def digest(content: Any) -> str:
    """SHA-256 in hexadecimal of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plainly(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """In order, and without the rewriting and tuning of pipelines; `AUTOTUNE` is then as many calls as there are cores.

    Rewriting would copy every captured tensor into the graph, gigabytes for a large pool of images. The thread that
    tunes may miss that it is to end, and whoever drops an iterator waits for it: as long as it was in use, up to a
    minute.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return dataset.with_options(options)


# AutoGraph would rewrite all that a function calls, which takes longer than to trace it.
_as_it_is = tf.autograph.experimental.do_not_convert


def _pipeline(
    start: int, stop: int, function: Callable[[tf.Tensor], Any], size: int, share: tuple[int, int, int] = (0, 1, 1)
) -> tf.data.Dataset:
    first, count, of = share
    numbers = tf.data.Dataset.range(start, stop)
    if count < of:
        numbers = numbers.filter(_as_it_is(lambda number: tf.math.floormod(number - start - first, of) < count))
    made = plainly(numbers).map(_as_it_is(function), num_parallel_calls=tf.data.AUTOTUNE)
    return made.batch(size * count // of, drop_remainder=True)


def _stable_hash(text: str) -> int:
    """63 bits that, unlike those of `hash`, are the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
