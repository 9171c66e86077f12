"""Random graphs with everything in them that a real one may have."""

from __future__ import annotations

import numpy as np

from cml_tf.graphs import NodeGraph, check_graph


def untidy_edges(nodes: int, count: int, seed: int) -> np.ndarray:
    """Edges `[..., 2]` with self-loops, repetitions, some in both directions; the last three nodes have none."""
    random = np.random.RandomState(seed)
    edges = random.randint(0, nodes - 3, (count, 2))
    loops = np.repeat(random.randint(0, nodes - 3, (3, 1)), 2, axis=1)
    return random.permutation(np.concatenate([edges, edges[:5], edges[:7, ::-1], loops]))


def random_features(nodes: int, features: int, seed: int) -> np.ndarray:
    """Float64 `[nodes, features]`, most of them 0; the first node has none."""
    random = np.random.RandomState(seed)
    values = random.randint(1, 9, (nodes, features)) * (random.uniform(size=(nodes, features)) < 0.3)
    values[0] = 0
    return values.astype(np.float64)


def random_graph(nodes: int = 30, features: int = 7, classes: int = 7, seed: int = 0) -> NodeGraph:
    """A checked graph whose node n has the label n modulo `classes`."""
    edges = untidy_edges(nodes, 2 * nodes, seed)
    return check_graph(edges, random_features(nodes, features, seed), np.arange(nodes) % classes)
