"""What all episodes on one graph share: its normalised adjacency, and features that are propagated once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse

from cml_tf.graphs.graph import GraphError, NodeGraph
from cml_tf.graphs.sparse_rows import SparseRows


class GraphContext(NamedTuple):
    """The context of an episode of nodes.

    With X the features, A the adjacency and D the diagonal matrix of the row sums of A + I:

    Example:
      >>> graph = check_graph([[0, 1], [1, 2]], features=np.eye(3), labels=[0, 1, -1])
      >>> int(graph_context(graph, hops=1).features.rows)
      3

    Attributes:
      adjacency: S = D^-1/2 (A + I) D^-1/2, `[nodes, nodes]`.
      features: S^hops X, `[nodes, features]`.
    """

    adjacency: SparseRows
    features: SparseRows


def graph_context(
    graph: NodeGraph, hops: int, *, normalise_features: bool = True, dtype: str = "float32"
) -> GraphContext:
    """Propagates the features of a graph, so that no training step has to.

    Args:
      graph: the graph.
      hops: how often the features are propagated, at least 0. A graph convolution of one layer, and the first of
        several, needs 1; simplified graph convolution (SGC) of k layers needs k.
      normalise_features: whether the features of each node are first divided by the sum of their absolute values, as
        is usual for bags of words (a node without features keeps zeros); False for features that have a scale.
      dtype: of the values, "float32" or "float64"; the computation runs in it too.

    Returns:
      The context, in host memory. Its features have an entry for every feature that any node within `hops` edges has:
      the more hops, the denser.

    Raises:
      GraphError: if `hops` is not an integer of at least 0.
    """
    if isinstance(hops, bool) or not isinstance(hops, int | np.integer) or hops < 0:
        raise GraphError(f"hops must be an integer of at least 0, received {hops!r}.")
    # Takes seconds to import, and whoever loads no graph should not wait for it.
    from spektral.utils.convolution import gcn_filter

    adjacency = gcn_filter(graph.adjacency.astype(dtype)).tocsr()
    features = graph.features.astype(dtype)
    if normalise_features:
        features = _rows_of_sum_one(features)
    for _ in range(hops):
        features = adjacency @ features
    return GraphContext(SparseRows.from_scipy(adjacency, dtype), SparseRows.from_scipy(features, dtype))


def _rows_of_sum_one(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    sums = np.asarray(abs(matrix).sum(axis=1)).ravel()
    factors = np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)
    return (scipy.sparse.diags(factors) @ matrix).tocsr()
