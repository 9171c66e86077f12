import numpy as np
import pytest
import tensorflow as tf

from cml_tf.graphs import (
    GraphError,
    SparseRows,
    check_graph,
    context_from_edges,
    dense_rows,
    edges_in_range,
    graph_context,
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


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("hops", "seed"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_both_ways_give_what_the_definition_says(hops, seed, normalise):
    edges, features = untidy_edges(NODES, 60, seed), random_features(NODES, FEATURES, seed)
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


def test_float32_is_the_default():
    features = random_features(NODES, FEATURES, 0)
    graph = check_graph(untidy_edges(NODES, 60, 0), features, np.zeros(NODES, int))
    narrow, wide = graph_context(graph, 2), graph_context(graph, 2, dtype="float64")
    assert narrow.features.values.dtype == narrow.adjacency.values.dtype == tf.float32
    np.testing.assert_allclose(dense(narrow.features, FEATURES), dense(wide.features, FEATURES), atol=1e-6)
    exported = context_from_edges(tf.constant(features, tf.float32), untidy_edges(NODES, 60, 0), 2)
    np.testing.assert_allclose(dense(exported.features, FEATURES), dense(wide.features, FEATURES), atol=1e-6)


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


@pytest.mark.parametrize("wrong", [[[0, 7]], [[-1, 2]], [[7, 7], [2**31 - 1, 0]]])
def test_edges_out_of_range_are_reported_and_left_out(wrong):
    features, right = tf.constant(random_features(7, 3, 0)), [[0, 1], [5, 2]]
    assert bool(edges_in_range(tf.constant(right), 7))
    assert bool(edges_in_range(tf.zeros([0, 2], tf.int32), 7))
    assert not bool(edges_in_range(tf.constant(right + wrong), 7))
    expected = context_from_edges(features, tf.constant(right), 1)
    made = context_from_edges(features, tf.constant(right + wrong), 1)
    tf.nest.map_structure(np.testing.assert_array_equal, made, expected)


def test_values_that_are_no_numbers_spread_and_do_not_raise():
    features = random_features(7, 3, 0)
    features[1, 1] = np.nan
    made = dense(context_from_edges(tf.constant(features), tf.constant([[1, 2], [4, 5]]), 1).features, 3)
    assert np.isnan(made[[1, 2], 1]).all()
    assert np.isfinite(made[[0, 3, 4, 5, 6]]).all()


@pytest.mark.parametrize("hops", [-1, 1.0, True, None])
def test_hops_must_be_a_count(hops):
    with pytest.raises(GraphError, match="hops must be an integer of at least 0"):
        graph_context(check_graph([], np.ones((2, 1)), [0, 1]), hops)
