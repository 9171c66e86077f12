"""The client's programs, from files to answers, tables, pages and pictures."""

import html
import json
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from export.client.examples import read_support
from export.client.inputs import decoded
from tests.export.served import CLOSE, inputs_of, node_request, reference_context
from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import run_programs

pytestmark = pytest.mark.slow

ADAPT, PREDICT, ADVISE = "export.client.adapt", "export.client.predict", "export.client.advise"
HOSTILE = "<b>[red]x"
HOSTILE_NODE = "_$\\frac{1}{0}$\x1b<b>"
_IMAGES, _QUERY = ["--model=images", "--support=@support"], "--query=@queries"
_NODES, _KNOWN = ["--model=nodes", "--support=@support.csv", "--graph=@graph.npz"], "--query=@queries.csv"
_JSON, _ADAPTED = "--output_format=json", "--adapted=@task.npz"
# Program, protocol and flags; @ stands for the folder of the files.
CALLS = {
    "adapt": [ADAPT, "grpc", *_IMAGES, "--output=@task.npz"],
    "table": [PREDICT, "http", _ADAPTED, _QUERY],
    "json": [PREDICT, "http", *_IMAGES, _QUERY, _JSON],
    "advise": [ADVISE, "http", *_IMAGES, _QUERY],
    "nodes advise": [ADVISE, "grpc", *_NODES],
    "one": [PREDICT, "http", _ADAPTED, "--query=@flat/one.png"],
    "html": [PREDICT, "grpc", *_IMAGES, _QUERY, "--output_format=html", "--output=@a.html"],
    "waves": [PREDICT, "grpc", "--model=waves", "--support=@waves.npz", "--query=@waves.npz"],
    "nodes adapt": [ADAPT, "grpc", *_NODES, "--output=@nodes.npz"],
    "nodes table": [PREDICT, "http", *_NODES, _KNOWN, "--picture=@a.png"],
    "nodes json": [
        PREDICT,
        "grpc",
        "--adapted=@nodes.npz",
        _NODES[2],
        "--query=@unknown.csv",
        _JSON,
        "--picture=@b.svg",
    ],
    "nodes part": [PREDICT, "http", *_NODES, _KNOWN, _JSON, "--neighbourhood=3"],
}
_MADE, _ASKED = [ADAPT, "http", "--output=o", "--model=m"], [PREDICT, "http", "--model=nodes", _KNOWN]
# And what the one line names.
MISTAKES = [
    ([PREDICT, "http", "--query=x"], "--adapted"),
    ([PREDICT, "http", "--query=x", "--adapted=missing.npz"], "x must be"),
    ([*_MADE, "--support=@flat"], "for every class"),
    ([*_MADE, "--timeout_seconds=0", "--support=@support"], "timeout"),
    ([ADAPT, "http", "--output=o", "--support=@support"], "name"),
    ([*_ASKED, "--support=@support.csv", "--picture=@a.png"], "--graph"),
    ([*_ASKED, "--support=@support.csv", "--neighbourhood=1"], "--neighbourhood"),
    ([*_ASKED, "--support=@unknown.csv", _NODES[2]], "label"),
    ([*_ASKED, *_NODES[1:], "--picture=@a.pdf"], ".svg"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory, waves):
    root = tmp_path_factory.mktemp("files")
    write_classes(root / "support", ["bee", HOSTILE], images=2)
    write_classes(root / "queries", ["bee", HOSTILE], images=3)
    (root / "flat").mkdir()
    (root / "flat" / "one.png").write_bytes((root / "queries" / "bee" / "0.png").read_bytes())
    np.savez(root / "waves.npz", **{name: array[0] for name, array in inputs_of(waves.model).items()})
    inputs = {name: array[0] for name, array in node_request().items()}
    np.savez(root / "graph.npz", features=inputs["node_features"], edges=inputs["edges"])
    support = zip(inputs["support_nodes"], [HOSTILE_NODE, "theory"] * 2, strict=True)
    (root / "support.csv").write_text("".join(f"{node},{label}\n" for node, label in support))
    (root / "queries.csv").write_text("".join(f"{node}, theory\n\n" for node in inputs["query_nodes"]))
    (root / "unknown.csv").write_text("".join(f"{node}\r\n" for node in inputs["query_nodes"]))
    return root


@pytest.fixture(scope="module")
def done(files, server):
    """Everything, in processes that share their imports."""
    calls = [
        [module, f"--address={server.addresses[scheme]}", *(flag.replace("@", f"{files}/") for flag in flags)]
        for module, scheme, *flags in (*CALLS.values(), *(call for call, _ in MISTAKES))
    ]
    return run_programs(calls)


@pytest.fixture(scope="module")
def answered(done):
    """What was printed by what works."""
    assert [(name, finished.err) for name, finished in zip(CALLS, done, strict=False) if finished.code] == []
    return {name: finished.out for name, finished in zip(CALLS, done, strict=False)}


def test_mistakes_are_one_line(done):
    for finished, (_, message) in zip(done[len(CALLS) :], MISTAKES, strict=True):
        assert finished.code == 2
        assert len(finished.messages) == 1 and message in finished.messages[0], finished.err


def test_tables_and_texts_show_what_happened_with_names_as_they_are(answered, files):
    told = f"images version 1 adapted to 4 examples of {HOSTILE}, bee: support loss "
    assert re.fullmatch(rf"{re.escape(told)}[\d.]+ before, [\d.]+ after.*task.npz\n", answered["adapt"])
    assert "nodes version 1 adapted to 4 examples" in answered["nodes adapt"]
    assert f"{HOSTILE}/0.png" in answered["table"] and "% of 6 right" in answered["table"]
    assert "one.png" in answered["one"] and "right" not in answered["one"]
    assert len(re.findall(r"example \d", answered["waves"])) == 4
    node = node_request()["query_nodes"][0, 0]
    assert "% of 5 right" in answered["nodes table"] and f"node {node}" in answered["nodes table"]


def test_answers_are_those_of_the_library(answered, files, images, nodes):
    support, queries = (read_support(files / name) for name in ("support", "queries"))
    pixels, questions = (decoded(part.inputs, (16, 16, 1)) for part in (support, queries))
    expected, document = images.in_process.adapt(pixels, support.targets), json.loads(answered["json"])
    assert tuple(document["class_names"]) == expected.class_names == (HOSTILE, "bee")
    np.testing.assert_allclose([row["values"] for row in document["queries"]], expected.predict(questions), **CLOSE)
    assert [row["class"] for row in document["queries"]] == expected.classify(questions)
    right = [row["name"].startswith(row["class"] + "/") for row in document["queries"]]
    assert document["accuracy"] == pytest.approx(np.mean(right))
    inputs = node_request()
    context, asked = reference_context(nodes.model, inputs), inputs["query_nodes"][0]
    expected = nodes.in_process.adapt(inputs["support_nodes"][0], [HOSTILE_NODE, "theory"] * 2, context=context)
    documents = [json.loads(answered[name]) for name in ("nodes json", "nodes part")]
    for document in documents:
        assert tuple(document["class_names"]) == expected.class_names
        np.testing.assert_allclose([row["values"] for row in document["queries"]], expected.predict(asked), **CLOSE)
        assert [row["name"] for row in document["queries"]] == [f"node {node}" for node in asked]
    assert documents[0]["accuracy"] is None and documents[1]["accuracy"] is not None


def test_advice_names_examples_classes_and_what_to_label_next(answered):
    advice = json.loads(answered["advise"].splitlines()[-1])
    assert [row["label"] for row in advice["examples"]] == [HOSTILE, HOSTILE, "bee", "bee"]
    assert advice["weakest_class"] in (HOSTILE, "bee") and 0 <= advice["accuracy"] <= 1
    assert sorted(advice["label_next"]) == sorted(read_queries_of(answered["json"]))
    assert HOSTILE in answered["advise"].splitlines()[-2] or "bee" in answered["advise"].splitlines()[-2]
    nodes_advice = json.loads(answered["nodes advise"].splitlines()[-1])
    assert {row["label"] for row in nodes_advice["examples"]} == {HOSTILE_NODE, "theory"}
    assert nodes_advice["label_next"] == [] and "\x1b" not in answered["nodes advise"]


def read_queries_of(answer):
    return [row["name"] for row in json.loads(answer)["queries"]]


def test_pages_and_pictures_show_what_they_should_and_obey_no_name(answered, files):
    page = (files / "a.html").read_text()
    assert answered["html"] == "" and page.count("data:image/png;base64,") == 4 + 6
    assert "<b>" not in page and html.escape(HOSTILE) in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    with Image.open(files / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.size == (1280, 960)
    # Vermillion or blue: a query or a support node; ink: an outline.
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x1F, 0x23, 0x28)} <= colours
    xml.etree.ElementTree.parse(files / "b.svg")
