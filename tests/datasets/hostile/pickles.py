"""Pickles in the place of a published graph: what they try must neither run nor fill the memory."""

from __future__ import annotations

import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.datasets.benchmarks.layouts import mini_imagenet_pictures
from cml_tf.datasets.graphs.nodes import GraphSize
from cml_tf.datasets.graphs.planetoid import read_planetoid
from cml_tf.datasets.storage.pickles import load_pickle
from tests.datasets.hostile.case import Case
from tests.helpers.graph_files import write_planetoid

MADE = "made by the pickle"


class Gadget:
    """Unpickled, it is `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _pickle(content: bytes, expected: Any) -> Case:
    def run(folder: Path) -> Any:
        (folder / "ind.cora.graph").write_bytes(content)
        here = Path.cwd()
        os.chdir(folder)
        try:
            return load_pickle(folder / "ind.cora.graph")
        finally:
            os.chdir(here)
            assert not (folder / MADE).exists()

    return Case(run, expected)


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _named(module: str, name: str) -> bytes:
    """Pushes what is called so, of protocol 4."""
    return _text(module) + _text(name) + b"\x93"


_START = b"\x80\x04"
# A dictionary whose key is a pair of one pair twice, sixty times over: to hash it takes 2^60 steps.
_PAIRS = _START + b"}N" + b"2\x86" * 60 + b"Ns."
_PAIRS_BY_NUMBER = _START + b"}N" + b"".join(b"q%ch%c\x86" % (place, place) for place in range(60)) + b"Ns."
_ARRAY = _named("numpy.core.multiarray", "_reconstruct")
_EMPTY = _ARRAY + _named("numpy", "ndarray") + b"K\0\x85C\x01b\x87R"
_FLOAT = _named("numpy", "dtype") + _text("f8") + b"\x89\x88\x87R"
_OBJECTS = _FLOAT.replace(b"f8", b"O8")


def _state(shape: bytes, kind: bytes = _FLOAT, content: bytes = b"C\x08" + bytes(8)) -> bytes:
    return _START + _EMPTY + b"(K\x01" + shape + kind + b"\x89" + content + b"tb."


def _graph(part: str, content: bytes, expected: Any) -> Case:
    """A folder of Planetoid files with one of our own."""

    def run(folder: Path) -> Any:
        write_planetoid(folder, "toy", GraphSize(50, 9, 4))
        (folder / f"ind.toy.{part}").write_bytes(content)
        return read_planetoid(folder, "toy")

    return Case(run, expected)


def _images(content: bytes, expected: Any) -> Case:
    """miniImageNet's file of one split."""

    def run(folder: Path) -> Any:
        (folder / "mini-imagenet-cache-train.pkl").write_bytes(content)
        return list(mini_imagenet_pictures(folder))

    return Case(run, expected)


def _nested(depth: int, begin: bytes = b"]\x94(", end: bytes = b"e0") -> bytes:
    """Pushes a list of ten lists of ten lists ..., each of them one list, kept under the numbers below `depth`."""
    parts = [b"K\0", *map(_get, range(depth - 1))]
    return b"".join(begin + part * 10 + end for part in parts) + _get(depth - 1)


def _get(place: int) -> bytes:
    return b"h" + bytes([place])


def _state_of(**parts: bytes) -> bytes:
    return b"}(" + b"".join(_text(name) + part for name, part in parts.items()) + b"u"


def _matrix(state: bytes) -> bytes:
    return _named("scipy.sparse.csr", "csr_matrix") + b")\x81" + state + b"b"


def _listed_by_all(count: int) -> bytes:
    """A dictionary whose keys are `count` numbers, each with the one list of `count` numbers."""
    entries = b"".join(b"J" + struct.pack("<i", key) + b"h\0" for key in range(count))
    return _START + b"]\x94(" + b"K\0" * count + b"e0}(" + entries + b"u."


_PAIR = b"](K\0K\x01e"
_NESTED = _matrix(
    _state_of(
        data=_matrix(_state_of(array=_nested(7))),
        indices=_matrix(_state_of(array=_PAIR)),
        indptr=_matrix(_state_of(array=_PAIR)),
        _shape=b"K\x01K\x01\x86",
    )
)
_HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85"
_PIXELS = np.zeros((1, 2, 2, 3), np.uint8)
_CALLS = {
    "os.system": Gadget(os.system, f"touch '{MADE}'"),
    "os.mkdir": Gadget(os.mkdir, MADE),
    "eval": Gadget(eval, f"open({MADE!r}, 'w')"),
    "exec": Gadget(exec, f"open({MADE!r}, 'w')"),
    "open": Gadget(open, MADE, "w"),
    "numpy.save": Gadget(np.save, f"{MADE}.npy", 1),
    "numpy.fromfile": Gadget(np.fromfile, "/dev/zero"),
    "getattr": Gadget(getattr, "a", "b"),
    "pathlib.Path": Path("/etc/passwd"),
    "an exception": ValueError("a"),
    "range": range(10),
    "a set": {1, 2} | set(),
}
# Twice a list of many, again and again.
_COPIES = _START + b"(" + b"K\0" * 2000 + b"l" + b"\x94" + _named("builtins", "list") + b"\x94"
_COPIES += b"".join(b"h\x01h\0\x85R" for _ in range(2000)) + b"."
_ENCODED = (
    _START + b"X" + struct.pack("<I", 1 << 16) + b"x" * (1 << 16) + b"\x94" + _named("_codecs", "encode") + b"\x94"
)
_ENCODED += b"]("
_ENCODED += b"".join(b"h\x01h\0" + _text("latin1") + b"\x86R" for _ in range(5000)) + b"e."
BOMBS = {
    "a place beyond any table": _pickle(_START + b"K\x01r\xff\xff\xff\x7f.", "is damaged .*out of order"),
    "a place beyond a small table": _pickle(b"K\x01p99999999\n.", "is damaged .*out of order"),
    "a key of pairs of one pair": _pickle(_PAIRS, "is damaged .*a tuple holds"),
    "a key of pairs of one pair by its number": _pickle(_PAIRS_BY_NUMBER, "is damaged .*a tuple holds"),
    "a list copied 2,000 times": _pickle(_COPIES, "is damaged"),
    "a text encoded 5,000 times": _pickle(_ENCODED, "is damaged .*once"),
    "an array of 2**40 numbers": _pickle(_state(_HUGE), "is damaged"),
    "an array of 2**40 objects": _pickle(_state(_HUGE, _OBJECTS, b"]"), "is damaged .*plain numbers"),
    "an array that begins with 2**40": _pickle(
        _START + _ARRAY + _named("numpy", "ndarray") + _HUGE + b"C\x01b\x87R.", "is damaged .*begin empty"
    ),
    "ndarray called": _pickle(_START + _named("numpy", "ndarray") + _HUGE + b"\x85R.", "is damaged"),
    "bytes of 2**40": _pickle(_START + b"\x8e" + struct.pack("<Q", 2**40) + b"x.", "is damaged"),
    "a matrix of lists in lists": _pickle(_START + _NESTED + b".", "is damaged .*expected an array"),
    "a graph with one list for all nodes": _graph("graph", _listed_by_all(4000), "16000000 neighbours in"),
    "a graph of tuples in tuples": _graph(
        "graph", _START + _nested(3, b"(", b"t\x940") + b"0}h\x02]h\x02as.", "dictionary of lists"
    ),
    "a test node of 999,999,999": _graph(
        "test.index", b"\n".join(b"%d" % node for node in [*range(40, 49), 999_999_999]), "nodes below 100"
    ),
    "images with one list for all classes": _images(
        pickle.dumps({"image_data": _PIXELS, "class_dict": dict.fromkeys(map(str, range(4000)), [0] * 4000)}, 4),
        "16000000 rows listed",
    ),
    "images without pixels": _images(
        pickle.dumps({"image_data": np.zeros((2**30, 0, 0, 3), np.uint8), "class_dict": {}}, 4), "0 rows listed"
    ),
    "a frame of 2**60": _pickle(_START + b"\x95" + struct.pack("<Q", 2**60) + b".", "is damaged"),
    "lists in lists": _pickle(_START + b"]" * 200_000 + b"a" * 199_999 + b".", lambda found: isinstance(found, list)),
}
CASES = {
    **{
        f"calls {name}": _pickle(pickle.dumps(value, 2), "is refused: it names .*not called")
        for name, value in _CALLS.items()
    },
    **{
        f"calls os.system in protocol {protocol}": _pickle(
            pickle.dumps({1: _CALLS["os.system"]}, protocol), "is refused"
        )
        for protocol in (0, 1, 3, 4, 5)
    },
    **BOMBS,
    "empty": _pickle(b"", "is damaged"),
    "text": _pickle(b"not a pickle\n", "is damaged"),
    "half": _pickle(pickle.dumps(np.arange(9.0), 4)[:60], "is damaged"),
    "protocol 9": _pickle(b"\x80\x09.", "is damaged"),
    "nothing on the stack": _pickle(_START + b".", "is damaged"),
    "an object kept elsewhere": _pickle(b"Pname\n.", "is damaged"),
    "an extension": _pickle(_START + b"\x82\x01.", "is damaged"),
    "an integer of 10,000 digits": _pickle(b"I" + b"9" * 10_000 + b"\n.", "is damaged"),
    "an attribute of a class": _pickle(_START + _named("numpy", "ndarray.__class__") + b".", "is refused"),
    "a module's module": _pickle(_START + _named("collections", "abc.sys") + b".", "is refused"),
    "an array of objects": _pickle(pickle.dumps(np.array([object], object), 4), "is refused|is damaged"),
    "an array with fields": _pickle(pickle.dumps(np.zeros(2, "i4,f4"), 4), "is damaged"),
    "an array of text": _pickle(pickle.dumps(np.array(["a"]), 4), "is damaged"),
    "an array of another size": _pickle(_state(b"K\x05\x85"), "is damaged"),
    "an array of a negative size": _pickle(_state(b"J\xff\xff\xff\xff\x85"), lambda found: found.shape == (1,)),
    "a state for a class of ours": _pickle(
        _START + _named("numpy", "dtype") + b"N}" + _text("__setstate__") + b"K\x01s\x86b.", "is damaged"
    ),
    "and the next file is read": _pickle(pickle.dumps(np.arange(3), 4), lambda found: found.tolist() == [0, 1, 2]),
    "a defaultdict of something": _pickle(
        pickle.dumps(collections.defaultdict(int), 4), "is refused: it names 'builtins.int'"
    ),
}
