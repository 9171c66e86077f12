"""Small exported models on nodes of a graph, and requests to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from cml_tf.adaptation import SGD
from cml_tf.graphs import GraphContext, check_graph, graph_context
from cml_tf.learners import Learner
from cml_tf.learners.nodes import gcn
from cml_tf.problems import Classification
from export.graph.exportable import Exportable
from tests.export.served import Arrays, exportable
from tests.helpers.random_graphs import random_features, untidy_edges

WAYS, FEATURES, NODES = 2, 7, 30


def node_model(learner: Learner | None = None, normalise_features: bool = False, steps: int = 2) -> Exportable:
    """Two graph convolutions of 6 units on nodes with 7 features, 2 ways; or another learner."""
    made = exportable(learner or gcn(WAYS, FEATURES, (6, 6)), Classification(WAYS), SGD(0.1), steps)
    return Exportable(made.method, made.problem, made.value_range, normalise_features)


def node_request(tasks: int = 1, support: int = 4, query: int = 5, seed: int = 0) -> Arrays:
    """Inputs of `serving_default`: a graph of its own for each task, untidy as users' graphs are."""
    graphs = [
        (random_features(NODES, FEATURES, seed + task), untidy_edges(NODES, 60, seed + task)) for task in range(tasks)
    ]
    generator = np.random.default_rng(seed)
    return {
        "node_features": np.stack([features for features, _ in graphs]).astype(np.float32) / 8,
        "edges": np.stack([edges for _, edges in graphs]).astype(np.int32),
        "support_nodes": generator.integers(NODES, size=(tasks, support), dtype=np.int32),
        "support_labels": np.tile(np.arange(support, dtype=np.int32) % WAYS, (tasks, 1)),
        "query_nodes": generator.integers(NODES, size=(tasks, query), dtype=np.int32),
    }


def counts(inputs: Arrays, **changed: list[int]) -> Arrays:
    """The sizes that `adapt_and_predict_padded` takes, those of the inputs unless changed."""
    of = {
        "node_count": "node_features",
        "edge_count": "edges",
        "support_size": "support_nodes",
        "query_size": "query_nodes",
    }
    whole: dict[str, Any] = {name: [inputs[array].shape[1]] * len(inputs[array]) for name, array in of.items()}
    return {name: np.array(value, np.int32) for name, value in {**whole, **changed}.items()}


def part(inputs: Arrays, *names: str) -> Arrays:
    """The graph of a request and the named inputs."""
    return {name: inputs[name] for name in ("node_features", "edges", *names)}


def support_part(inputs: Arrays) -> Arrays:
    """Inputs of `adapt`."""
    return part(inputs, "support_nodes", "support_labels")


def reference_context(model: Exportable, inputs: Arrays, task: int = 0) -> GraphContext:
    """The graph of a task as a user of the library prepares it."""
    features = inputs["node_features"][task]
    graph = check_graph(inputs["edges"][task], features, np.zeros(len(features), np.int64))
    hops = model.learner.extractor.hops
    return graph_context(graph, hops, normalise_features=model.normalise_features)
