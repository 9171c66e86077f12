"""The client's programs for nodes: from files to tables and pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from export.client.answers import Answer
from export.client.errors import ClientError
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_picture import write_graph_picture
from export.client.graphs import Graph, read_graph
from tests.export.served_nodes import node_request, reference_context
from tests.helpers.programs import run_programs

ADAPT, PREDICT = "export.client.adapt", "export.client.predict"
HOSTILE = "_$\\frac{1}{0}$\x1b<b>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("papers")
    inputs = node_request()
    np.savez(root / "graph.npz", features=inputs["node_features"][0], edges=inputs["edges"][0])
    support = zip(inputs["support_nodes"][0], [HOSTILE, "theory"] * 2, strict=True)
    (root / "support.csv").write_text("".join(f"{node},{label}\n" for node, label in support))
    query = inputs["query_nodes"][0]
    (root / "queries.csv").write_text("".join(f"{node}, theory\n\n" for node in query))
    (root / "unknown.csv").write_text("".join(f"{node}\r\n" for node in query))
    return root


@pytest.fixture(scope="module")
def answered(files, server):
    """Everything that works, in processes that share their imports."""
    grpc, rest = f"--address=grpc://{server.grpc_address}", f"--address=http://127.0.0.1:{server.rest_port}"
    graph, task, adapted = f"--graph={files}/graph.npz", f"--support={files}/support.csv", f"{files}/task.npz"
    model, queries, unknown = "--model=nodes", f"--query={files}/queries.csv", f"--query={files}/unknown.csv"
    as_json = "--output_format=json"
    calls = {
        "adapt": [ADAPT, grpc, model, graph, task, f"--output={adapted}"],
        "table": [PREDICT, rest, model, graph, task, queries, f"--picture={files}/a.png"],
        "json": [PREDICT, grpc, f"--adapted={adapted}", graph, unknown, as_json, f"--picture={files}/b.svg"],
        "part": [PREDICT, rest, model, graph, task, queries, as_json, "--neighbourhood=3"],
    }
    done = {}
    for name, finished in zip(calls, run_programs(list(calls.values())), strict=True):
        assert finished.code == 0, (name, finished.err)
        done[name] = finished.out
    return done


def test_answers_are_those_of_the_library(answered, nodes):
    inputs = node_request()
    context = reference_context(nodes.model, inputs)
    expected = nodes.in_process.adapt(inputs["support_nodes"][0], [HOSTILE, "theory"] * 2, context=context)
    for name in ("json", "part"):
        document = json.loads(answered[name])
        assert tuple(document["class_names"]) == expected.class_names
        values = [row["values"] for row in document["queries"]]
        np.testing.assert_allclose(values, expected.predict(inputs["query_nodes"][0]), rtol=1e-5, atol=1e-6)
        assert [row["name"] for row in document["queries"]] == [f"node {node}" for node in inputs["query_nodes"][0]]
    assert json.loads(answered["json"])["accuracy"] is None and json.loads(answered["part"])["accuracy"] is not None
    assert "nodes version 1 adapted to 4 examples" in answered["adapt"]
    assert "% of 5 right" in answered["table"] and f"node {inputs['query_nodes'][0, 0]}" in answered["table"]


def test_pictures_are_pictures(answered, files):
    with Image.open(files / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.size == (1280, 960)
    # Vermillion or blue: a query or a support node; ink: an outline.
    assert (0xD5, 0x5E, 0x00) in colours and (0x00, 0x72, 0xB2) in colours and (0x1F, 0x23, 0x28) in colours
    xml.etree.ElementTree.parse(files / "b.svg")


MISTAKES = [
    ([], ["--query={}/queries.csv", "--support={}/support.csv"], "give the graph"),
    (["--picture={}/a.png"], ["--query={}/queries.csv", "--support={}/support.csv"], "--picture draws a graph"),
    (["--neighbourhood=1"], ["--query={}/queries.csv", "--support={}/support.csv"], "--neighbourhood is a part"),
    (["--graph={}/graph.npz"], ["--query={}/queries.csv", "--support={}/unknown.csv"], "label of every support node"),
    (
        ["--graph={}/graph.npz", "--picture={}/a.pdf"],
        ["--query={}/queries.csv", "--support={}/support.csv"],
        "ends with .png or .svg",
    ),
    (["--graph={}/support.csv"], ["--query={}/queries.csv", "--support={}/support.csv"], "is no .npz file"),
]


def test_mistakes_are_one_line(files, server):
    common = [PREDICT, f"--address=http://127.0.0.1:{server.rest_port}", "--model=nodes"]
    calls = [[*common, *(flag.format(files) for flag in (*graph, *flags))] for graph, flags, _ in MISTAKES]
    for done, (_, _, message) in zip(run_programs(calls), MISTAKES, strict=True):
        assert done.code == 2
        assert len(done.messages) == 1 and message in done.messages[0], done.err


@pytest.mark.parametrize(
    "content, message",
    [
        ("node1,label\n1,a\n", "line 1, must be a node number"),
        ("1.5,a\n", "line 1, must be a node number"),
        ("1,a\n2,0;5\n3,'b\n4,b'c'\n", "line 4: must hold a name"),
        ("1,a\n\n5,NA\n", "line 3: 'NA' may be a name"),
        ("1,0.5\n", "line 1: must hold a whole number or a name"),
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
    "a header": "node,label\n7,caf\u00e9\n8,b\n",
    "semicolons and quotes": '\ufeff"Knoten";"Klasse"\r\n"7";"cafe\u0301"\r\n"8";"b"\r\n',
    "tabs": "# node\tlabel\n7\tcaf\u00e9\n\n8\tb\n",
    "blanks": "7 caf\u00e9 \n8   b\n",
    "floats": "7.0,caf\u00e9\n8.0,b\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_tables_of_all_forms(tmp_path, text):
    (tmp_path / "nodes.csv").write_bytes(text.encode())
    read = read_support(tmp_path / "nodes.csv")
    assert (read.inputs.tolist(), read.targets) == ([7, 8], ["caf\u00e9", "b"])


@pytest.mark.parametrize("labels", ["10.0 9.0", "10 9", "+10 9e0"])
def test_labels_that_are_numbers(tmp_path, labels):
    first, second = labels.split()
    (tmp_path / "nodes.csv").write_text(f"7,{first}\n8,{second}\n")
    assert read_support(tmp_path / "nodes.csv").targets == [10, 9]


@pytest.mark.parametrize("nothing", ["", "nan", "-1", "-1.0"])
def test_nodes_without_a_label(tmp_path, nothing):
    (tmp_path / "nodes.csv").write_text(f"7,{nothing}\n8,{nothing}\n")
    assert read_queries(tmp_path / "nodes.csv").targets is None


def test_whole_numbers_are_labels_by_value(tmp_path):
    (tmp_path / "nodes.csv").write_text("7,10\n8,9\n")
    assert read_support(tmp_path / "nodes.csv").targets == [10, 9]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"features": np.ones((3, 2))}, "must hold features and edges, found features"),
        ({"features": np.ones((3, 2)), "edges": np.array([[0, 3]])}, r"edges must join nodes in \[0, 3\)"),
        ({"features": np.array([{}], object), "edges": np.array([[0, 0]])}, "allow_pickle"),
    ],
)
def test_files_that_hold_no_graph(tmp_path, arrays, message):
    np.savez(tmp_path / "graph.npz", **arrays)
    with pytest.raises(ClientError, match=message):
        read_graph(tmp_path / "graph.npz")


def test_graphs_of_floats_that_are_whole(tmp_path):
    np.savez(tmp_path / "graph.npz", features=np.ones((3, 2)), edges=np.array([[0.0, 2.0]]))
    assert read_graph(tmp_path / "graph.npz").edges.tolist() == [[0, 2]]
    np.savez(tmp_path / "graph.npz", features=np.ones((3, 2)), edges=np.array([[0.5, 2.0]]))
    with pytest.raises(ClientError, match="edges must be whole numbers"):
        read_graph(tmp_path / "graph.npz")


def _path_graph(nodes):
    edges = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)
    return Graph(np.ones((nodes, 1), np.float32), edges)


def _queries(nodes):
    return ExampleSet(np.array(nodes), None, tuple(f"node {node}" for node in nodes))


def test_a_picture_is_the_same_every_time_and_shows_the_neighbourhood(tmp_path):
    answer = Answer(np.eye(2, dtype=np.float32), (HOSTILE, "b"))
    for name in ("a.svg", "b.svg"):
        write_graph_picture(tmp_path / name, _path_graph(50), answer, _queries([10, 20]))
    first, second = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    assert first == second
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.svg", "b.svg"]
    # Two edges in either direction of both.
    assert first.count('id="line2d_') >= 8


def test_what_cannot_be_drawn_is_refused(tmp_path):
    many = np.arange(301)
    answer = Answer(np.tile(np.float32([[1, 0]]), (301, 1)), ("a", "b"))
    with pytest.raises(ClientError, match="at most 300 nodes, received 301"):
        write_graph_picture(tmp_path / "a.png", _path_graph(400), answer, _queries(many))
    other = ExampleSet(np.array([1]), ["c"], ("node 1",))
    with pytest.raises(ClientError, match="must have the classes that were adapted to, received c"):
        write_graph_picture(tmp_path / "a.png", _path_graph(9), Answer(np.eye(2)[:1], ("a", "b")), _queries([0]), other)
    with pytest.raises(ClientError, match="at least one query"):
        write_graph_picture(tmp_path / "a.png", _path_graph(9), Answer(np.eye(2)[:0], ("a", "b")), _queries([]))
    assert list(tmp_path.iterdir()) == []
