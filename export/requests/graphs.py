"""Requests whose examples are nodes of a graph. The graph, or the part of it that matters, comes with every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.graphs import GraphContext, check_graph, context_from_edges, edges_in_range, graph_context
from cml_tf.learners.learner import Learner
from export import status
from export.errors import ExportError
from export.requests.boundary import finite
from export.requests.form import Arrays, Bucket, Context, Faults, Tensors

# Of the graphs that are drawn: a handful of attributes for each node, two edges, and nodes that are no examples.
_ATTRIBUTES, _EDGES, _OTHERS = 8, 2, 16


class Graph(NamedTuple):
    """The graph of one task: features float32 `[nodes, features]`, edges int32 `[edges, 2]`."""

    features: tf.Tensor
    edges: tf.Tensor


@dataclass(frozen=True)
class GraphForm:
    """See `RequestForm`.

    Attributes:
      features: how many a node has.
      hops: how often they are propagated before the learner sees them.
      normalise_features: whether those of each node are divided by their sum first.
    """

    features: int
    hops: int
    normalise_features: bool
    support: str = "support_nodes"
    query: str = "query_nodes"

    @classmethod
    def of(cls, learner: Learner, normalise_features: bool) -> GraphForm:
        """The form of a learner's requests.

        Raises:
          ExportError: if its context is no graph, or its extractor does not say what it makes of one.
        """
        inputs, extractor = learner.example_inputs, learner.extractor
        told = all(isinstance(getattr(extractor, name, None), int) for name in ("features", "hops"))
        numbers = hasattr(inputs, "shape") and len(inputs.shape) == 1 and "int" in inputs.dtype.name
        if not (isinstance(learner.context, GraphContext) and told and numbers):
            raise ExportError(
                "learners with a context can only be exported if they read nodes of a graph (inputs int32 [nodes], "
                "context GraphContext, and an extractor with the integers `features` of a node and `hops` of "
                f"propagation), received a context of type {type(learner.context).__name__} and the extractor "
                f"{type(extractor).__name__}."
            )
        return cls(extractor.features, extractor.hops, normalise_features)

    @property
    def examples(self) -> tf.TensorSpec:
        """Node numbers, int32 `[tasks, examples]`."""
        return tf.TensorSpec([None, None], tf.int32)

    @property
    def context(self) -> dict[str, tf.TensorSpec]:
        """The graph."""
        return {
            "node_features": tf.TensorSpec([None, None, self.features], tf.float32),
            "edges": tf.TensorSpec([None, None, 2], tf.int32),
        }

    @property
    def context_sizes(self) -> dict[str, tf.TensorSpec]:
        """Numbers of nodes and of edges."""
        return {name: tf.TensorSpec([None], tf.int32) for name in ("node_count", "edge_count")}

    @property
    def card(self) -> dict[str, Any]:
        """What is done with features, and how many there are."""
        return {
            "shape": [],
            "dtype": "int32",
            "node_features": self.features,
            "hops": self.hops,
            "normalise_features": self.normalise_features,
        }

    @property
    def spoilt(self) -> Mapping[str, tuple[float, int]]:
        """Values that are not finite, nodes that are none."""
        return {
            "node_features": (np.nan, status.NON_FINITE_INPUT),
            "edges": (-1, status.NODE_OUT_OF_RANGE),
            "node_count": (0, status.SIZE),
            "edge_count": (-1, status.SIZE),
            self.support: (np.iinfo(np.int32).max, status.NODE_OUT_OF_RANGE),
            self.query: (-1, status.NODE_OUT_OF_RANGE),
        }

    def received_context(self, inputs: Tensors) -> Context:
        """The graph; a graph without nodes is a fault of its size, one without edges is none."""
        features, edges = inputs["node_features"], inputs["edges"]
        rows, most_edges = tf.shape(features)[0], tf.shape(edges)[0]
        nodes, count = inputs.get("node_count", rows), inputs.get("edge_count", most_edges)
        cut = Graph(features[: tf.clip_by_value(nodes, 0, rows)], edges[: tf.clip_by_value(count, 0, most_edges)])
        wrong_size = (nodes < 1) | (nodes > rows) | (count < 0) | (count > most_edges)
        faults = {
            status.SIZE: wrong_size,
            status.NODE_OUT_OF_RANGE: ~edges_in_range(cut.edges, tf.shape(cut.features)[0]),
            status.NON_FINITE_INPUT: ~finite(cut.features),
        }
        return Context(cut, faults)

    def example_faults(self, content: Graph, examples: tf.Tensor) -> Faults:
        """Numbers that no node of the graph has."""
        nodes = tf.shape(content.features)[0]
        return {status.NODE_OUT_OF_RANGE: tf.reduce_any((examples < 0) | (examples >= nodes))}

    def learner_context(self, content: Graph) -> GraphContext:
        """The graph with its features propagated."""
        return context_from_edges(*content, self.hops, normalise_features=self.normalise_features)

    def reference_context(self, inputs: Mapping[str, np.ndarray]) -> GraphContext:
        """What `graph_context` makes of the same graph."""
        features, edges = inputs["node_features"], inputs["edges"]
        features = features[: inputs.get("node_count", len(features))]
        edges = edges[: inputs.get("edge_count", len(edges))]
        graph = check_graph(edges, features, np.zeros(len(features), np.int64))
        return graph_context(graph, self.hops, normalise_features=self.normalise_features)

    def drawn(self, bucket: Bucket, generator: np.random.Generator) -> Arrays:
        """A random graph, whose nodes have a few attributes that sum to 1, as bags of words have in training."""
        examples = bucket.support + bucket.query
        nodes = examples + _OTHERS
        features = np.zeros((nodes, self.features), np.float32)
        for row in features:
            columns = generator.choice(self.features, min(_ATTRIBUTES, self.features), replace=False)
            row[columns] = 1 / len(columns)
        chosen = generator.permutation(nodes)[:examples].astype(np.int32)
        return {
            "node_features": features[None],
            "edges": generator.integers(nodes, size=(1, _EDGES * nodes, 2), dtype=np.int32),
            self.support: chosen[None, : bucket.support],
            self.query: chosen[None, bucket.support :],
        }
