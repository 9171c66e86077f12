"""Tiny learners of nodes, their graph and its episodes."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cml_tf.episodes import Episode, Examples
from cml_tf.graphs import GraphContext, graph_context
from cml_tf.learners import Learner, gcn, sgc
from tests.helpers.models import randomise
from tests.helpers.random_graphs import random_graph

NODES, FEATURES, WAYS = 30, 7, 3


def node_context(hops: int = 1) -> GraphContext:
    """A random graph with isolated nodes, in whichever float format Keras works in."""
    return graph_context(random_graph(NODES, FEATURES), hops, dtype=keras.config.floatx())


def node_episode(seed: int = 0, tasks: int = 2, hops: int = 1) -> Episode:
    """Two support and two query nodes a class, in a shuffled order; no node twice in a task."""
    generator = np.random.default_rng(seed)
    picked = np.stack([generator.permutation(NODES)[: 4 * WAYS] for _ in range(tasks)]).astype(np.int32)
    labels = np.stack([generator.permutation(np.repeat(np.arange(WAYS), 2)) for _ in range(2 * tasks)])
    labels = labels.astype(np.int32)
    return Episode(
        Examples(tf.constant(picked[:, : 2 * WAYS]), tf.constant(labels[:tasks])),
        Examples(tf.constant(picked[:, 2 * WAYS :]), tf.constant(labels[tasks:])),
        node_context(hops),
    )


def random_gcn(head: str = "linear", matching: bool = False, seed: int = 0) -> Learner:
    """7-5-4-3, every variable at a seeded random value."""
    learner = gcn(WAYS, FEATURES, (5, 4), head, matching)
    randomise(learner, seed)
    return learner


def random_sgc(seed: int = 0) -> Learner:
    """7-4-3; for it the features of the context are propagated already, whatever their hops."""
    learner = sgc(WAYS, FEATURES, 4)
    randomise(learner, seed)
    return learner
