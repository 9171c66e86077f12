"""Sparse matrices of which a few rows are wanted at a time, as plain tensors.

`tf.SparseTensor` has no way to take rows by number without looking at every entry; a CSR matrix has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class SparseRows(NamedTuple):
    """A matrix in compressed sparse row form.

    Row r has the entries `row_splits[r]` ... `row_splits[r + 1] - 1`.

    Example:
      >>> import scipy.sparse
      >>> matrix = SparseRows.from_scipy(scipy.sparse.csr_matrix([[0.0, 2.0], [0.0, 0.0]]))
      >>> matrix.row_splits.numpy().tolist(), matrix.columns.numpy().tolist()
      ([0, 1, 1], [1])

    Attributes:
      row_splits: int64 `[rows + 1]`, ascending from 0 to the number of entries.
      columns: int32 `[entries]`, no column twice in a row.
      values: `[entries]`, float32 or float64.
    """

    row_splits: tf.Tensor
    columns: tf.Tensor
    values: tf.Tensor

    @classmethod
    def from_scipy(cls, matrix: Any, dtype: str = "float32") -> SparseRows:
        """The same matrix in host memory, entries of a row in ascending order of columns."""
        rows = matrix.tocsr(copy=True)
        rows.sum_duplicates()
        with tf.device("CPU:0"):
            return cls(
                tf.constant(rows.indptr, tf.int64),
                tf.constant(rows.indices, tf.int32),
                tf.constant(rows.data.astype(np.dtype(dtype), copy=False)),
            )

    @property
    def rows(self) -> tf.Tensor:
        """The number of rows, int64 scalar."""
        return tf.size(self.row_splits, tf.int64) - 1


def take_rows(matrix: SparseRows, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The entries of some rows.

    Args:
      matrix: the matrix.
      rows: integers `[taken]` in [0, matrix.rows), in any order, repeated or not; their number may be unknown until
        run time.

    Returns:
      For each entry: which element of `rows` it belongs to (int64, ascending), its column (int32) and its value.
    """
    rows = tf.cast(rows, tf.int64)
    starts = tf.gather(matrix.row_splits, rows)
    lengths = tf.gather(matrix.row_splits, rows + 1) - starts
    ends = tf.cumsum(lengths)
    entries = tf.range(tf.reduce_sum(lengths))
    # Not tf.repeat: that makes a table of all rows by the longest one, and graphs have nodes with thousands of edges.
    row_of_entry = tf.searchsorted(ends, entries, side="right", out_type=tf.int64)
    places = entries + tf.gather(starts - (ends - lengths), row_of_entry)
    return row_of_entry, tf.gather(matrix.columns, places), tf.gather(matrix.values, places)


def dense_rows(matrix: SparseRows, rows: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Some rows as a dense matrix `[taken, width]`; arguments as of `take_rows`, `width` the number of columns."""
    row_of_entry, columns, values = take_rows(matrix, rows)
    places = tf.stack([row_of_entry, tf.cast(columns, tf.int64)], axis=1)
    shape = tf.stack([tf.size(rows, tf.int64), tf.cast(width, tf.int64)])
    dense = tf.scatter_nd(places, values, shape)
    return tf.ensure_shape(dense, [rows.shape[0], width if isinstance(width, int) else None])
