"""What a graph is to a learner, in rows that cost their own entries only; the same inside an exported graph."""

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from cml_tf.graphs import (
    SparseRows,
    check_graph,
    context_from_edges,
    dense_rows,
    edges_in_range,
    graph_context,
    take_rows,
)
from tests.helpers.random_graphs import random_features, untidy_edges

NODES, FEATURES = 40, 9


def dense(matrix: SparseRows, width: int) -> np.ndarray:
    return dense_rows(matrix, tf.range(matrix.rows), width).numpy()


def explicit(edges, features, hops, normalise):
    """The definition, with dense matrices."""
    adjacency = np.eye(len(features))
    for left, right in edges:
        adjacency[left, right] = adjacency[right, left] = 1
    scale = np.diag(adjacency.sum(1) ** -0.5)
    normalised = scale @ adjacency @ scale
    if normalise:
        sums = np.abs(features).sum(1, keepdims=True)
        features = np.where(sums > 0, features / np.maximum(sums, 1e-300), 0)
    return normalised, np.linalg.matrix_power(normalised, hops) @ features


@pytest.mark.parametrize(("hops", "normalise"), [(0, True), (1, False), (2, True), (3, False)])
def test_both_ways_give_what_the_definition_says(hops, normalise):
    edges, features = untidy_edges(NODES, 60, hops), random_features(NODES, FEATURES, hops)
    features[:, 0] *= -1
    expected = explicit(edges, features, hops, normalise)
    graph = check_graph(edges, features, np.zeros(NODES, int))
    options = {"normalise_features": normalise}
    ours = graph_context(graph, hops, dtype="float64", **options)
    exported = context_from_edges(tf.constant(features), tf.constant(edges, tf.int32), hops, **options)
    for left, right in zip(ours, exported, strict=True):
        np.testing.assert_array_equal(left.row_splits, right.row_splits)
        np.testing.assert_array_equal(left.columns, right.columns)
    for context in (ours, exported):
        assert context.adjacency.values.dtype == context.features.values.dtype == tf.float64
        np.testing.assert_allclose(dense(context.adjacency, NODES), expected[0], rtol=0, atol=1e-10)
        np.testing.assert_allclose(dense(context.features, FEATURES), expected[1], rtol=0, atol=1e-10)
        assert (np.diff(context.adjacency.columns.numpy()[: int(context.adjacency.row_splits[1])]) > 0).all()
    narrow = graph_context(graph, hops, **options)
    assert narrow.features.values.dtype == narrow.adjacency.values.dtype == tf.float32
    exported = context_from_edges(tf.constant(features, tf.float32), edges, hops, **options)
    for context in (narrow, exported):
        np.testing.assert_allclose(dense(context.features, FEATURES), expected[1], atol=1e-5)


def test_one_exported_trace_serves_graphs_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64), tf.TensorSpec([None, 2], tf.int32)])
    def context(features, edges):
        return context_from_edges(features, edges, 2)

    for nodes, edges in ((3, [[0, 1], [1, 1]]), (5, [[4, 0], [0, 4], [3, 1]]), (2, np.zeros((0, 2))), (1, [[0, 0]])):
        features = random_features(nodes, 2, 5) + np.arange(nodes)[:, np.newaxis]
        made = context(features, tf.constant(edges, tf.int32))
        expected = explicit(np.array(edges, int), features, 2, True)
        np.testing.assert_allclose(dense(made.adjacency, nodes), expected[0], atol=1e-10)
        np.testing.assert_allclose(dense(made.features, 2), expected[1], atol=1e-10)
    assert context.experimental_get_tracing_count() == 1


def test_edges_out_of_range_are_reported_and_left_out_and_nan_spreads():
    features, right = tf.constant(random_features(7, 3, 0)), [[0, 1], [5, 2]]
    assert bool(edges_in_range(tf.constant(right), 7)) and bool(edges_in_range(tf.zeros([0, 2], tf.int32), 7))
    expected = context_from_edges(features, tf.constant(right), 1)
    for wrong in ([[0, 7]], [[-1, 2]], [[7, 7], [2**31 - 1, 0]]):
        assert not bool(edges_in_range(tf.constant(right + wrong), 7))
        made = context_from_edges(features, tf.constant(right + wrong), 1)
        tf.nest.map_structure(np.testing.assert_array_equal, made, expected)
    features = random_features(7, 3, 0)
    features[1, 1] = np.nan
    made = dense(context_from_edges(tf.constant(features), tf.constant([[1, 2], [4, 5]]), 1).features, 3)
    assert np.isnan(made[[1, 2], 1]).all() and np.isfinite(made[[0, 3, 4, 5, 6]]).all()


DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 6], [0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0]], np.float64)


def test_rows_are_taken_in_any_order_empty_ones_too_by_one_trace():
    matrix = SparseRows.from_scipy(scipy.sparse.csr_matrix(DENSE), "float64")
    assert [part.dtype for part in matrix] == [tf.int64, tf.int32, tf.float64] and int(matrix.rows) == 6

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)])
    def graph_mode(rows, width):
        return dense_rows(matrix, rows, width)

    for rows in ([], [1], [0, 2, 4], [5, 3, 1], [1, 2, 2, 0, 5, 4, 1], [5, 4, 3, 2, 1, 0]):
        taken = tf.constant(rows, tf.int32)
        for made in (dense_rows(matrix, taken, 4), graph_mode(taken, 4)):
            np.testing.assert_array_equal(made, DENSE[rows])
        row_of_entry, columns, values = take_rows(matrix, taken)
        np.testing.assert_array_equal([row_of_entry, columns], np.nonzero(DENSE[rows]))
        np.testing.assert_array_equal(values, DENSE[rows][np.nonzero(DENSE[rows])])
    assert graph_mode.experimental_get_tracing_count() == 1
    shapes = tf.function(lambda: dense_rows(matrix, tf.constant([0, 2]), 4))
    assert shapes.get_concrete_function().structured_outputs.shape == [2, 4]
    unsorted = scipy.sparse.coo_matrix(([1.0, 2.0, 3.0], ([0, 0, 0], [2, 1, 2])), (1, 3))
    single = SparseRows.from_scipy(unsorted)
    assert (single.columns.numpy().tolist(), single.values.numpy().tolist()) == ([1, 2], [2, 4])


def test_a_row_of_thousands_costs_its_own_entries_only():
    """A table of rows times the longest row would have 4e10 elements here."""
    hub, leaves = 200_000, 200_000
    splits = np.concatenate([[0, hub], hub + 1 + np.arange(leaves)])
    columns = np.concatenate([np.arange(hub), np.zeros(leaves)])
    matrix = SparseRows(tf.constant(splits), tf.constant(columns, tf.int32), tf.ones(hub + leaves))
    row_of_entry, _, values = take_rows(matrix, tf.range(leaves + 1))
    assert values.shape == [hub + leaves]
    np.testing.assert_array_equal(np.bincount(row_of_entry)[:3], [hub, 1, 1])
