"""A graph with features and labels on its nodes, checked once, so that nothing behind it has to doubt it.

Spektral's own `Graph` wants dense features, 690 MB for the bags of words of CoraFull: hence a record of our own, with
SciPy matrices that Spektral's functions take.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse

from cml_tf.boundary.labels import as_whole
from cml_tf.errors import UserError

UNLABELLED = -1


class GraphError(UserError):
    """A graph is malformed; the message is one line that says what was expected, what was found and what to do.

    Example:
      >>> try:
      ...     check_graph([[0, 7]], features=np.eye(2), labels=[0, 1])
      ... except GraphError as error:
      ...     print(error)
      edges ...
    """


@dataclass(frozen=True, eq=False)
class NodeGraph:
    """An undirected graph; `check_graph` makes one.

    Example:
      >>> graph = check_graph([[0, 1], [1, 0], [1, 2]], features=np.eye(3), labels=[0, 1, -1])
      >>> graph.nodes, graph.edges
      (3, 2)

    Attributes:
      adjacency: CSR float32 `[nodes, nodes]`: symmetric, every entry 1, nothing on the diagonal.
      features: CSR float32 `[nodes, features]`, finite.
      labels: int64 `[nodes]` in [0, classes), or -1 where a node has no label.
      class_names: names, all different; a class may have no node.
    """

    adjacency: scipy.sparse.csr_matrix
    features: scipy.sparse.csr_matrix
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def nodes(self) -> int:
        """How many nodes there are, isolated ones included."""
        return int(self.adjacency.shape[0])

    @property
    def edges(self) -> int:
        """How many undirected edges there are."""
        return int(self.adjacency.nnz) // 2

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over edges, features, labels and names, the same on every machine."""
        header = {"shape": list(self.features.shape), "class_names": list(self.class_names)}
        content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for matrix in (self.adjacency, self.features):
            content.update(matrix.indptr.astype("<i8").tobytes())
            content.update(matrix.indices.astype("<i8").tobytes())
        content.update(self.features.data.astype("<f4").tobytes())
        content.update(self.labels.astype("<i8").tobytes())
        return content.hexdigest()


def check_graph(edges: Any, features: Any, labels: Any, class_names: Sequence[str] | None = None) -> NodeGraph:
    """Checks a graph and brings it into one form.

    What is accepted, and what becomes of it:

    - an edge in one direction only: becomes undirected, the union of both directions;
    - the same edge several times: counts once, with weight 1;
    - self-loops: removed (propagation adds one to every node itself);
    - isolated nodes and graphs of several parts: stay as they are;
    - negative labels: the node has no label; it stays in the graph and passes messages, but is in no episode.

    Args:
      edges: integers (or floats that are whole) `[edges, 2]`, node numbers in [0, nodes); or a SciPy sparse matrix
        `[nodes, nodes]`, whose entries other than 0 are edges, whatever their weight.
      features: finite numbers `[nodes, features]`, dense or a SciPy sparse matrix; kept as float32.
      labels: integers `[nodes]`; floats if all are whole or NaN, which is negative.
      class_names: the name of class 0, 1, ...; without it a class is called by its number, and the classes are the
        numbers that occur.

    Returns:
      The graph; nodes keep their numbers.

    Raises:
      GraphError: if sizes do not fit together, an edge leaves the graph, a feature is NaN or infinite, or there are no
        labels.
    """
    checked_features = _check_features(features)
    nodes = checked_features.shape[0]
    checked_labels, names = _check_labels(labels, nodes, class_names)
    return NodeGraph(_adjacency(_check_edges(edges, nodes), nodes), checked_features, checked_labels, names)


def _check_features(features: Any) -> scipy.sparse.csr_matrix:
    given = features if scipy.sparse.issparse(features) else np.asarray(features)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or 0 in given.shape:
        raise GraphError(
            f"features must be numbers [nodes, features], received dtype {given.dtype} and shape {list(given.shape)}."
        )
    # A float64 beyond float32's range becomes infinite here, and is told as such.
    with np.errstate(over="ignore"):
        matrix = scipy.sparse.csr_matrix(given, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    unusable = int((~np.isfinite(matrix.data)).sum())
    if unusable:
        raise GraphError(
            f"features must be finite, received {unusable} values that are NaN, infinite or too large for float32: "
            "replace or remove them."
        )
    matrix.eliminate_zeros()
    return matrix


def _check_labels(labels: Any, nodes: int, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    if labels is None:
        raise GraphError(
            "labels must be integers [nodes], received none: label some nodes, from which episodes are drawn."
        )
    given = as_whole(np.asarray(labels), missing=UNLABELLED)
    if given.dtype.kind not in "iu" or given.shape != (nodes,):
        raise GraphError(
            f"labels must be integers [nodes] = [{nodes}], one for each row of the features, negative for a node "
            f"without a label; received dtype {given.dtype} and shape {list(given.shape)}."
        )
    given = np.maximum(given.astype(np.int64), UNLABELLED)
    present = np.unique(given[given >= 0])
    if not present.size:
        raise GraphError(f"labels must give the class of at least one node, but all {nodes} are negative (no label).")
    if class_names is None:
        numbered = np.where(given >= 0, np.searchsorted(present, given), UNLABELLED)
        return numbered, tuple(str(number) for number in present)
    names = tuple(str(name) for name in class_names)
    if len(set(names)) != len(names):
        raise GraphError("class_names must not contain duplicates: rename one of the classes.")
    if present[-1] >= len(names):
        raise GraphError(f"labels must be below {len(names)}, the number of class_names, received {present[-1]}.")
    return given, names


def _check_edges(edges: Any, nodes: int) -> np.ndarray:
    if scipy.sparse.issparse(edges):
        if edges.shape != (nodes, nodes):
            raise GraphError(
                f"the adjacency must be [nodes, nodes] = [{nodes}, {nodes}] to match the rows of the features, "
                f"received {list(edges.shape)}."
            )
        entries = edges.tocoo()
        return np.stack([entries.row, entries.col], axis=1)[entries.data != 0]
    given = as_whole(np.asarray(edges))
    if given.size == 0 and given.shape in ((0,), (0, 2)):
        return np.zeros((0, 2), np.int64)
    if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != 2:
        raise GraphError(
            f"edges must be integers [edges, 2], received dtype {given.dtype} and shape {list(given.shape)}."
        )
    outside = ((given < 0) | (given >= nodes)).any(axis=1)
    if outside.any():
        raise GraphError(
            f"edges must join nodes in [0, {nodes}), received {int(outside.sum())} that do not, the first "
            f"{given[outside][0].tolist()}; number nodes from 0 and give features a row for each."
        )
    return given.astype(np.int64)


def _adjacency(edges: np.ndarray, nodes: int) -> scipy.sparse.csr_matrix:
    edges = edges[edges[:, 0] != edges[:, 1]]
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    matrix = scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(nodes, nodes))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
