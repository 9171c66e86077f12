"""Random graphs of a given size, and episodes on them."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import tensorflow as tf

from benchmarks.performance.work import Work
from cml_tf.episodes import Episode, Examples
from cml_tf.graphs import GraphContext, NodeGraph, check_graph, graph_context
from cml_tf.learners import GraphConvolutions

HIDDEN = (16, 16)
SGC_HOPS = 2


def random_graph(work: Work) -> NodeGraph:
    """Edges between nodes drawn uniformly, features uniform in [0, 1) where they are not 0; from a fixed seed."""
    generator = np.random.default_rng(0)
    edges = generator.integers(0, work.nodes, (work.edges, 2))
    size = (work.nodes, work.features)
    features = (
        generator.random(size, np.float32)
        if work.density == 1.0
        else scipy.sparse.random(*size, work.density, "csr", np.float32, generator)
    )
    return check_graph(edges, features, np.arange(work.nodes) % work.ways)


def node_context(graph: NodeGraph, learner: str, dtype: str = "float32") -> GraphContext:
    """The graph as the learner, `gcn` or `sgc`, reads it; features are not normalised."""
    hops = SGC_HOPS if learner == "sgc" else GraphConvolutions.hops
    return graph_context(graph, hops, normalise_features=False, dtype=dtype)


def node_episode(work: Work, graph: NodeGraph, dtype: str = "float32") -> Episode:
    """Random nodes, none twice in a task as long as the graph has enough."""
    generator = np.random.default_rng(1)
    count = {"support": work.ways * work.shots, "query": work.ways * work.queries}
    drawn = np.stack([generator.choice(work.nodes, sum(count.values()), replace=False) for _ in range(work.tasks)])
    support, query = np.split(drawn.astype(np.int32), [count["support"]], axis=1)

    def examples(nodes: np.ndarray) -> Examples:
        labels = np.tile(np.arange(nodes.shape[1], dtype=np.int32) % work.ways, (work.tasks, 1))
        return Examples(tf.constant(nodes), tf.constant(labels))

    return Episode(examples(support), examples(query), node_context(graph, work.learner, dtype))


def graph_arrays(graph: NodeGraph, dtype: type[np.floating]) -> dict[str, np.ndarray]:
    """What another framework needs of the graph: `edges` `[edges, 2]`, each once, and dense `features`."""
    upper = scipy.sparse.triu(graph.adjacency).tocoo()
    edges = np.stack([upper.row, upper.col], axis=1).astype(np.int64)
    return {"edges": edges, "features": graph.features.toarray().astype(dtype)}
