"""Episodes of different sizes: how many classes there are, and how many support examples of each.

An episode of the largest size is drawn, of which some classes and support examples do not count (`Examples.mask`). So
shapes are static, episode i stays a pure function of (seed, split, i), and every dataset of classes can be sampled.

Ways n are uniform between the bounds. Shots k_c of class c, by kind, with `least` and `most` the bounds of shots:

* `uniform`: k uniform between the bounds, the same for all classes of an episode.
* `meta_dataset`: classes of an episode differ, as in Meta-Dataset (Triantafillou et al. 2020, arXiv 1903.03096,
  appendix A.3). With beta uniform in (0, 1] and a_c in [log 0.5, log 2), and N_c examples of class c in the split:

      S   = n * ceil(beta * most)
      R_c = exp(a_c) N_c / sum over c' of exp(a_c') N_c'
      k_c = max(least, min(most, floor(R_c (S - n)) + 1))

  There `most` is 100 (or what the class has left), and S at most 500.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import ALGORITHM, EpisodeSource, check_integer
from cml_tf.datasets.class_source import ClassSource
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.problems import Classification

FIXED, UNIFORM, META_DATASET = "fixed", "uniform", "meta_dataset"
SAMPLINGS = (FIXED, UNIFORM, META_DATASET)

# What sizes are drawn from, beside what classes and examples are.
_SIZES = 1


class VaryingSizes(EpisodeSource):
    """Parts of a source's episodes.

    The record of an episode is int64 `[ways, 2 + shots + queries]`: that of the source with the number of shots behind
    the class number. Classes after the first n do not count: they have 0 shots, and -1 as their class.

    Example:
      >>> glyphs = cml_tf.datasets.load("glyphs")
      >>> largest = glyphs.episodes("train", ways=20, shots=10, queries=5, seed=0)
      >>> VaryingSizes(largest, ways=(2, 20), shots=(1, 10)).batch(0, 4).support.mask.shape
      TensorShape([4, 200])

    Args:
      largest: gives episodes of the largest size.
      ways: fewest and most classes an episode.
      shots: fewest and most support examples a class.
      sampling: `uniform` or `meta_dataset`.

    Raises:
      UserError: for bounds or a word that are none, or a source of another size.
    """

    def __init__(
        self, largest: ClassSource, ways: Sequence[int], shots: Sequence[int], sampling: str = UNIFORM
    ) -> None:
        if sampling not in SAMPLINGS[1:]:
            raise UserError(f"sampling must be one of {', '.join(SAMPLINGS[1:])}, received {sampling!r}.")
        self._ways, self._shots = check_range("ways", ways, 2), check_range("shots", shots, 1)
        if (largest.ways, largest.shots) != (self._ways[1], self._shots[1]):
            raise UserError(
                f"the largest episodes must have {self._ways[1]} ways and {self._shots[1]} shots, received "
                f"{largest.ways} and {largest.shots}: pass episodes of that size."
            )
        self._largest = largest
        self._sampling = sampling
        sizes = {"ways": list(self._ways), "shots": list(self._shots), "sampling": sampling}
        super().__init__(
            problem=Classification(self._ways[1]),
            split=largest.split,
            seed=largest.seed,
            settings={"of": largest.fingerprint, **sizes},
            context=largest.context,
        )

    def draw(self, key: tf.Tensor) -> tf.Tensor:
        """A record of the source with the number of shots, int64 `[ways, 2 + shots + queries]`."""
        record = self._largest.draw(key)
        ways_key, shots_key = tf.unstack(tf.random.split(tf.random.fold_in(key, _SIZES, alg=ALGORITHM), 2, ALGORITHM))
        ways = _between(self._ways, ways_key)
        counts = tf.range(self._ways[1], dtype=tf.int64) < ways
        if self._sampling == UNIFORM:
            shots = tf.fill([self._ways[1]], _between(self._shots, shots_key))
        else:
            shots = self._unequal(self._largest.sizes(record), counts, shots_key)
        shots = tf.where(counts, shots, 0)
        return tf.concat([record[:, :1], shots[:, tf.newaxis], record[:, 1:]], 1)

    def _unequal(self, sizes: tf.Tensor, counts: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Shots of each class, from how many examples the classes have and which of them count."""
        least, most = self._shots
        uniform = tf.random.stateless_uniform([1 + self._ways[1]], key, dtype=tf.float64, alg=ALGORITHM)
        ways = tf.reduce_sum(tf.cast(counts, tf.float64))
        total = ways * tf.math.ceil((1 - uniform[0]) * most)
        weights = tf.exp(np.log(0.5) + uniform[1:] * np.log(4.0)) * tf.cast(sizes, tf.float64)
        shares = tf.where(counts, weights, 0.0)
        shares /= tf.reduce_sum(shares)
        shots = tf.cast(tf.floor(shares * (total - ways)), tf.int64) + 1
        return tf.clip_by_value(shots, least, most)

    def assemble(self, record: tf.Tensor) -> Episode:
        """The source's episode, masked as the record says."""
        shots = record[:, 1]
        episode = self._largest.assemble(tf.concat([record[:, :1], record[:, 2:]], 1))
        present = shots > 0
        return episode._replace(
            support=_masked(episode.support, tf.range(self._shots[1], dtype=tf.int64) < shots[:, tf.newaxis]),
            query=_masked(episode.query, tf.repeat(present[:, tf.newaxis], self._largest.queries, 1)),
            classes=tf.where(present, episode.classes, -1),
        )


def check_range(name: str, bounds: Sequence[int], minimum: int) -> tuple[int, int]:
    """Returns `(least, most)`, or raises UserError unless these are whole numbers in that order."""
    if len(bounds) != 2:
        raise UserError(f"{name} must be the least and the most of them, received {tuple(bounds)}: pass two numbers.")
    least, most = (check_integer(name, bound, minimum=minimum) for bound in bounds)
    if least > most:
        raise UserError(f"{name} must be the least and the most of them, received {least} and {most}: swap them.")
    return least, most


def _between(bounds: tuple[int, int], key: tf.Tensor) -> tf.Tensor:
    """A whole number between bounds, both of them possible, int64."""
    return tf.random.stateless_uniform([], key, minval=bounds[0], maxval=bounds[1] + 1, dtype=tf.int64, alg=ALGORITHM)


def _masked(examples: Examples, counts: tf.Tensor) -> Examples:
    """Examples, class after class, of which those count that `counts`, `[ways, examples]`, says."""
    return examples._replace(mask=tf.reshape(counts, examples.targets.shape))
