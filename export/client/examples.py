"""Support and query examples from folders of images, image files and .npz files.

Of nodes of a graph, from .csv files: a node number a line, and in a second column its label where it is known.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_labels, file_text
from cml_tf.datasets.graphs.tables import Line, labels_of, read_lines
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_paths import SUFFIXES, class_folders, image_files, is_hidden
from cml_tf.errors import DatasetError
from export.client.errors import ClientError
from export.client.inputs import read_arrays

_SUPPORT = ("support_inputs", "support_labels", "support_targets")
_QUERY = ("query_inputs", "query_labels")
_TABLE = ".csv"
_EXPECTED = f"a folder of images, an image ({', '.join(SUFFIXES)}), an .npz of plain arrays or a .csv of nodes"


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """Examples as they were found.

    Attributes:
      inputs: the bytes of image files, or an array `[examples, ...]`; node numbers are one too.
      targets: class names or numbers, one an example; None where they are not known.
      names: how to call each example.
    """

    inputs: Any
    targets: Any
    names: tuple[str, ...]


def read_support(path: Path) -> ExampleSet:
    """Support examples: one folder of images a class, an .npz, or a .csv of nodes (see `node_tables`) with labels.

    An .npz holds `support_inputs`, and `support_labels` (names or whole numbers) or, for a regression,
    `support_targets`.

    Raises:
      ClientError: naming the file or folder that is missing, empty or unreadable.
    """
    if path.is_dir():
        return _class_folders(path)
    if path.suffix.lower() == _TABLE:
        nodes = _nodes(path)
        if nodes.targets is None:
            raise ClientError(f"every line of {path} must contain a support node and its label: node,label.")
        return nodes
    arrays = read_arrays(path, _SUPPORT, _EXPECTED)
    targets = arrays.get("support_labels", arrays.get("support_targets"))
    if "support_inputs" not in arrays or targets is None:
        raise ClientError(
            f"{path} must contain support_inputs and support_labels (regression: support_targets), found "
            f"{', '.join(arrays) or 'none of them'}."
        )
    return _from_arrays(path, arrays["support_inputs"], targets, "support_labels" in arrays)


def read_queries(path: Path) -> ExampleSet:
    """Queries: an image, a folder of images, one folder of images a class, an .npz with `query_inputs`, or a .csv.

    Answers are scored where the classes are known: by their folders, by `query_labels` in the .npz, or by the labels of
    nodes in the .csv.

    Raises:
      ClientError: naming the file or folder that is missing, empty or unreadable.
    """
    if path.is_dir():
        if any(entry.is_dir() and not is_hidden(entry.name) for entry in path.iterdir()):
            return _class_folders(path)
        return _flat_folder(path)
    if path.suffix.lower() in SUFFIXES:
        return ExampleSet([_image(path)], None, (file_text(path.name),))
    if path.suffix.lower() == _TABLE:
        return _nodes(path)
    arrays = read_arrays(path, _QUERY, _EXPECTED)
    if "query_inputs" not in arrays:
        raise ClientError(f"{path} must contain query_inputs.")
    return _from_arrays(path, arrays["query_inputs"], arrays.get("query_labels"), True)


def _nodes(path: Path) -> ExampleSet:
    nodes, labels = read_node_table(path)
    return ExampleSet(nodes, labels, tuple(f"node {node}" for node in nodes))


def _class_folders(path: Path) -> ExampleSet:
    try:
        folders = class_folders(path)
        files = {name: [Path(file) for file in image_files(folder)] for name, folder in folders.items()}
    except DatasetError as error:
        raise ClientError(str(error)) from error
    pairs = [(name, file) for name, members in files.items() for file in members]
    return ExampleSet(
        [_image(file) for _, file in pairs],
        [name for name, _ in pairs],
        tuple(f"{name}/{file_text(str(file.relative_to(folders[name])))}" for name, file in pairs),
    )


def _flat_folder(path: Path) -> ExampleSet:
    try:
        files = [Path(file) for file in image_files(path)]
    except DatasetError as error:
        raise ClientError(str(error)) from error
    names = tuple(file_text(str(file.relative_to(path))) for file in files)
    return ExampleSet([_image(file) for file in files], None, names)


def _image(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}.") from error
    if fault := image_fault(io.BytesIO(content)):
        raise ClientError(f"{path} cannot be used: {fault}.")
    return content


def _from_arrays(path: Path, inputs: np.ndarray, targets: np.ndarray | None, classes: bool) -> ExampleSet:
    if inputs.ndim == 0 or (targets is not None and (targets.ndim == 0 or len(targets) != len(inputs))):
        received = "no targets" if targets is None else f"targets {list(targets.shape)}"
        raise ClientError(
            f"{path} must contain inputs [examples, ...] and the same number of targets, received inputs "
            f"{list(inputs.shape)} and {received}."
        )
    try:
        plain = None if targets is None else class_labels(targets) if classes else targets.tolist()
    except ClassNameError as error:
        raise ClientError(f"{path}: {error}") from error
    return ExampleSet(inputs, plain, tuple(f"example {position}" for position in range(len(inputs))))


def read_node_table(path: Path) -> tuple[np.ndarray, list[int | str | None] | None]:
    """Node numbers, int64 `[examples]`, and a label for each: whole numbers if all of them are, else names.

    Labels are None where no line has one. Separators, quotes and missing labels are those of
    `cml_tf.datasets.graphs.tables`. A first line of words is a header.

    Raises:
      ClientError: naming the line that is malformed, or if some lines have a label and some have none.
    """
    try:
        lines = [line for line in read_lines(path) if any(line.cells)]
        if lines and _is_header(lines[0]):
            del lines[0]
        nodes = np.array([_node(path, line) for line in lines], np.int64)
        labels = labels_of(path, [(line.number, "".join(line.cells[1:])) for line in lines])
    except DatasetError as error:
        raise ClientError(str(error)) from error
    missing = [line.number for line, label in zip(lines, labels, strict=True) if label is None]
    if len(missing) == len(lines):
        return nodes, None
    if missing:
        raise ClientError(
            f"{path} must contain a label on every line or on none, found {len(lines) - len(missing)} of {len(lines)} "
            f"and none on line {missing[0]}."
        )
    return nodes, labels


def _is_header(line: Line) -> bool:
    # A number with a slip of the pen is none: words without a digit are.
    first = line.cells[0].lstrip("#% ")
    return len(line.cells) <= 2 and first.replace("_", "").replace(" ", "").isalpha()


def _node(path: Path, line: Line) -> int:
    whole = line.cells[0].removesuffix(".0")
    # Digits alone: int() would also take 1_000 and other scripts' digits.
    if len(line.cells) > 2 or not (whole.isascii() and whole.isdigit() and len(whole) < 12):
        raise ClientError(
            f"{path}, line {line.number}, must be a node number, optionally followed by its label, in one or two "
            f"columns, received {','.join(line.cells)[:60]!r}."
        )
    return int(whole)
