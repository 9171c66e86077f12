"""Folders: what is in them besides pictures, and names."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cml_tf import datasets
from cml_tf.datasets.image_folder import folders_by_split
from cml_tf.datasets.image_paths import image_files
from cml_tf.datasets.omniglot.files import open_drawings
from tests.datasets.hostile.case import Case
from tests.helpers.drawn_images import encoded, pixels, write_tree

PICTURE = encoded(pixels(0))
_SPLITS = {"train": ["a", "b"], "validation": ["c", "d"], "test": ["e", "f"]}


def _class(arrange: Callable[[Path], Any], expected: Any) -> Case:
    """The pictures of one class, `cat`, which has two besides."""

    def run(root: Path) -> list[str]:
        write_tree(root, {"cat/0.png": PICTURE, "cat/1.png": PICTURE, "elsewhere/x.png": PICTURE})
        arrange(root / "cat")
        return [os.path.relpath(path, root / "cat") for path in image_files(root / "cat")]

    return Case(run, expected)


def _root(arrange: Callable[[Path], Any], expected: Any, splits: Any = _SPLITS) -> Case:
    """The classes of each split by a split file, which is text or JSON."""

    def run(root: Path) -> dict[str, list[str]]:
        write_tree(root, {f"{name}/0.png": PICTURE for name in "abcdef"})
        if splits is not None:
            text = splits if isinstance(splits, bytes) else json.dumps(splits).encode()
            (root / "splits.json").write_bytes(text)
        arrange(root)
        return {split: list(classes) for split, classes in folders_by_split(root).items()}

    return Case(run, expected)


def _splits(expected: Any, content: Any = None, **changes: Any) -> Case:
    return _root(lambda root: None, expected, {**_SPLITS, **changes} if content is None else content)


def _socket(path: Path) -> None:
    # The name of a socket must be short.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _deep(folder: Path) -> None:
    (folder / "/".join(["x"] * 150)).mkdir(parents=True)


def _one_image(root: Path) -> Any:
    for split, names in _SPLITS.items():
        write_tree(root / split, {f"{name}/0.png": encoded(pixels(ord(name))) for name in names})
    dataset = datasets.load("image_folder", str(root), image_size=(4, 4))
    return dataset.episodes("train", ways=2, shots=1, queries=1, seed=0)


def _latin(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(PICTURE)


def _drawings(files: dict[str, bytes], special: str = "") -> Callable[[Path], Any]:
    def run(root: Path) -> Any:
        write_tree(root, files)
        if special:
            (root / special).parent.mkdir(parents=True, exist_ok=True)
            os.mkfifo(root / special)
        return open_drawings(root)

    return run


def _has(*names: str) -> Callable[[list[str]], bool]:
    return lambda found: found == sorted(["0.png", "1.png", *names])


_AS_GIVEN = _SPLITS.__eq__
CASES = {
    "a pipe": _class(lambda f: os.mkfifo(f / "p.png"), "p.png must be a regular file, found a pipe"),
    "a socket": _class(lambda f: _socket(f / "s.png"), "found a socket"),
    "a link to zeros without end": _class(lambda f: (f / "z.png").symlink_to("/dev/zero"), "found a device"),
    "a link to nothing": _class(lambda f: (f / "n.jpg").symlink_to("/dev/null"), "found a device"),
    "a link to a terminal": _class(lambda f: (f / "t.gif").symlink_to("/dev/tty"), "found a device"),
    "a link to a pipe": _class(
        lambda f: (os.mkfifo(f / ".p"), (f / "p.png").symlink_to(".p")), "p.png must be .*found a pipe"
    ),
    "a pipe that is no picture": _class(lambda f: os.mkfifo(f / "pipe"), _has()),
    "a link out of the root": _class(lambda f: (f / "2.png").symlink_to("/bin/sh"), _has("2.png")),
    "a linked folder": _class(lambda f: (f / "l").symlink_to("../elsewhere"), _has("l/x.png")),
    "a link to a missing file": _class(lambda f: (f / "l.png").symlink_to("gone"), "link to a missing file"),
    "a link to itself": _class(lambda f: (f / "l.png").symlink_to("l.png"), "l.png is a link"),
    "links in a circle": _class(lambda f: (f / "l").symlink_to(".."), "a link to a folder that contains it"),
    "a folder called as a picture": _class(lambda f: write_tree(f, {"x.png/y.png": PICTURE}), _has("x.png/y.png")),
    "an empty folder called as a picture": _class(lambda f: (f / "x.png").mkdir(), _has()),
    "folders 150 deep": _class(_deep, "nested at most 100 deep"),
    "a name that is not UTF-8": _class(_latin, lambda found: len(found) == 3),
    "a name with a line end": _class(lambda f: (f / "a\nb.png").write_bytes(PICTURE), _has("a\nb.png")),
    "a name of 250 letters": _class(lambda f: write_tree(f, {f"{'x' * 246}.png": PICTURE}), _has("x" * 246 + ".png")),
    "capitals": _class(lambda f: (f / "X.PNG").write_bytes(PICTURE), _has("X.PNG")),
    "other suffixes": _class(lambda f: write_tree(f, {"a.webp": PICTURE, "b.exe": PICTURE, "c": PICTURE}), _has()),
    "hidden files": _class(lambda f: write_tree(f, {".a.png": PICTURE, "__MACOSX/b.png": PICTURE}), _has()),
    "no picture": _class(lambda f: [path.unlink() for path in f.iterdir()], "cat must contain images"),
    "one picture a class": Case(_one_image, "must be at most 1, the number of examples of the class 'a'"),
    "no root": Case(lambda root: datasets.load("image_folder", str(root / "x")), "must be a folder"),
    "a file as root": Case(
        lambda root: ((root / "x").write_bytes(b""), datasets.load("image_folder", str(root / "x"))), "must be a folder"
    ),
    "an empty root": Case(lambda root: datasets.load("image_folder", str(root)), "missing: train, validation, test"),
    "a split file that is a pipe": _root(
        lambda root: os.mkfifo(root / "splits.json"), "splits.json must be a regular file, found a pipe", None
    ),
    "a split file that is a folder": _root(
        lambda root: (root / "splits.json").mkdir(), "splits.json must be a regular file, found a folder", None
    ),
    "a class that is a file": _root(
        lambda root: (root / "g").write_bytes(b""), "without a folder .*g", {**_SPLITS, "test": ["e", "g"]}
    ),
    "one class in two spellings": _root(
        lambda root: [(root / name).mkdir() for name in ("\u00e9", "e\u0301")], "both have the name"
    ),
    "a class that is not UTF-8": _root(
        lambda root: write_tree(root, {os.fsdecode(b"caf\xe9/0.png"): PICTURE}),
        lambda found: found["test"] == ["caf\\xe9", "e"],
        {**_SPLITS, "test": ["e", "caf\\xe9"]},
    ),
    "a class called nan": _root(lambda root: (root / "nan").mkdir(), "must not be empty"),
    "split file: sound": _splits(_AS_GIVEN),
    "split file: byte order mark": _splits(_AS_GIVEN, b"\xef\xbb\xbf" + json.dumps(_SPLITS).encode()),
    "split file: empty": _splits("splits.json must contain", b""),
    "split file: no JSON": _splits("splits.json must contain", b"{'train': ['a']}"),
    "split file: not UTF-8": _splits("splits.json must contain", b'{"train": ["caf\xe9"]}'),
    "split file: brackets": _splits("too deeply nested", b"[" * 200_000),
    "split file: a list": _splits("found list", []),
    "split file: a number of 10,000 digits": _splits("splits.json must contain", b"9" * 10_000),
    "split file: no class": _splits("'train' is not a list", train=[]),
    "split file: numbers": _splits("'train' is not a list", train=[1, 2]),
    "split file: an object": _splits("'train' is not a list", train={"a": "b"}),
    "split file: half a character": _splits("must be Unicode text", train=["\ud800"]),
    "split file: NUL": _splits("contain NUL", train=["a\0"]),
    "split file: out of the root": _splits("without a folder", train=["../a", "b"]),
    "split file: absolute": _splits("without a folder", train=["/etc", "b"]),
    "split file: a home": _splits("without a folder", train=["~root", "b"]),
    "split file: twice": _splits("twice in 'train'", train=["a", "a"]),
    "split file: in two splits": _splits("disjoint by class", train=["a", "e"]),
    "drawings: a pipe": Case(_drawings({"A/b/1.png": PICTURE}, "A/b/2.png"), "found a pipe"),
    "drawings: none": Case(_drawings({"A/b/1.txt": b""}), "found no such file"),
    "drawings: too deep": Case(_drawings({"A/b/c/1.png": PICTURE}), "no other pictures"),
}
