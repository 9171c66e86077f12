"""What cannot be served is refused in words before it is sent."""

import dataclasses

import numpy as np
import pytest

from export.client import Adapted, ClientError, FewShotClient
from tests.export.served import NODES, node_request

NAMES = ("cat", "ant", "bee")
_IMAGE, _WAVES = np.zeros((3, 16, 16, 1), np.float32), np.zeros((2, 1))
_FEATURES, _EDGES = node_request()["node_features"][0], node_request()["edges"][0]
_NAN, _LARGE = _FEATURES.copy(), _FEATURES.astype(float)
_NAN[0, 3], _LARGE[0, 3] = np.nan, 1e300
# By model: support set, targets, queries and graph, and what the message names.
ROWS = {
    "images": [
        (np.zeros((3, 8, 8, 1)), NAMES, _IMAGE, None, r"16, 16, 1\].* \[3, 8, 8, 1\]"),
        (_IMAGE, NAMES, _IMAGE[..., 0], None, r"\[3, 16, 16\]"),
        ([["a"]] * 3, NAMES, _IMAGE, None, "numbers"),
        ([b"no image"] * 3, NAMES, _IMAGE, None, "file 0"),
        (np.zeros((4, 16, 16, 1)), [*NAMES, "dog"], _IMAGE, None, "classes must be 2 to 3 .*4: ant"),
        (_IMAGE, ["cat"] * 3, _IMAGE, None, "1: cat"),
        (_IMAGE, NAMES[:2], _IMAGE, None, "3 and 2"),
        (_IMAGE[:0], [], _IMAGE, None, "0 and 0"),
        *(
            (support, targets, _IMAGE, None, "array or a list")
            for support, targets in ((np.float32(1), NAMES), (_IMAGE, None))
        ),
    ],
    "waves": [
        ([b"\x89PNG"] * 2, [0.0, 1.0], _WAVES, None, "image files"),
        (_WAVES, ["a", "b"], _WAVES, None, "numbers"),
        (_WAVES, np.zeros((2, 3)), _WAVES, None, r"\[support, 1\].* \[2, 3\]"),
        (_WAVES, [0.0, 1.0], _WAVES, (_FEATURES, _EDGES), "no graph"),
    ],
    "nodes": [
        (nodes, ["a", "b"], nodes, graph, message)
        for nodes, graph, message in (
            ([0, 1], None, "pass the graph"),
            ([0, 1], np.float32(1), r"\(features, edges\).* float32"),
            ([0, 1], (np.ones((NODES, 6)), _EDGES), r"\[nodes, 7\].*\[30, 6\]"),
            ([0, 1], (np.ones(7), _EDGES), r"\[nodes, features\].*\[7\]"),
            ([0, 1], (np.ones((0, 7)), _EDGES), r"\[0, 7\]"),
            ([0, 1], (np.full((NODES, 7), "a"), _EDGES), "numbers"),
            *(([0, 1], (features, _EDGES), "finite.* 1") for features in (_NAN, _LARGE)),
            ([0, 1], (_FEATURES, [[0, 1], [2, NODES]]), r"\[0, 30\).*1 .* \[2, 30\]"),
            ([0, 1], (_FEATURES, [[-1, 1]]), r"\[-1, 1\]"),
            ([0, 1], (_FEATURES, [[0, 1, 2]]), r"\[edges, 2\].*\[1, 3\]"),
            ([0, 1], (_FEATURES, [[0.0, 1.5]]), "whole numbers"),
            ([0, NODES], (_FEATURES, _EDGES), r"\[0, 30\).* 30"),
            ([-1, 0], (_FEATURES, _EDGES), "-1"),
            ([0.0, 1.5], (_FEATURES, _EDGES), "whole numbers"),
            ([b"0", b"1"], (_FEATURES, _EDGES), "image files"),
        )
    ],
}


@pytest.mark.parametrize(("model", "row"), [(model, row) for model, rows in ROWS.items() for row in rows])
def test_what_cannot_be_served_is_not_sent(server, model, row):
    *given, message = row
    with FewShotClient(server.addresses["http"], model) as client, pytest.raises(ClientError, match=message):
        client.adapt_and_predict(*given)


def test_a_task_of_another_kind_of_model_or_version_is_refused(server):
    adapted = Adapted("images", 1, ("a", "b"), np.arange(300, dtype=np.float32), 12345)
    with FewShotClient(server.addresses["http"], "images") as client:
        for names in (None, ("a", "b", "c", "d")):
            with pytest.raises(ClientError, match="3 classes.*adapt again"):
                client.predict(dataclasses.replace(adapted, class_names=names), _IMAGE)
    for choice in ({"version": 2}, {"version_label": "stable"}):
        client = FewShotClient("http://127.0.0.1:1", "images", **choice)
        with client, pytest.raises(ClientError, match="version 1"):
            client.predict(adapted, _IMAGE)
