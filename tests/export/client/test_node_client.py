"""Through the client a served model on nodes answers as the library does, over both protocols."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from export.client import ClientError, FewShotClient
from export.client.graphs import Graph, around
from tests.export.served_nodes import NODES, node_request, reference_context

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
NAMES = ["theory", "genetics", "theory", "genetics"]


@pytest.fixture(params=["grpc", "http"])
def client(request, server):
    addresses = {"grpc": f"grpc://{server.grpc_address}", "http": f"http://127.0.0.1:{server.rest_port}"}
    with FewShotClient(addresses[request.param], "nodes") as client:
        yield client


def _task():
    inputs = node_request()
    graph = Graph(inputs["node_features"][0], inputs["edges"][0])
    return inputs, graph, inputs["support_nodes"][0], inputs["query_nodes"][0]


def test_classes_have_names_and_the_librarys_probabilities(client, nodes):
    inputs, graph, support, query = _task()
    expected = nodes.in_process.adapt(support, NAMES, context=reference_context(nodes.model, inputs))
    whole = client.adapt_and_predict(support, NAMES, query, graph)
    # Whatever holds features and edges is a graph, also one of lists and sparse matrices.
    adapted = client.adapt(support.tolist(), NAMES, (scipy.sparse.csr_matrix(graph.features), graph.edges.tolist()))
    later = client.predict(adapted, query, graph)
    for answer in (whole, later):
        assert answer.class_names == expected.class_names == ("genetics", "theory")
        np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)
        assert list(answer.classes) == expected.classify(query)
    np.testing.assert_allclose(adapted.state, expected.packed(), **CLOSE)
    assert client.predict(adapted, [], graph).values.shape == (0, 2)


def test_a_graph_without_edges_arrives(client, nodes):
    inputs, graph, support, query = _task()
    inputs["edges"] = np.zeros((1, 0, 2), np.int32)
    expected = nodes.in_process.adapt(support, NAMES, context=reference_context(nodes.model, inputs))
    answer = client.adapt_and_predict(support, NAMES, query, (graph.features, []))
    np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)


def test_the_part_around_the_nodes_answers_as_the_whole_graph(client):
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


def _graph(features=None, edges=None):
    _, graph, _, _ = _task()
    return (graph.features if features is None else features, graph.edges if edges is None else edges)


def _with(array, value):
    changed = array.copy()
    changed.reshape(-1)[3] = value
    return changed


REFUSED = {
    "no graph": (None, [0, 1], "classifies nodes of a graph: give the graph"),
    "no pair": (np.float32(1), [0, 1], r"must be \(features, edges\), received float32"),
    "too few features": (_graph(np.ones((NODES, 6))), [0, 1], r"shape \[nodes, 7\], as in training.*\[30, 6\]"),
    "features of another rank": (_graph(np.ones(7)), [0, 1], r"numbers \[nodes, features\].*\[7\]"),
    "no nodes": (_graph(np.ones((0, 7))), [0, 1], r"\[0, 7\]"),
    "names as features": (_graph(np.full((NODES, 7), "a")), [0, 1], "numbers"),
    "NaN in the features": (_graph(_with(_graph()[0], np.nan)), [0, 1], "finite, received 1 values that are not"),
    "features beyond float32": (_graph(_with(_graph()[0].astype(float), 1e300)), [0, 1], "finite, received 1"),
    "an edge too far": (_graph(edges=[[0, 1], [2, NODES]]), [0, 1], r"\[0, 30\).*1 that do not, the first \[2, 30\]"),
    "a negative edge": (_graph(edges=[[-1, 1]]), [0, 1], r"the first \[-1, 1\]"),
    "edges of three": (_graph(edges=[[0, 1, 2]]), [0, 1], r"whole numbers \[edges, 2\].*\[1, 3\]"),
    "edges of fractions": (_graph(edges=[[0.0, 1.5]]), [0, 1], "whole numbers"),
    "a node too far": (_graph(), [0, NODES], r"numbers in \[0, 30\), as the graph has, received 30"),
    "a negative node": (_graph(), [-1, 0], "received -1"),
    "nodes of fractions": (_graph(), [0.0, 1.5], "nodes must be whole numbers"),
    "files": (_graph(), [b"0", b"1"], "takes no image files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_not_sent(server, name):
    graph, support, message = REFUSED[name]
    query = [0] if name != "files" else [b"2"]
    client = FewShotClient(f"http://127.0.0.1:{server.rest_port}", "nodes")
    with client, pytest.raises(ClientError, match=message):
        client.adapt_and_predict(support, ["a", "b"], query, graph)


def test_a_model_of_arrays_takes_no_graph(server):
    client = FewShotClient(f"http://127.0.0.1:{server.rest_port}", "waves")
    with client, pytest.raises(ClientError, match="takes arrays and no graph"):
        client.adapt_and_predict([[1.0]], [1.0], [[2.0]], _graph())


def test_the_state_must_be_of_this_version(server):
    _, graph, support, query = _task()
    with FewShotClient(f"grpc://{server.grpc_address}", "nodes") as client:
        adapted = client.adapt(support, NAMES, graph)
        with pytest.raises(ClientError, match="by another model or version"):
            client.predict(dataclasses.replace(adapted, fingerprint=adapted.fingerprint ^ 1), query, graph)
