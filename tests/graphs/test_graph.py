import numpy as np
import pytest
import scipy.sparse

from cml_tf.graphs import GraphError, check_graph
from tests.helpers.random_graphs import random_graph

FEATURES = np.eye(4, 3) + 1
LABELS = np.array([0, 1, 0, 1])
EDGES = [[0, 1], [1, 2]]


def neighbours(graph):
    return {(int(row), int(column)) for row, column in zip(*graph.adjacency.nonzero(), strict=True)}


def test_edges_become_undirected_single_and_without_loops():
    graph = check_graph([[0, 1], [1, 0], [1, 2], [1, 2], [2, 2]], FEATURES, LABELS)
    assert neighbours(graph) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert graph.adjacency.data.tolist() == [1] * 4
    assert (graph.nodes, graph.edges) == (4, 2)
    assert graph.adjacency.dtype == graph.features.dtype == np.float32
    np.testing.assert_array_equal(graph.features.toarray(), FEATURES)


def test_an_adjacency_says_the_same_as_its_edges():
    weights = scipy.sparse.coo_matrix(([0.5, 2.0, 3.0, 0.0], ([0, 1, 2, 3], [1, 2, 2, 0])), (4, 4))
    expected = check_graph(EDGES, FEATURES, LABELS)
    for features in (FEATURES, scipy.sparse.csr_matrix(FEATURES), FEATURES.astype(int)):
        graph = check_graph(weights, features, LABELS)
        assert neighbours(graph) == neighbours(expected)
        assert graph.fingerprint == expected.fingerprint


def test_features_of_zero_are_no_entries():
    stored = scipy.sparse.csr_matrix(np.ones((4, 3)))
    stored.data[::2] = 0
    graph = check_graph(EDGES, stored, LABELS)
    assert graph.fingerprint == check_graph(EDGES, stored.toarray(), LABELS).fingerprint
    assert graph.features.nnz == 6 and stored.nnz == 12, "what was given is not touched"


@pytest.mark.parametrize("edges", [[], np.zeros((0, 2), np.int64), [[0, 1]], [[0, 1], [2, 3]]])
def test_isolated_nodes_several_parts_and_nodes_without_a_label_are_accepted(edges):
    graph = check_graph(edges, FEATURES, [0, -1, -7, 1])
    assert (graph.nodes, graph.edges, graph.labels.tolist()) == (4, len(edges), [0, -1, -1, 1])


def test_classes_are_called_by_their_numbers_or_names():
    graph = check_graph(EDGES, FEATURES, [30, -1, 7, 30])
    assert (graph.class_names, graph.labels.tolist()) == (("7", "30"), [1, -1, 0, 1])
    named = check_graph(EDGES, FEATURES, [2, -1, 0, 2], ["a", "b", "c"])
    assert (named.class_names, named.labels.tolist()) == (("a", "b", "c"), [2, -1, 0, 2])


def test_the_fingerprint_covers_everything():
    base = random_graph()
    assert random_graph().fingerprint == base.fingerprint
    dense, edges = base.features.toarray(), np.argwhere(base.adjacency.toarray())
    changed = dense + np.eye(*dense.shape)
    others = [
        check_graph(edges[edges.max(axis=1) < 26], dense, base.labels),
        check_graph(edges, changed, base.labels),
        check_graph(edges, dense, np.roll(base.labels, 1)),
        check_graph(edges, dense, base.labels, list("abcdefg")),
        check_graph(edges, np.pad(dense, ((0, 0), (0, 1))), base.labels),
    ]
    assert check_graph(edges, dense, base.labels).fingerprint == base.fingerprint
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize(
    ("edges", "features", "labels", "names", "message"),
    [
        ([[0, 4], [1, 2]], FEATURES, LABELS, None, r"nodes in \[0, 4\), received 1 that do not, the first \[0, 4\]"),
        ([[0, 1], [-1, 2]], FEATURES, LABELS, None, r"received 1 that do not, the first \[-1, 2\]"),
        ([[0.5, 1.0]], FEATURES, LABELS, None, r"edges must be integers \[edges, 2\], received dtype float64"),
        ([[0, 1, 2]], FEATURES, LABELS, None, r"edges must be integers \[edges, 2\].*shape \[1, 3\]"),
        (scipy.sparse.eye(3), FEATURES, LABELS, None, r"\[nodes, nodes\] = \[4, 4\].*received \[3, 3\]"),
        (EDGES, FEATURES * [1, np.nan, np.inf], LABELS, None, "finite, received 8 values"),
        (EDGES, scipy.sparse.csr_matrix(FEATURES * np.inf), LABELS, None, "finite, received 12 values"),
        (EDGES, FEATURES * 1e39, LABELS, None, "too large for float32"),
        (EDGES, FEATURES[0], LABELS, None, r"features must be numbers \[nodes, features\].*shape \[3\]"),
        (EDGES, FEATURES.astype(str), LABELS, None, "features must be numbers"),
        (EDGES, FEATURES[:, :0], LABELS, None, r"shape \[4, 0\]"),
        (EDGES, FEATURES, None, None, "labels must be integers .* received none"),
        (EDGES, FEATURES, LABELS[:3], None, r"\[nodes\] = \[4\].*shape \[3\]"),
        (EDGES, FEATURES, LABELS * 0.5, None, "received dtype float64"),
        (EDGES, FEATURES, np.eye(4, dtype=int), None, r"shape \[4, 4\]"),
        (EDGES, FEATURES, LABELS - 2, None, "all 4 are negative"),
        (EDGES, FEATURES, LABELS, ["a", "a"], "must not contain duplicates"),
        (EDGES, FEATURES, LABELS, ["a"], "below 1, the number of class_names, received 1"),
    ],
)
def test_malformed_graphs_are_refused(edges, features, labels, names, message):
    with pytest.raises(GraphError, match=message):
        check_graph(edges, features, labels, names)
