"""Through the client a served model on nodes answers as the library does, over both protocols."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from export.client import ClientError
from export.client.graphs import Graph, around
from tests.export.served import node_request, reference_context

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
NAMES = ["theory", "genetics", "theory", "genetics"]


def _task():
    inputs = node_request()
    graph = Graph(inputs["node_features"][0], inputs["edges"][0])
    return inputs, graph, inputs["support_nodes"][0], inputs["query_nodes"][0]


def test_classes_have_names_and_the_librarys_probabilities(ask, nodes):
    client = ask("nodes")
    inputs, graph, support, query = _task()
    expected = nodes.in_process.adapt(support, NAMES, context=reference_context(nodes.model, inputs))
    whole = client.adapt_and_predict(support, NAMES, query, graph)
    # Whatever holds features and edges is a graph, also one of lists and sparse matrices.
    adapted = client.adapt(support.tolist(), NAMES, (scipy.sparse.csr_matrix(graph.features), graph.edges.tolist()))
    for answer in (whole, client.predict(adapted, query, graph)):
        assert answer.class_names == expected.class_names == ("genetics", "theory")
        np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)
        assert list(answer.classes) == expected.classify(query)
    np.testing.assert_allclose(adapted.state, expected.packed(), **CLOSE)
    assert client.predict(adapted, [], graph).values.shape == (0, 2)
    with pytest.raises(ClientError, match="from another model or version"):
        client.predict(dataclasses.replace(adapted, fingerprint=adapted.fingerprint ^ 1), query, graph)


def test_a_graph_without_edges_arrives(ask, nodes):
    inputs, graph, support, query = _task()
    inputs["edges"] = np.zeros((1, 0, 2), np.int32)
    expected = nodes.in_process.adapt(support, NAMES, context=reference_context(nodes.model, inputs))
    answer = ask("nodes").adapt_and_predict(support, NAMES, query, (graph.features, []))
    np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)


def test_the_part_around_the_nodes_answers_as_the_whole_graph(ask):
    client = ask("nodes")
    _, graph, support, query = _task()
    # Two graph convolutions look two edges far; the third edge is there for the degrees.
    few = query[:1]
    part, little = (around(graph, np.concatenate([support[:2], few]), distance) for distance in (3, 1))
    assert len(part.nodes) > len(little.nodes)
    expected = client.adapt_and_predict(support[:2], NAMES[:2], few, graph).values
    for piece, equal in ((part, True), (little, False)):
        answer = client.adapt_and_predict(piece.numbers(support[:2]), NAMES[:2], piece.numbers(few), piece.graph).values
        assert np.allclose(answer, expected, **CLOSE) == equal


def test_the_part_is_what_lies_around():
    path = Graph(np.arange(12.0).reshape(6, 2), np.array([[1, 0], [1, 2], [2, 3], [3, 4], [5, 5]]))
    part = around(path, [2], 1)
    assert part.nodes.tolist() == [1, 2, 3] and part.graph.edges.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_array_equal(part.graph.features, path.features[1:4])
    assert part.numbers([3, 1]).tolist() == [2, 0]
    assert around(path, [5, 0], 0).graph.edges.tolist() == [[1, 1]]
    with pytest.raises(ClientError, match="distance must be 0 or more"):
        around(path, [2], -1)
