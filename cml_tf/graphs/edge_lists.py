"""The context of a graph that arrives in a request: the same numbers as `graph_context`, by TensorFlow operations.

Everything here runs inside an exported graph. Values never raise there (a request may have been joined with those of
strangers): what is wrong with them is asked for with `edges_in_range`, and becomes the status of one task.
"""

from __future__ import annotations

import tensorflow as tf

from cml_tf.graphs.context import GraphContext
from cml_tf.graphs.sparse_rows import SparseRows


def edges_in_range(edges: tf.Tensor, nodes: int | tf.Tensor) -> tf.Tensor:
    """Whether all edges, integers `[edges, 2]`, join nodes in [0, nodes): bool scalar, true for no edges."""
    return tf.reduce_all(_inside(tf.cast(edges, tf.int64), tf.cast(nodes, tf.int64)))


def context_from_edges(
    features: tf.Tensor, edges: tf.Tensor, hops: int, *, normalise_features: bool = True
) -> GraphContext:
    """Builds the context of one graph.

    Edges are treated as `check_graph` treats them: either direction or both, repeated or not, with or without
    self-loops, it makes no difference. An edge out of range is left out; whether there is one, `edges_in_range` says.
    NaN in features spreads to the nodes within `hops` edges, and nothing raises.

    Args:
      features: floats `[nodes, features]`; the number of nodes is that of its rows, and may be unknown until run time.
      edges: integers `[edges, 2]`.
      hops: see `graph_context`.
      normalise_features: see `graph_context`.

    Returns:
      The context, in the dtype of `features`.
    """
    nodes = tf.shape(features, tf.int64)[0]
    adjacency = _normalised_adjacency(tf.cast(edges, tf.int64), nodes, features.dtype)
    if normalise_features:
        sums = tf.reduce_sum(tf.abs(features), axis=1, keepdims=True)
        features = tf.math.divide_no_nan(features, sums)
    sparse = tf.SparseTensor(_places(adjacency), adjacency.values, tf.stack([nodes, nodes]))
    for _ in range(hops):
        features = tf.sparse.sparse_dense_matmul(sparse, features)
    return GraphContext(adjacency, _sparse_rows(features))


def _normalised_adjacency(edges: tf.Tensor, nodes: tf.Tensor, dtype: tf.DType) -> SparseRows:
    edges = tf.boolean_mask(edges, _inside(edges, nodes))
    loops = tf.range(nodes)
    # An entry is one number, row-major: sorting brings equal ones together. Self-loops merge with those added to all.
    entries = tf.sort(
        tf.concat([edges[:, 0] * nodes + edges[:, 1], edges[:, 1] * nodes + edges[:, 0], loops * nodes + loops], 0)
    )
    entries = tf.boolean_mask(entries, tf.concat([entries[:1] >= 0, entries[1:] != entries[:-1]], 0))
    rows, columns = entries // nodes, entries % nodes
    row_splits = tf.searchsorted(rows, tf.range(nodes + 1), out_type=tf.int64)
    scales = tf.math.rsqrt(tf.cast(row_splits[1:] - row_splits[:-1], dtype))
    values = tf.gather(scales, rows) * tf.gather(scales, columns)
    return SparseRows(row_splits, tf.cast(columns, tf.int32), values)


def _sparse_rows(dense: tf.Tensor) -> SparseRows:
    places = tf.where(tf.not_equal(dense, 0))
    row_splits = tf.searchsorted(places[:, 0], tf.range(tf.shape(dense, tf.int64)[0] + 1), out_type=tf.int64)
    return SparseRows(row_splits, tf.cast(places[:, 1], tf.int32), tf.gather_nd(dense, places))


def _places(matrix: SparseRows) -> tf.Tensor:
    """Row and column of every entry, int64 `[entries, 2]`."""
    entries = tf.range(tf.size(matrix.columns, tf.int64))
    rows = tf.searchsorted(matrix.row_splits[1:], entries, side="right", out_type=tf.int64)
    return tf.stack([rows, tf.cast(matrix.columns, tf.int64)], axis=1)


def _inside(edges: tf.Tensor, nodes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all((edges >= 0) & (edges < nodes), axis=1)
