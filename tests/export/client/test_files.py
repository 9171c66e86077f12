"""Files of users and of strangers: adapted tasks, examples, tables of nodes, graphs, and pictures of them."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest

from export.client import Adapted, Answer, ClientError
from export.client.answers import Confidence, among
from export.client.contact_sheet import contact_sheet
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_picture import write_graph_picture
from export.client.graphs import Graph, read_graph
from export.client.inputs import as_targets
from export.client.interface import Interface
from export.client.printed import accuracy, as_json, as_table, drawn
from tests.helpers.drawn_images import encoded, pixels

HOSTILE = "_$\\frac{1}{0}$\x1b]0;x\x07<b>"
ADAPTED = Adapted("letters", 3, ("ა", "ბ"), np.array([1.0, 2.0], np.float32), 12345)
NUMBERS = {"adapted_state": np.ones(2, np.float32), "model_fingerprint": 5}
TASK = {"format": 1, "model": "letters", "version": 3, "class_names": ["a", "b"], "classification": True, **NUMBERS}
GRAPH = {"features": np.ones((3, 2)), "edges": np.zeros((1, 2), int)}


def test_what_was_saved_is_loaded_with_names_in_one_spelling(tmp_path):
    for names, spelt in ((("ა", "ბ"), ("ა", "ბ")), (("cafe\u0301", "dog "), ("caf\u00e9", "dog")), (None, None)):
        dataclasses.replace(ADAPTED, class_names=names).save(tmp_path / "a.npz")
        loaded = Adapted.load(tmp_path / "a.npz")
        assert (loaded.model, loaded.version, loaded.class_names, loaded.fingerprint) == ("letters", 3, spelt, 12345)
        np.testing.assert_array_equal(loaded.state, ADAPTED.state)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    for names in (("a\0", "b"), ("a ", "a"), ("", "a"), ("cafe\u0301", "caf\u00e9")):
        with pytest.raises(ClientError, match="class names must not"):
            dataclasses.replace(ADAPTED, class_names=names)


def _arrays(part, inputs, labels):
    return {f"{part}_inputs": inputs, f"{part}_labels": labels}


@pytest.mark.parametrize("read", [Adapted.load, read_support, read_queries])
def test_a_file_that_is_missing_is_said_to_be(read, tmp_path):
    with pytest.raises(ClientError, match="gone.npz must be .*: it does not exist"):
        read(tmp_path / "gone.npz")


# Who reads, the arrays in the file, and what the refusal names.
ARRAYS = [
    *((Adapted.load, {**TASK, key: value}, "format 1") for key, value in (("format", 2), ("model", 7))),
    *((Adapted.load, {**TASK, "adapted_state": state}, "format 1") for state in (np.ones((1, 2), "f4"), ["a"])),
    (Adapted.load, {**TASK, "adapted_state": np.array([{}], object)}, "adapt wrote"),
    (Adapted.load, {key: value for key, value in TASK.items() if key != "version"}, "adapt wrote"),
    *(
        (Adapted.load, {**TASK, key: value}, "adapt again")
        for key, value in (("model_fingerprint", 2**40), ("version", -3))
    ),
    (Adapted.load, {**TASK, "class_names": np.array([], str)}, "adapt again"),
    *(
        (read, _arrays(part, inputs, labels), message)
        for part, read in (("support", read_support), ("query", read_queries))
        for inputs, labels, message in (
            (np.float32(1), np.arange(3), r"\[\] .*\[3\]"),
            (np.ones((3, 1)), np.int32(1), r"\[3, 1\] .*\[\]"),
            (np.ones((3, 1)), np.arange(2), r"\[2\]"),
        )
    ),
    (read_graph, {"features": np.ones((3, 2))}, "found features"),
    (read_graph, {**GRAPH, "edges": np.array([[0, 3]])}, r"\[0, 3\)"),
    (read_graph, {**GRAPH, "edges": np.array([[0.5, 2.0]])}, "whole numbers"),
    (read_graph, {**GRAPH, "features": np.array([{}], object)}, "allow_pickle"),
]


@pytest.mark.parametrize(("read", "arrays", "message"), ARRAYS)
def test_other_contents_are_refused(tmp_path, read, arrays, message):
    np.savez(tmp_path / "task.npz", **arrays)
    with pytest.raises(ClientError, match=message):
        read(tmp_path / "task.npz")


def test_other_files_are_refused_and_never_offered_for_unpickling(tmp_path):
    ADAPTED.save(tmp_path / "task.npz")
    np.save(tmp_path / "array.npy", np.arange(3))
    whole = (tmp_path / "task.npz").read_bytes()
    contents = {"cut.npz": whole[: len(whole) // 2], "pickle.npz": b"\x80\x04.", "text.npz": b"hello", "empty.npz": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for read in (Adapted.load, read_support, read_queries, read_graph):
        for name in (*contents, "array.npy", "missing.npz"):
            with pytest.raises(ClientError, match=name) as caught:
                read(tmp_path / name)
            assert "pickle" not in str(caught.value).replace(name, "")


def test_bytes_changed_at_random_are_read_or_refused(tmp_path):
    path, generator, refused = tmp_path / "task.npz", np.random.default_rng(0), 0
    dataclasses.replace(ADAPTED, state=np.arange(300, dtype=np.float32)).save(path)
    whole = path.read_bytes()
    for _ in range(400):
        content = bytearray(whole)
        for position in generator.integers(0, len(content), 3):
            content[position] = generator.integers(256)
        path.write_bytes(content)
        for read in (Adapted.load, read_support):
            try:
                read(path)
            except ClientError:
                refused += 1
    assert refused > 400


def test_images_that_would_look_otherwise_are_refused_wherever_they_lie(tmp_path):
    path = tmp_path / "classes" / "cat" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(np.zeros((4, 4, 4), np.uint8)))
    for read, place in ((read_support, "classes"), (read_queries, "classes/cat"), (read_queries, "classes/cat/0.png")):
        with pytest.raises(ClientError, match=f"{path} .*transparent"):
            read(tmp_path / place)


def test_names_in_bytes_are_names_and_whole_numbers_are_sorted_by_value(tmp_path):
    np.savez(tmp_path / "queries.npz", **_arrays("query", np.ones((2, 1)), np.array([b"a", b"b"])))
    assert accuracy(Answer(np.eye(2, dtype="f4"), ("a", "b")), read_queries(tmp_path / "queries.npz")) == 1.0
    ways = Interface(1, (1,), 20, True, False, {})
    labels, names = as_targets(np.array([b"dog", b"cat"]), ways, 2)
    assert (labels.tolist(), names) == ([[1, 0]], ("cat", "dog"))
    labels, names = as_targets(list(range(12)), ways, 12)
    assert labels.tolist() == [list(range(12))] and names == tuple(map(str, range(12)))
    for targets in (np.array([[0], [1]]), np.array([0.5, 1.0]), [0, None]):
        with pytest.raises(ClientError, match="names or whole numbers"):
            as_targets(targets, ways, 2)
    # Probabilities of unused ways are shared out.
    rows = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], np.float32)
    for used, expected in ((2, [[0.4, 0.6], [0.5, 0.5]]), (3, rows)):
        np.testing.assert_allclose(among(rows, used), expected, rtol=1e-6)


def test_how_sure_an_answer_is_stands_in_table_json_and_page():
    sure = Confidence(
        # Of the first query another class is the most probable one than before calibration.
        np.float32([[0.25, 0.75], [0.375, 0.625]]),
        np.array([[False, True], [True, True]]),
        np.array([True, False]),
        np.ones(2),
    )
    answer, queries = Answer(np.eye(2, dtype="f4"), ("a", "b"), sure), ExampleSet([b""] * 2, None, ("one", "two"))
    rows = json.loads(as_json(answer, queries))["queries"]
    assert rows[0] == {
        **{"name": "one", "values": [1.0, 0.0], "class": "b", "calibrated": [0.25, 0.75], "prediction_set": ["b"]},
        **{"is_known": True, "known_score": 1.0},
    }
    assert rows[1]["prediction_set"] == ["a", "b"] and rows[1]["is_known"] is False
    assert accuracy(answer, dataclasses.replace(queries, targets=["b", "b"])) == 1
    page, table = contact_sheet(answer, queries), as_table(answer, queries)
    for shown, told in (
        (table, "none of these (nearest: b)"),
        (table, "0.750"),
        (page, "75.0%"),
        (page, "none of these"),
    ):
        assert shown.count(told) == 1, told
    assert "Prediction set: a, b" in page
    # A model that does not say whether a query is known.
    silent = dataclasses.replace(sure, known=None, scores=None)
    answer = dataclasses.replace(answer, confidence=silent)
    assert "is_known" not in as_json(answer, queries) and "none of these" not in contact_sheet(answer, queries)


def test_names_cannot_command_the_terminal(tmp_path):
    answer, queries = Answer(np.eye(2, dtype="f4"), (HOSTILE, "b")), ExampleSet([b""] * 2, ["b"] * 2, ("\x1b[2J", "ბ"))
    table = as_table(answer, queries)
    assert not {"\x1b", "\x07"} & set(table) and "ბ" in table
    # Names of files that are no text are shown.
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(encoded(pixels(0)))
    queries = read_queries(tmp_path)
    assert queries.names == ("\\xff.png",)
    as_json(Answer(np.ones((1, 1), np.float32), None), queries).encode()


def test_long_names_stand_whole_in_tables(monkeypatch):
    names = tuple("x" * 150 + ending for ending in ("1.png", "2.png"))
    answer, queries = Answer(np.eye(2, dtype="f4"), ("a" * 90, "ბ")), ExampleSet([b""] * 2, None, names)
    # In files and pipes in one line, whatever the terminal that the program was started in.
    monkeypatch.setenv("COLUMNS", "60")
    for encoding in ("utf-8", "ascii", None):
        table = as_table(answer, queries, encoding)
        assert all(name in table for name in (*names, "a" * 90)) and "…" not in table
    assert "\\u10d1" in as_table(answer, queries, "ascii").encode("ascii").decode()
    # On a terminal in as many lines as they need.
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = as_table(answer, queries).splitlines()
    assert {len(line) for line in lines} == {60} and not {"…", "\x1b"} & set("".join(lines))
    cells = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert cells == "".join(names)


def test_tables_of_any_encoding_take_any_text():
    shown = drawn(("name",), [("[red]ბ…\x1b",)], title="title", encoding="ascii")
    assert shown.isascii() and "[red]\\u10d1\\u2026\\ufffd" in shown


# A table of nodes 7 and 8, and its labels, or what the refusal names.
TABLES = {
    "node,label\n7,caf\u00e9\n8,b\n": ["caf\u00e9", "b"],
    '\ufeff"Knoten";"Klasse"\r\n"7";"cafe\u0301"\r\n"8";"b"\r\n': ["caf\u00e9", "b"],
    "# node\tlabel\n7\tcaf\u00e9\n\n8\tb\n": ["caf\u00e9", "b"],
    "7.0 caf\u00e9 \n8   b\n": ["caf\u00e9", "b"],
    **dict.fromkeys(("7,10\n8,9\n", "7,10.0\n8,+9e0\n"), [10, 9]),
    **{f"7,{nothing}\n8,{nothing}\n": None for nothing in ("", "nan", "-1.0")},
    **dict.fromkeys(("node1,label\n1,a\n", "1.5,a\n", "1_0,a\n"), "line 1"),
    **dict.fromkeys(("1,a\n2,0;5\n3,'b\n4,b'c'\n",), "line 4"),
    **dict.fromkeys(("1,a\n\n5,NA\n", "1,a\n\n2,b,c\n"), "line 3"),
    "1,0.5\n": "line 1.* name",
    **dict.fromkeys(("1,a\n-2,b\n", "1,a\n\udcff"), "line 2"),
    "1,a\n2\n": "1 of 2 .*line 2",
}


@pytest.mark.parametrize(("text", "expected"), TABLES.items())
def test_tables_of_nodes(tmp_path, text, expected):
    path = tmp_path / "nodes.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (read_support, read_queries):
        if isinstance(expected, str):
            with pytest.raises(ClientError, match=expected):
                read(path)
        elif expected or read is read_queries:
            assert (read(path).inputs.tolist(), read(path).targets) == ([7, 8], expected)


def test_a_picture_is_the_same_every_time_and_what_cannot_be_drawn_is_refused(tmp_path):
    np.savez(
        tmp_path / "graph.npz", features=np.ones((400, 1)), edges=np.stack([np.arange(399.0), np.arange(1.0, 400)], 1)
    )
    graph = read_graph(tmp_path / "graph.npz")
    assert isinstance(graph, Graph) and graph.edges[0].tolist() == [0, 1], "floats that are whole numbers"

    def draw(name, queries, support=(), names=("a", "b"), columns=(1, 0), sure=None):
        sets = [ExampleSet(np.array(given), ["c"] * len(given), tuple(map(str, given))) for given in (queries, support)]
        answer = Answer(np.tile(np.float32(columns), (len(queries), 1)), names, sure)
        write_graph_picture(tmp_path / name, graph, answer, *sets[: 1 + bool(support)])

    for name in ("a.svg", "b.svg"):
        draw(name, [10, 20], names=(HOSTILE, "c"))
    first, second = ((tmp_path / name).read_text() for name in ("a.svg", "b.svg"))
    # Two edges in either direction of both.
    assert first == second and first.count('id="line2d_') >= 8
    # Colours follow the calibrated probabilities.
    draw("a.svg", [10], columns=(0, 1))
    draw("b.svg", [10], sure=Confidence(np.float32([[0, 1]]), np.ones((1, 2), bool)))
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text() != second
    for given, message in ((([*range(301)],), "300 .*301"), (([0], [1]), "received c"), (([],), "one query")):
        with pytest.raises(ClientError, match=message):
            draw("c.png", *given)
    assert not (tmp_path / "c.png").exists()
