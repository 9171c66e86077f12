"""Graphs: what is read of edges, features and labels, and what is refused."""

import numpy as np
import pytest
import scipy.sparse

from cml_tf.graphs import GraphError, check_graph, graph_context
from tests.helpers.random_graphs import random_graph

FEATURES = np.eye(4, 3) + 1
LABELS = np.array([0, 1, 0, 1])
EDGES = [[0, 1], [1, 2]]


def test_edges_become_undirected_single_and_without_loops_and_an_adjacency_says_the_same():
    graph = check_graph([[0, 1], [1, 0], [1, 2], [1, 2], [2, 2]], FEATURES, LABELS)
    assert np.argwhere(graph.adjacency.toarray()).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert graph.adjacency.data.tolist() == [1] * 4 and (graph.nodes, graph.edges) == (4, 2)
    assert graph.adjacency.dtype == graph.features.dtype == np.float32
    np.testing.assert_array_equal(graph.features.toarray(), FEATURES)
    weights = scipy.sparse.coo_matrix(([0.5, 2.0, 3.0, 0.0], ([0, 1, 2, 3], [1, 2, 2, 0])), (4, 4))
    for features in (FEATURES, scipy.sparse.csr_matrix(FEATURES), FEATURES.astype(int)):
        assert check_graph(weights, features, LABELS).fingerprint == graph.fingerprint
    # Features of zero are no entries.
    stored = scipy.sparse.csr_matrix(np.ones((4, 3)))
    stored.data[::2] = 0
    given = check_graph(EDGES, stored, LABELS)
    assert given.fingerprint == check_graph(EDGES, stored.toarray(), LABELS).fingerprint
    assert given.features.nnz == 6 and stored.nnz == 12, "what was given is not touched"


def test_isolated_nodes_nodes_without_a_label_and_names_of_classes():
    for edges in ([], np.zeros((0, 2), np.int64), [[0, 1], [2, 3]]):
        graph = check_graph(edges, FEATURES, [0, -1, -7, 1])
        assert (graph.nodes, graph.edges, graph.labels.tolist()) == (4, len(edges), [0, -1, -1, 1])
    graph = check_graph(EDGES, FEATURES, [30, -1, 7, 30])
    assert (graph.class_names, graph.labels.tolist()) == (("7", "30"), [1, -1, 0, 1])
    named = check_graph(EDGES, FEATURES, [2, -1, 0, 2], ["a", "b", "c"])
    assert (named.class_names, named.labels.tolist()) == (("a", "b", "c"), [2, -1, 0, 2])


def test_the_fingerprint_covers_everything():
    base = random_graph()
    dense, edges = base.features.toarray(), np.argwhere(base.adjacency.toarray())
    others = [
        check_graph(edges[edges.max(axis=1) < 26], dense, base.labels),
        check_graph(edges, dense + np.eye(*dense.shape), base.labels),
        check_graph(edges, dense, np.roll(base.labels, 1)),
        check_graph(edges, dense, base.labels, list("abcdefg")),
        check_graph(edges, np.pad(dense, ((0, 0), (0, 1))), base.labels),
    ]
    assert random_graph().fingerprint == check_graph(edges, dense, base.labels).fingerprint == base.fingerprint
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": [[0, 4], [1, 2]]}, r"\[0, 4\), received 1 .*first \[0, 4\]"),
        ({"edges": [[0.5, 1.0]]}, "edges .* dtype float64"),
        ({"edges": scipy.sparse.eye(3)}, r"\[4, 4\].*received \[3, 3\]"),
        ({"features": scipy.sparse.csr_matrix(FEATURES * np.inf)}, "finite, received 12 values"),
        ({"features": FEATURES * 1e39}, "too large for float32"),
        ({"features": FEATURES.astype(str)}, "features must be numbers"),
        ({"features": FEATURES[:, :0]}, r"shape \[4, 0\]"),
        ({"labels": None}, "labels .* received none"),
        ({"labels": LABELS * 0.5}, "dtype float64"),
        ({"labels": LABELS - 2}, "all 4 are negative"),
        ({"class_names": ["a", "a"]}, "duplicates"),
        ({"class_names": ["a"]}, "below 1"),
    ],
)
def test_malformed_graphs_and_hops_are_refused(changes, message):
    arguments = {"edges": EDGES, "features": FEATURES, "labels": LABELS, "class_names": None, **changes}
    with pytest.raises(GraphError, match=message):
        check_graph(*arguments.values())
    for hops in (-1, 1.0, True):
        with pytest.raises(GraphError, match="hops"):
            graph_context(check_graph(EDGES, FEATURES, LABELS), hops)
