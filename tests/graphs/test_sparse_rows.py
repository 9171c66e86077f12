import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from cml_tf.graphs import SparseRows, dense_rows, take_rows

DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 6], [0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0]], np.float64)
ROWS = ([], [1], [2], [0, 2, 4], [5, 3, 1], [1, 2, 2, 0, 5, 4, 1], [5, 4, 3, 2, 1, 0])


@pytest.fixture
def matrix():
    return SparseRows.from_scipy(scipy.sparse.csr_matrix(DENSE), "float64")


def test_from_scipy(matrix):
    assert [part.dtype for part in matrix] == [tf.int64, tf.int32, tf.float64]
    assert matrix.row_splits.numpy().tolist() == [0, 2, 2, 6, 6, 7, 7]
    assert matrix.columns.numpy().tolist() == [1, 3, 0, 1, 2, 3, 2]
    assert int(matrix.rows) == 6
    unsorted = scipy.sparse.coo_matrix(([1.0, 2.0, 3.0], ([0, 0, 0], [2, 1, 2])), (1, 3))
    single = SparseRows.from_scipy(unsorted)
    assert single.values.dtype == tf.float32
    assert (single.columns.numpy().tolist(), single.values.numpy().tolist()) == ([1, 2], [2, 4])


@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_taken_in_any_order_empty_ones_too(matrix, rows):
    taken = tf.constant(rows, tf.int32)
    np.testing.assert_array_equal(dense_rows(matrix, taken, 4), DENSE[rows])
    row_of_entry, columns, values = take_rows(matrix, taken)
    expected_rows, expected_columns = np.nonzero(DENSE[rows])
    np.testing.assert_array_equal(row_of_entry, expected_rows)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(values, DENSE[rows][expected_rows, expected_columns])


def test_one_trace_serves_any_number_of_rows(matrix):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)])
    def graph_mode(rows, width):
        return dense_rows(matrix, rows, width)

    for rows in ROWS:
        np.testing.assert_array_equal(graph_mode(tf.constant(rows, tf.int32), 4), DENSE[rows])
    assert graph_mode.experimental_get_tracing_count() == 1


def test_static_shapes_are_kept(matrix):
    shapes = tf.function(lambda: dense_rows(matrix, tf.constant([0, 2]), 4))
    assert shapes.get_concrete_function().structured_outputs.shape == [2, 4]


def test_a_row_of_thousands_costs_its_own_entries_only():
    """A table of rows times the longest row would have 4e10 elements here."""
    hub, leaves = 200_000, 200_000
    splits = np.concatenate([[0, hub], hub + 1 + np.arange(leaves)])
    columns = np.concatenate([np.arange(hub), np.zeros(leaves)])
    matrix = SparseRows(tf.constant(splits), tf.constant(columns, tf.int32), tf.ones(hub + leaves))
    row_of_entry, _, values = take_rows(matrix, tf.range(leaves + 1))
    assert values.shape == [hub + leaves]
    np.testing.assert_array_equal(np.bincount(row_of_entry)[:3], [hub, 1, 1])
