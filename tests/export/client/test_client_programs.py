"""The client's programs, from files to answers, tables, pages and pictures."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from export.client.examples import read_support
from export.client.inputs import decoded
from tests.export.served import node_request, reference_context, request
from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import run_programs

ADAPT, PREDICT = "export.client.adapt", "export.client.predict"
HOSTILE = "<b>[red]x"
HOSTILE_NODE = "_$\\frac{1}{0}$\x1b<b>"


@pytest.fixture(scope="module")
def files(tmp_path_factory, waves):
    root = tmp_path_factory.mktemp("files")
    write_classes(root / "support", ["bee", HOSTILE], images=2)
    write_classes(root / "queries", ["bee", HOSTILE], images=3)
    (root / "flat").mkdir()
    (root / "flat" / "one.png").write_bytes((root / "queries" / "bee" / "0.png").read_bytes())
    np.savez(root / "waves.npz", **{name: array[0] for name, array in request(waves.model).items()})
    inputs = {name: array[0] for name, array in node_request().items()}
    np.savez(root / "graph.npz", features=inputs["node_features"], edges=inputs["edges"])
    support = zip(inputs["support_nodes"], [HOSTILE_NODE, "theory"] * 2, strict=True)
    (root / "support.csv").write_text("".join(f"{node},{label}\n" for node, label in support))
    (root / "queries.csv").write_text("".join(f"{node}, theory\n\n" for node in inputs["query_nodes"]))
    (root / "unknown.csv").write_text("".join(f"{node}\r\n" for node in inputs["query_nodes"]))
    return root


@pytest.fixture(scope="module")
def answered(files, server):
    """Everything that works, in processes that share their imports."""
    grpc, rest = f"--address=grpc://{server.grpc_address}", f"--address=http://127.0.0.1:{server.rest_port}"
    task, adapted, query = f"--support={files}/support", f"{files}/task.npz", f"--query={files}/queries"
    graph, some, nodes = f"--graph={files}/graph.npz", f"--support={files}/support.csv", f"{files}/nodes.npz"
    known, unknown = f"--query={files}/queries.csv", f"--query={files}/unknown.csv"
    images, on_nodes, as_json = "--model=images", "--model=nodes", "--output_format=json"
    waves = f"{files}/waves.npz"
    calls = {
        "adapt": [ADAPT, grpc, images, task, f"--output={adapted}"],
        "table": [PREDICT, rest, f"--adapted={adapted}", query],
        "json": [PREDICT, rest, images, task, query, as_json],
        "one": [PREDICT, rest, f"--adapted={adapted}", f"--query={files}/flat/one.png"],
        "html": [PREDICT, grpc, images, task, query, "--output_format=html", f"--output={files}/a.html"],
        "waves": [PREDICT, grpc, "--model=waves", f"--support={waves}", f"--query={waves}"],
        "nodes adapt": [ADAPT, grpc, on_nodes, graph, some, f"--output={nodes}"],
        "nodes table": [PREDICT, rest, on_nodes, graph, some, known, f"--picture={files}/a.png"],
        "nodes json": [PREDICT, grpc, f"--adapted={nodes}", graph, unknown, as_json, f"--picture={files}/b.svg"],
        "nodes part": [PREDICT, rest, on_nodes, graph, some, known, as_json, "--neighbourhood=3"],
    }
    done = {}
    # gRPC does not survive a fork once it was used, and nothing before these was forked from a process that did.
    for name, finished in zip(calls, run_programs(list(calls.values())), strict=True):
        assert finished.code == 0, (name, finished.err)
        done[name] = finished.out
    return done


def test_adapting_tells_what_happened(answered, files):
    assert re.fullmatch(
        r"images version 1 adapted to 4 examples of <b>\[red\]x, bee: support loss [\d.]+ before, [\d.]+ after; "
        rf"written to {re.escape(str(files / 'task.npz'))}\n",
        answered["adapt"],
    )
    assert "nodes version 1 adapted to 4 examples" in answered["nodes adapt"]


def test_answers_are_those_of_the_library(answered, files, images):
    support, queries = (read_support(files / name) for name in ("support", "queries"))
    pixels, questions = (decoded(part.inputs, (16, 16, 1)) for part in (support, queries))
    expected = images.in_process.adapt(pixels, support.targets)
    document = json.loads(answered["json"])
    assert tuple(document["class_names"]) == expected.class_names == (HOSTILE, "bee")
    values = [row["values"] for row in document["queries"]]
    np.testing.assert_allclose(values, expected.predict(questions), rtol=1e-5, atol=1e-5)
    assert [row["class"] for row in document["queries"]] == expected.classify(questions)
    right = [row["name"].startswith(row["class"] + "/") for row in document["queries"]]
    assert document["accuracy"] == pytest.approx(np.mean(right))


def test_answers_on_nodes_are_those_of_the_library(answered, nodes):
    inputs = node_request()
    context = reference_context(nodes.model, inputs)
    expected = nodes.in_process.adapt(inputs["support_nodes"][0], [HOSTILE_NODE, "theory"] * 2, context=context)
    documents = [json.loads(answered[name]) for name in ("nodes json", "nodes part")]
    for document in documents:
        assert tuple(document["class_names"]) == expected.class_names
        values = [row["values"] for row in document["queries"]]
        np.testing.assert_allclose(values, expected.predict(inputs["query_nodes"][0]), rtol=1e-5, atol=1e-6)
        assert [row["name"] for row in document["queries"]] == [f"node {node}" for node in inputs["query_nodes"][0]]
    assert documents[0]["accuracy"] is None and documents[1]["accuracy"] is not None


def test_tables_show_names_as_they_are(answered):
    assert f"{HOSTILE}/0.png" in answered["table"] and "% of 6 right" in answered["table"]
    assert "one.png" in answered["one"] and "right" not in answered["one"]
    assert len(re.findall(r"example \d", answered["waves"])) == 4
    node = node_request()["query_nodes"][0, 0]
    assert "% of 5 right" in answered["nodes table"] and f"node {node}" in answered["nodes table"]


def test_the_contact_sheet_shows_images_and_obeys_no_name(answered, files):
    page = (files / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 4 + 6
    assert "<b>" not in page and html.escape(HOSTILE) in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert answered["html"] == ""


def test_pictures_are_pictures(answered, files):
    with Image.open(files / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.size == (1280, 960)
    # Vermillion or blue: a query or a support node; ink: an outline.
    assert (0xD5, 0x5E, 0x00) in colours and (0x00, 0x72, 0xB2) in colours and (0x1F, 0x23, 0x28) in colours
    xml.etree.ElementTree.parse(files / "b.svg")


_ADAPT, _NODES = [ADAPT, "--output=o"], [PREDICT, "{rest}", "--model=nodes", "--query={files}/queries.csv"]
_IMAGES, _SOME = "--support={files}/support", "--support={files}/support.csv"
_GRAPH = "--graph={files}/graph.npz"
MISTAKES = [
    ([PREDICT, "--query=x"], "use --adapted=TASK.npz or --support=DIR"),
    ([PREDICT, "--query=x", "--adapted=missing.npz"], "x must be a folder of images, an image"),
    ([*_ADAPT, "--model=m", "--support={files}/flat"], "must contain a folder for every class"),
    ([*_ADAPT, "--model=m", "--support={files}/waves.txt"], "must be a folder of images"),
    ([*_ADAPT, _IMAGES], "the name of the model must be passed"),
    ([*_ADAPT, "--model=m", "--address=here", _IMAGES], "address must be like"),
    ([*_ADAPT, "--model=nobody", "{rest}", _IMAGES], "Check the name"),
    ([*_ADAPT, "--model=m", "--timeout_seconds=0", _IMAGES], "timeout must be a positive"),
    ([*_NODES, _SOME], "pass the graph"),
    ([*_NODES, _SOME, "--picture={files}/a.png"], "--picture needs a graph"),
    ([*_NODES, _SOME, "--neighbourhood=1"], "--neighbourhood needs a graph"),
    ([*_NODES, "--support={files}/unknown.csv", _GRAPH], "must contain a support node and its label"),
    ([*_NODES, _SOME, _GRAPH, "--picture={files}/a.pdf"], "must end with .png or .svg"),
    ([*_NODES, _SOME, "--graph={files}/support.csv"], "is not a complete .npz file"),
]


def test_mistakes_are_one_line(files, server):
    rest = f"--address=http://127.0.0.1:{server.rest_port}"
    calls = [[word.format(files=files, rest=rest) for word in words] for words, _ in MISTAKES]
    for done, (_, message) in zip(run_programs(calls), MISTAKES, strict=True):
        assert done.code == 2
        assert len(done.messages) == 1 and message in done.messages[0], done.err
