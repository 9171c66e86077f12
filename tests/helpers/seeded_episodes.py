"""Seeded meta-batches of random numbers, in whichever float format Keras works in."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cml_tf.episodes import Episode, Examples

# Of a split, where there are no more ways.
CLASSES = 7


def classification_episode(
    seed: int = 0, tasks: int = 2, ways: int = 3, shots: int = 2, queries: int = 2, shape: tuple[int, ...] = (2,)
) -> Episode:
    """Every class `shots` times in the support set and `queries` times in the query set, in a shuffled order.

    The labels stand for `ways` of `CLASSES` classes.
    """
    generator = np.random.default_rng(seed)

    def examples(count: int) -> Examples:
        labels = np.stack([generator.permutation(np.repeat(np.arange(ways), count)) for _ in range(tasks)])
        inputs = generator.standard_normal((tasks, ways * count, *shape))
        return Examples(_floats(inputs), tf.constant(labels, tf.int32))

    classes = np.stack([generator.permutation(max(CLASSES, ways))[:ways] for _ in range(tasks)])
    return Episode(examples(shots), examples(queries), classes=tf.constant(classes, tf.int32))


def regression_episode(
    seed: int = 0, tasks: int = 2, shots: int = 4, queries: int = 5, inputs: int = 2, outputs: int = 1
) -> Episode:
    """Random inputs and targets."""
    generator = np.random.default_rng(seed)

    def examples(count: int) -> Examples:
        return Examples(
            _floats(generator.standard_normal((tasks, count, inputs))),
            _floats(generator.standard_normal((tasks, count, outputs))),
        )

    return Episode(examples(shots), examples(queries))


def one_task(episode: Episode, position: int) -> Episode:
    """A task of a meta-batch, without the task axis."""
    support, query = tf.nest.map_structure(lambda tensor: tensor[position], (episode.support, episode.query))
    return Episode(support, query, episode.context)


def tasks_of(episode: Episode, positions: list[int]) -> Episode:
    """A meta-batch of some of the tasks, in the order asked for."""
    support, query = tf.nest.map_structure(lambda tensor: tf.gather(tensor, positions), tuple(episode)[:2])
    return Episode(support, query, episode.context)


def _floats(array: np.ndarray) -> tf.Tensor:
    return tf.constant(array, keras.config.floatx())
