"""Tables of nodes, files of graphs and pictures of them."""

from __future__ import annotations

import numpy as np
import pytest

from export.client.answers import Answer
from export.client.errors import ClientError
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_picture import write_graph_picture
from export.client.graphs import Graph, read_graph

HOSTILE = "_$\\frac{1}{0}$\x1b<b>"


@pytest.mark.parametrize(
    "content, message",
    [
        ("node1,label\n1,a\n", "line 1, must be a node number"),
        ("1.5,a\n", "line 1, must be a node number"),
        ("1,a\n2,0;5\n3,'b\n4,b'c'\n", "line 4: must contain a name"),
        ("1,a\n\n5,NA\n", "line 3: 'NA' may be a name"),
        ("1,0.5\n", "line 1: must contain a whole number or a name"),
        ("1,a\n\n2,b,c\n", "line 3, must be a node number"),
        ("1,a\n-2,b\n", "line 2"),
        ("1_0,a\n", "line 1"),
        ("1,a\n2\n", "a label on every line or on none, found 1 of 2 and none on line 2"),
        ("1,a\n\xff", "line 2: must be UTF-8"),
    ],
)
def test_tables_that_are_none(tmp_path, content, message):
    (tmp_path / "nodes.csv").write_bytes(content.encode("latin-1"))
    for read in (read_support, read_queries):
        with pytest.raises(ClientError, match=message):
            read(tmp_path / "nodes.csv")


TABLES = {
    "node,label\n7,caf\u00e9\n8,b\n": ["caf\u00e9", "b"],
    '\ufeff"Knoten";"Klasse"\r\n"7";"cafe\u0301"\r\n"8";"b"\r\n': ["caf\u00e9", "b"],
    "# node\tlabel\n7\tcaf\u00e9\n\n8\tb\n": ["caf\u00e9", "b"],
    "7 caf\u00e9 \n8   b\n": ["caf\u00e9", "b"],
    "7.0,caf\u00e9\n8.0,b\n": ["caf\u00e9", "b"],
    # Whole numbers are labels by value.
    **dict.fromkeys(("7,10\n8,9\n", "7,10.0\n8,9.0\n", "7,+10\n8,9e0\n"), [10, 9]),
    # Nodes without a label.
    **{f"7,{nothing}\n8,{nothing}\n": None for nothing in ("", "nan", "-1", "-1.0")},
}


def test_tables_of_all_forms(tmp_path):
    for text, targets in TABLES.items():
        (tmp_path / "nodes.csv").write_bytes(text.encode())
        read = read_queries(tmp_path / "nodes.csv")
        assert (read.inputs.tolist(), read.targets) == ([7, 8], targets), text
        if targets:
            assert read_support(tmp_path / "nodes.csv").targets == targets


@pytest.mark.parametrize(
    "features, edges, message",
    [
        (np.ones((3, 2)), None, "must contain features and edges, found features"),
        (np.ones((3, 2)), [[0, 3]], r"edges must join nodes in \[0, 3\)"),
        (np.ones((3, 2)), [[0.5, 2.0]], "edges must be whole numbers"),
        (np.array([{}], object), [[0, 0]], "allow_pickle"),
    ],
)
def test_files_that_hold_no_graph(tmp_path, features, edges, message):
    np.savez(tmp_path / "graph.npz", features=features, **({} if edges is None else {"edges": np.array(edges)}))
    with pytest.raises(ClientError, match=message):
        read_graph(tmp_path / "graph.npz")


def test_graphs_of_floats_that_are_whole(tmp_path):
    np.savez(tmp_path / "graph.npz", features=np.ones((3, 2)), edges=np.array([[0.0, 2.0]]))
    assert read_graph(tmp_path / "graph.npz").edges.tolist() == [[0, 2]]


def _path_graph(nodes):
    edges = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)
    return Graph(np.ones((nodes, 1), np.float32), edges)


def _examples(nodes, targets=None):
    return ExampleSet(np.array(nodes), targets, tuple(f"node {node}" for node in nodes))


def test_a_picture_is_the_same_every_time_and_shows_the_neighbourhood(tmp_path):
    answer = Answer(np.eye(2, dtype=np.float32), (HOSTILE, "b"))
    for name in ("a.svg", "b.svg"):
        write_graph_picture(tmp_path / name, _path_graph(50), answer, _examples([10, 20]))
    first, second = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert first == second
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.svg", "b.svg"]
    # Two edges in either direction of both.
    assert first.count('id="line2d_') >= 8


def test_what_cannot_be_drawn_is_refused(tmp_path):
    for queries, support, message in (
        (range(301), None, "at most 300 nodes, received 301"),
        ([0], _examples([1], ["c"]), "must have the classes of the adapted task, received c"),
        ([], None, "at least one query"),
    ):
        answer = Answer(np.tile(np.float32([[1, 0]]), (len(queries), 1)), ("a", "b"))
        given = [support] if support else []
        with pytest.raises(ClientError, match=message):
            write_graph_picture(tmp_path / "a.png", _path_graph(400), answer, _examples(queries), *given)
    assert list(tmp_path.iterdir()) == []
