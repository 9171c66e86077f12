"""Support and query examples from folders of images, image files, .npz files and, for nodes of a graph, .csv files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.class_names import ClassNameError, class_labels, file_text
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_folder import SUFFIXES, class_folders, image_files, is_hidden
from export.client.array_files import read_arrays
from export.client.errors import ClientError
from export.client.node_tables import read_node_table

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
            raise ClientError(f"{path} must hold the label of every support node behind its number: node,label.")
        return nodes
    arrays = read_arrays(path, _SUPPORT, _EXPECTED)
    targets = arrays.get("support_labels", arrays.get("support_targets"))
    if "support_inputs" not in arrays or targets is None:
        raise ClientError(
            f"{path} must hold support_inputs and support_labels (regression: support_targets), found "
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
        raise ClientError(f"{path} must hold query_inputs.")
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
            f"{path} must hold inputs [examples, ...] and as many targets, received inputs {list(inputs.shape)} and "
            f"{received}."
        )
    try:
        plain = None if targets is None else class_labels(targets) if classes else targets.tolist()
    except ClassNameError as error:
        raise ClientError(f"{path}: {error}") from error
    return ExampleSet(inputs, plain, tuple(f"example {position}" for position in range(len(inputs))))
