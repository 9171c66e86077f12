"""Learns features for heads that each task learns anew.

Letters of the glyphs, 5-way 1-shot. Lower problem: y, a linear head for each task of a batch, on the task's support
set; the tasks are one problem, since their losses are added. Upper problem: x, the features that all heads read, by the
heads' loss on the query sets. The network that gives the features runs once for all inner steps: its weights get their
gradient from that of x by the chain rule. What comes of a seed: the accuracy on test letters, which are of other
scripts, of heads on the features of the untrained and of the trained network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.bilevel.problem import BilevelProblem
from cml_tf.bilevel.upper_gradient import hypergradient
from cml_tf.datasets.base import EpisodeSource
from cml_tf.datasets.registry import load
from cml_tf.episodes import Episode, Examples

WAYS, QUERIES, TASKS, FILTERS = 5, 5, 4, 16
INNER_STEPS, RATE = 10, 0.5


class Features(NamedTuple):
    """Of the images of both sets."""

    support: tf.Tensor
    query: tf.Tensor


def make_network(seed: int) -> keras.Sequential:
    """Three convolutions with a stride: 28 x 28 to 4 x 4, and 256 numbers of length one."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Conv2D(FILTERS, 3, strides=2, padding="same", activation="relu") for _ in range(3)]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.UnitNormalization()])


def features_of(network: keras.Sequential, episode: Episode) -> Features:
    """What heads read, `[tasks, examples, 256]`."""

    def of(examples: Examples) -> tf.Tensor:
        seen = network(1 - tf.reshape(examples.inputs, [-1, 28, 28, 1]))
        return tf.reshape(seen, [*examples.targets.shape, seen.shape[-1]])

    return Features(of(episode.support), of(episode.query))


def outputs_of(y: Any, features: tf.Tensor) -> tf.Tensor:
    """What each task's head says, `[tasks, examples, ways]`."""
    return 3 * features @ y["kernel"] + y["bias"]


def heads(episode: Episode) -> BilevelProblem:
    """The problem of a batch of tasks; x is `Features`."""

    def loss(y: Any, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs_of(y, features)))

    return BilevelProblem(
        # Added over the tasks: a head moves as if its task were alone.
        lower=lambda y, x: TASKS * loss(y, x.support, episode.support.targets),
        upper=lambda y, x: loss(y, x.query, episode.query.targets),
    )


def no_heads() -> Any:
    """The heads before the first step."""
    return {"kernel": tf.zeros([TASKS, 16 * FILTERS, WAYS]), "bias": tf.zeros([TASKS, 1, WAYS])}


def learn(network: keras.Sequential, source: EpisodeSource, steps: int) -> None:
    """Trains the network."""
    optimizer, variables = keras.optimizers.Adam(2e-3), network.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(episode: Episode) -> None:
        with tf.GradientTape() as tape:
            x = features_of(network, episode)
        found = hypergradient(heads(episode), x, no_heads(), INNER_STEPS, RATE)
        gradients = tape.gradient(x, [variable.value for variable in variables], output_gradients=found.of_x)
        optimizer.apply(gradients, variables)

    for episode in source.batches(0, TASKS).take(steps):
        step(episode)


def accuracy(network: keras.Sequential, source: EpisodeSource, tasks: int) -> np.ndarray:
    """Of each test task."""

    @tf.function(autograph=False)
    def right(episode: Episode) -> tf.Tensor:
        x = features_of(network, episode)
        y = hypergradient(heads(episode), x, no_heads(), INNER_STEPS, RATE, "first_order").final
        named = tf.argmax(outputs_of(y, x.query), -1, tf.int32)
        return tf.reduce_mean(tf.cast(named == episode.query.targets, tf.float32), -1)

    batches = source.batches(0, TASKS).take(-(-tasks // TASKS))
    return np.concatenate([right(episode) for episode in batches])[:tasks]


def result(seed: int, steps: int = 300, episodes: int = 200) -> dict[str, Any]:
    """What comes of one seed; `ci95` is half of the 95 % interval over test tasks."""
    glyphs = load("glyphs")
    trained, tested = (
        glyphs.episodes(split, ways=WAYS, shots=1, queries=QUERIES, seed=seed) for split in ("train", "test")
    )
    network = make_network(seed)
    network.build((None, 28, 28, 1))
    before = accuracy(network, tested, episodes)
    learn(network, trained, steps)
    after = accuracy(network, tested, episodes)
    spread = lambda values: float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values)))  # noqa: E731
    return {
        "seed": seed,
        "accuracy_untrained": float(before.mean()),
        "accuracy_learned": float(after.mean()),
        "difference": float((after - before).mean()),
        "difference_ci95": spread(after - before),
    }
