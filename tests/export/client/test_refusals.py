"""What cannot be served is refused in words before it is sent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export.client import Adapted, ClientError, FewShotClient
from tests.export.served import NODES, node_request

NAMES = ("cat", "ant", "bee")
_IMAGE, _WAVES = np.zeros((3, 16, 16, 1), np.float32), np.zeros((2, 1))
# Support set, targets and queries, and the message.
IMAGES = {
    "another shape": (np.zeros((3, 8, 8, 1)), NAMES, _IMAGE, r"shape \[examples, 16, 16, 1\], received \[3, 8, 8, 1\]"),
    "queries of another shape": (_IMAGE, NAMES, _IMAGE[..., 0], r"received \[3, 16, 16\]"),
    "no numbers": ([["a"]] * 3, NAMES, _IMAGE, "must be numbers, or the bytes of image files"),
    "a broken file": ([b"no image"] * 3, NAMES, _IMAGE, "file 0"),
    "too many classes": (
        np.zeros((4, 16, 16, 1)),
        [*NAMES, "dog"],
        _IMAGE,
        "classes must be 2 to 3 for this model, received 4: ant",
    ),
    "one class": (_IMAGE, ["cat"] * 3, _IMAGE, "received 1: cat"),
    "a target too few": (_IMAGE, NAMES[:2], _IMAGE, "received 3 and 2"),
    "no support": (_IMAGE[:0], [], _IMAGE, "received 0 and 0"),
    "a single value": (np.float32(1), NAMES, _IMAGE, "examples must be an array or a list"),
    "no targets": (_IMAGE, None, _IMAGE, "examples must be an array or a list"),
}
WAVES = {
    "files": ([b"\x89PNG"] * 2, [0.0, 1.0], _WAVES, "takes arrays .* instead of image files"),
    "names": (_WAVES, ["a", "b"], _WAVES, "targets of a regression must be numbers"),
    "wide targets": (_WAVES, np.zeros((2, 3)), _WAVES, r"shape \[support, 1\], received \[2, 3\]"),
}
_FEATURES, _EDGES = node_request()["node_features"][0], node_request()["edges"][0]
_NAN, _LARGE = _FEATURES.copy(), _FEATURES.astype(float)
_NAN[0, 3], _LARGE[0, 3] = np.nan, 1e300
# The graph, nodes and the message.
GRAPHS = {
    "no graph": (None, [0, 1], "classifies nodes of a graph: pass the graph"),
    "no pair": (np.float32(1), [0, 1], r"must be \(features, edges\), received float32"),
    "too few features": ((np.ones((NODES, 6)), _EDGES), [0, 1], r"shape \[nodes, 7\], as in training.*\[30, 6\]"),
    "features of another rank": ((np.ones(7), _EDGES), [0, 1], r"numbers \[nodes, features\].*\[7\]"),
    "no nodes": ((np.ones((0, 7)), _EDGES), [0, 1], r"\[0, 7\]"),
    "names as features": ((np.full((NODES, 7), "a"), _EDGES), [0, 1], "numbers"),
    "NaN in the features": ((_NAN, _EDGES), [0, 1], "finite, received 1 values that are not"),
    "features beyond float32": ((_LARGE, _EDGES), [0, 1], "finite, received 1"),
    "an edge too far": ((_FEATURES, [[0, 1], [2, NODES]]), [0, 1], r"\[0, 30\).*1 that do not, the first \[2, 30\]"),
    "a negative edge": ((_FEATURES, [[-1, 1]]), [0, 1], r"the first \[-1, 1\]"),
    "edges of three": ((_FEATURES, [[0, 1, 2]]), [0, 1], r"whole numbers \[edges, 2\].*\[1, 3\]"),
    "edges of fractions": ((_FEATURES, [[0.0, 1.5]]), [0, 1], "whole numbers"),
    "a node too far": ((_FEATURES, _EDGES), [0, NODES], r"must be in \[0, 30\), the nodes of the graph, received 30"),
    "a negative node": ((_FEATURES, _EDGES), [-1, 0], "received -1"),
    "nodes of fractions": ((_FEATURES, _EDGES), [0.0, 1.5], "nodes must be whole numbers"),
    "files": ((_FEATURES, _EDGES), [b"0", b"1"], "instead of image files"),
}
ROWS = [
    *(("images", *row[:3], None, row[3]) for row in IMAGES.values()),
    *(("waves", *row[:3], None, row[3]) for row in WAVES.values()),
    *(("nodes", nodes, ["a", "b"], nodes, graph, message) for graph, nodes, message in GRAPHS.values()),
    ("waves", [[1.0]], [1.0], [[2.0]], (_FEATURES, _EDGES), "takes arrays and no graph"),
]


@pytest.mark.parametrize(("model", "support", "targets", "query", "graph", "message"), ROWS)
def test_what_cannot_be_served_is_not_sent(server, model, support, targets, query, graph, message):
    client = FewShotClient(f"http://127.0.0.1:{server.rest_port}", model)
    with client, pytest.raises(ClientError, match=message):
        client.adapt_and_predict(support, targets, query, graph)


def test_a_task_of_another_kind_of_model_or_version_is_refused(server):
    adapted = Adapted("images", 1, ("a", "b"), np.arange(300, dtype=np.float32), 12345)
    address = f"http://127.0.0.1:{server.rest_port}"
    with FewShotClient(address, "images") as client:
        for names in (None, ("a", "b", "c", "d")):
            with pytest.raises(ClientError, match="has 3 classes: adapt again"):
                client.predict(dataclasses.replace(adapted, class_names=names), _IMAGE)
    for choice in ({"version": 2}, {"version_label": "stable"}):
        client = FewShotClient("http://127.0.0.1:1", "images", **choice)
        with client, pytest.raises(ClientError, match="adapted by version 1, which alone can answer"):
            client.predict(adapted, _IMAGE)
