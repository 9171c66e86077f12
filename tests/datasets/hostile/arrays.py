"""Graphs in .npz files and tables: damaged, lying about their size, and of other kinds."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.datasets.graphs.graph_npz import read_graph_npz
from cml_tf.datasets.graphs.nodes import GraphSize
from cml_tf.datasets.graphs.own_graph import read_own_graph
from tests.datasets.hostile.case import Case
from tests.helpers.graph_files import bags_of_words, write_npz_graph

_NODES = 6
_SMALL = GraphSize(12, 5, 3)
_SOUND = {"features": np.eye(_NODES), "edges": np.array([[0, 1], [2, 3]]), "labels": np.arange(_NODES) % 3}
_TABLES = {"features": "1,0\n0,1\n1,1\n", "edges": "0,1\n1,2\n", "labels": "a\nb\na\n"}


def _bytes(**members: Any) -> bytes:
    buffer = io.BytesIO()
    arrays = {name: array for name, array in {**_SOUND, **members}.items() if array is not None}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _file(content: bytes | Callable[[], bytes], expected: Any) -> Case:
    def run(folder: Path) -> Any:
        (folder / "graph.npz").write_bytes(content() if callable(content) else content)
        return read_own_graph(folder)

    return Case(run, expected)


def _npz(expected: Any, **members: Any) -> Case:
    return _file(lambda: _bytes(**members), expected)


def _published(expected: Any, **members: Any) -> Case:
    def run(folder: Path) -> Any:
        write_npz_graph(folder / "it.npz", _SMALL, **members)
        return read_graph_npz(folder / "it.npz")

    return Case(run, expected)


def _table(name: str, text: str | bytes, expected: Any) -> Case:
    def run(folder: Path) -> Any:
        for own, content in {**_TABLES, name: text}.items():
            (folder / f"{own}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_own_graph(folder)

    return Case(run, expected)


def _member(header: str, version: bytes = b"\x01\0", data: bytes = b"") -> bytes:
    """A file whose features have any header."""
    text = header.encode() + b"\n"
    own = b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data
    buffer = io.BytesIO(_bytes(features=None))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("features.npy", own)
    return buffer.getvalue()


def _without_header(name: str) -> bytes:
    """A file with a member that is no array at all."""
    buffer = io.BytesIO(_bytes(**{name: None}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, b"1\n2\n")
    return buffer.getvalue()


def _published_names(folder: Path) -> Any:
    write_npz_graph(folder / "it.npz", _SMALL)
    with zipfile.ZipFile(folder / "it.npz", "a") as archive:
        archive.writestr("class_names", b"a\n")
    return read_graph_npz(folder / "it.npz")


def _claiming(size: int) -> bytes:
    raw = bytearray(_bytes())
    place = raw.index(b"PK\x01\x02")
    # NumPy writes the sizes of ZIP64 too, where the plain ones are full.
    raw[place + 24 : place + 28] = struct.pack("<I", size)
    return bytes(raw)


def _shape(shape: str) -> str:
    return f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"


def _pipe(folder: Path) -> Any:
    for name, content in _TABLES.items():
        (folder / f"{name}.csv").write_text(content)
    os.remove(folder / "edges.csv")
    os.mkfifo(folder / "edges.csv")
    return read_own_graph(folder)


_ENCRYPTED = bytearray(_bytes())
_ENCRYPTED[_ENCRYPTED.index(b"PK\x01\x02") + 8] |= 1
_PLAIN, _READ = "plain arrays", lambda graph: graph.nodes in (3, _NODES)
BOMBS = {
    "npz: claims four gigabytes": _file(lambda: _claiming(2**32 - 2), "must unpack to at most 4,294,967,296 bytes"),
    "npz: 2**40 numbers by its header": _file(lambda: _member(_shape("(1099511627776,)")), _PLAIN),
    "npz: 2**80 numbers by its header": _file(lambda: _member(_shape(f"({2**80},)")), _PLAIN),
    "npz: a shape of 2,000 sides": _file(lambda: _member(_shape(str((1,) * 2000))), _PLAIN),
}
CASES = {
    **BOMBS,
    "npz: sound": _npz(_READ),
    "npz: empty": _file(b"", _PLAIN),
    "npz: text": _file(b"features", _PLAIN),
    "npz: half": _file(lambda: _bytes()[:600], _PLAIN),
    "npz: an array": _file(lambda: b"\x93NUMPY" + bytes(100), _PLAIN),
    "npz: a pickle": _file(pickle.dumps(_SOUND["edges"]), _PLAIN),
    "npz: encrypted": _file(bytes(_ENCRYPTED), _PLAIN),
    "npz: flipped bits": _file(lambda: _bytes().replace(bytes(40), b"\x01" * 40, 1), _PLAIN),
    "npz: a header that is a program": _file(lambda: _member("__import__('os').mkdir('x')"), _PLAIN),
    "npz: a header of brackets": _file(lambda: _member("(" * 9000), _PLAIN),
    "npz: a header of another version": _file(lambda: _member(_shape("(6,)"), b"\x09\0"), _PLAIN),
    "npz: a negative shape": _file(lambda: _member(_shape("(-6,)"), data=bytes(48)), _PLAIN),
    "npz: too few numbers": _file(lambda: _member(_shape("(6, 6)"), data=bytes(8)), _PLAIN),
    "npz: labels that are no array": _file(lambda: _without_header("labels"), _PLAIN),
    "npz: objects": _npz(_PLAIN, features=np.array([[object()]])),
    "npz: objects among the labels": _npz(_PLAIN, labels=np.array(["a", None, 1] * 2, object)),
    "npz: no features": _npz("missing: features", features=None),
    "npz: nothing": _file(lambda: _bytes(features=None, edges=None, labels=None), "found: nothing"),
    "npz: complex features": _npz("features must be numbers", features=np.eye(_NODES) * 1j),
    "npz: text as features": _npz("features must be numbers", features=np.full((_NODES, 2), "a")),
    "npz: fields": _npz("features must be numbers", features=np.zeros((_NODES, 2), "i4,f4")),
    "npz: dates": _npz("features must be numbers", features=np.zeros((_NODES, 2), "M8[s]")),
    "npz: NaN": _npz(
        "features must be finite, received 1", features=np.where(np.eye(_NODES)[::-1] * [0, 0, 0, 0, 0, 1], np.nan, 1)
    ),
    "npz: infinite": _npz("features must be finite", features=np.full((_NODES, 2), np.inf)),
    "npz: beyond float32": _npz("features must be finite", features=np.full((_NODES, 2), 1e300)),
    "npz: one axis": _npz("features must be numbers", features=np.zeros(_NODES)),
    "npz: no nodes": _npz("features must be numbers", features=np.zeros((0, 3))),
    "npz: big-endian": _npz(_READ, features=np.eye(_NODES).astype(">f8")),
    "npz: in Fortran's order": _npz(_READ, features=np.asfortranarray(np.eye(_NODES))),
    "npz: an edge out of the graph": _npz("edges must join nodes", edges=np.array([[0, 6]])),
    "npz: a negative node": _npz("edges must join nodes", edges=np.array([[0, -1]])),
    "npz: half a node": _npz("edges must be integers", edges=np.array([[0, 0.5]])),
    "npz: a huge node": _npz("edges", edges=np.array([[0, 2**63]], np.uint64)),
    "npz: three nodes an edge": _npz("edges must be integers", edges=np.zeros((2, 3), int)),
    "npz: too few labels": _npz("labels must be integers", labels=np.zeros(2, int)),
    "npz: no label": _npz("all 6 are negative", labels=np.full(_NODES, -1)),
    "npz: huge labels": _npz(_READ, labels=np.full(_NODES, 2**62)),
    "npz: a name out of the file": _file(
        lambda: _bytes().replace(b"features.npy", b"/../etc/.npy"), "missing: features"
    ),
    "published: indices outside": _published(
        "cannot be read", attr_indices=np.full(len(bags_of_words(_SMALL).data), 99)
    ),
    "published: negative indices": _published("cannot be read", adj_indices=np.full(12, -1)),
    "published: pointers that go back": _published("cannot be read", adj_indptr=np.arange(12, -1, -1)),
    "published: pointers beyond": _published("cannot be read", adj_indptr=np.arange(13) * 1000),
    "published: a shape of NaN": _published("cannot be read", adj_shape=np.array([np.nan, 12])),
    "published: a negative shape": _published("cannot be read", attr_shape=np.array([-1, 5])),
    "published: not square": _published("must be|cannot be read", adj_shape=np.array([12, 13])),
    "published: NaN": _published("finite", attr_data=np.full(len(bags_of_words(_SMALL).data), np.nan)),
    "published: names that are no array": Case(_published_names, "cannot be read"),
    "published: objects": _published("cannot be read", labels=np.array([object()] * 12)),
    "table: NUL": _table("edges", "0,1\n\0,2\n", "line 2: .*NUL"),
    "table: Latin-1": _table("labels", b"caf\xe9\nb\na\n", "line 1: must be UTF-8"),
    "table: UTF-16": _table("labels", "a\nb\na\n".encode("utf-16"), _READ),
    "table: half of UTF-16": _table("labels", b"\xff\xfea", "must be UTF-8|each of the 3"),
    "table: open quotes": _table("labels", 'a\n"b\na\n', "quotes"),
    "table: a cell of a megabyte": _table("features", "1" * 200_000 + "\n", "line 1"),
    "table: a number of 5,000 digits": _table("features", f"{'9' * 5000}\n1\n1\n", "line 1: .*finite"),
    "table: a label of 5,000 digits": _table("labels", f"{'9' * 5000}\n1\n1\n", "line 1: .*whole number"),
    "table: digits and a letter": _table("labels", f"{'9' * 100_000}x\nb\na\n", _READ),
    "table: digits of another script": _table("edges", "\u0660,\u0661\n", "line 1"),
    "table: underscores": _table("edges", "0,1_0\n", "line 1"),
    "table: infinite": _table("features", "inf\n1\n1\n", "line 1"),
    "table: an edge out of the graph": _table("edges", "0,9\n", r"\[0, 3\)"),
    "table: a huge exponent": _table("edges", "0,1e308\n", r"\[0, 3\)"),
    "table: columns that differ": _table("features", "1,0\n1\n1,1\n", "line 2"),
    "table: a formula": _table("labels", "=cmd|' /C calc'!A0\nb\na\n", _READ),
    "table: empty": _table("features", "", "found no line"),
    "table: a pipe": Case(_pipe, "missing: edges.csv"),
}
