"""A graph of your own, with a class for its nodes.

Either one file,

    root/graph.npz    features [nodes, features]   numbers
                      edges    [edges, 2]          node numbers from 0 on
                      labels   [nodes]             integers, negative or NaN for "no label"; or names, text or bytes, ""
                                                   for "no label"
                      class_names [classes]        names of the classes 0, 1, ... (optional, with integer labels only)

or three, in the forms of `cml_tf.datasets.graphs.tables`, with or without a line of column names:

    root/edges.csv       two node numbers a line
    root/features.csv    the features of one node a line; or features.npy, an array [nodes, features]
    root/labels.csv      the label of one node a line: an integer, negative for "no label", or a name; empty: no label

Row n of the features and of the labels belongs to node n. If every label that is not missing is a whole number (0.0 is
one), they are integers, otherwise they are names. Edges may be given in one direction or in both: see
`cml_tf.graphs.check_graph` for this and for what becomes of repeated edges and self-loops. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_labels
from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.graphs.nodes import NodeDataset
from cml_tf.datasets.graphs.tables import label_header, labels_of, read_lines, read_numbers, refuse
from cml_tf.datasets.storage.npz import DAMAGE, open_npz
from cml_tf.graphs import UNLABELLED, GraphError, NodeGraph, check_graph


def load_own_graph(
    root: str = "",
    classes: Sequence[int] | None = None,
    class_seed: int = 0,
    hops: int = 1,
    normalise_features: bool = True,
) -> NodeDataset:
    """A dataset from a graph of your own.

    Args:
      root: the folder described above.
      classes: see `NodeDataset.from_graph`.
      class_seed: see `NodeDataset.from_graph`.
      hops: see `NodeDataset.from_graph`.
      normalise_features: whether the features of each node are divided by the sum of their absolute values: right for
        counts and bags of words, False for features that have a scale.

    Raises:
      DatasetError: naming the file that is missing or malformed, and what was expected in it.
    """
    if not root:
        raise DatasetError("the dataset graph needs the folder of your graph: set dataset.root.")
    return NodeDataset.from_graph(
        "graph",
        read_own_graph(Path(root).expanduser()),
        classes=classes,
        class_seed=class_seed,
        hops=hops,
        normalise_features=normalise_features,
    )


def read_own_graph(folder: Path) -> NodeGraph:
    """Reads a graph from a folder in the format above.

    Raises:
      DatasetError: naming the file that is missing or malformed, and what was expected in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"the root of a graph must be a folder, received {folder}: check dataset.root.")
    whole = folder / "graph.npz"
    features, edges, labels, names = _read_npz(whole) if whole.is_file() else _read_tables(folder)
    try:
        if labels.dtype.kind == "U":
            if names is not None:
                raise GraphError(
                    "class_names can only be combined with integer labels, but the labels are names already: leave "
                    "out class_names."
                )
            labels, names = _numbered(labels)
        return check_graph(edges, features, labels, names)
    except GraphError as error:
        what = str(error).split()[0]
        place = folder / f"{what}.csv" if what in ("labels", "edges") and not whole.is_file() else folder
        raise DatasetError(f"{place}: {error}") from error


def _read_npz(path: Path) -> tuple[Any, Any, np.ndarray, Sequence[str] | None]:
    try:
        with open_npz(path) as archive:
            missing = [name for name in ("features", "edges", "labels") if name not in archive.files]
            if missing:
                raise DatasetError(
                    f"{path} must contain features, edges and labels; missing: {', '.join(missing)}, found: "
                    f"{', '.join(archive.files) or 'nothing'}."
                )
            names = None
            if "class_names" in archive.files:
                names = [str(name) for name in class_labels(archive["class_names"])]
            return archive["features"], archive["edges"], _spelled(path, archive["labels"]), names
    except DatasetError:
        raise
    except ClassNameError as error:
        raise DatasetError(f"{path}, class_names: {error}") from error
    except DAMAGE as error:
        raise DatasetError(
            f"{path} must be an npz file of plain arrays, but cannot be read ({type(error).__name__}: {error})."
        ) from error


def _spelled(path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind not in "SU" or labels.ndim != 1:
        return labels
    texts = [text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text for text in labels.tolist()]
    return _as_array(labels_of(path, [(f"label {node} (from 0)", text.strip()) for node, text in enumerate(texts)]))


def _as_array(labels: list[int | str | None]) -> np.ndarray:
    if any(isinstance(label, str) for label in labels):
        return np.array([label or "" for label in labels], np.str_)
    return np.array([UNLABELLED if label is None else label for label in labels], np.int64)


def _read_tables(folder: Path) -> tuple[Any, Any, np.ndarray, None]:
    table, array = folder / "features.csv", folder / "features.npy"
    missing = [name for name in ("edges.csv", "labels.csv") if not (folder / name).is_file()]
    if not (table.is_file() or array.is_file()):
        missing.append("features.csv or features.npy")
    if missing:
        raise DatasetError(
            f"{folder} must contain graph.npz, or edges.csv, features.csv (or features.npy) and labels.csv; missing: "
            f"{', '.join(missing)}."
        )
    if table.is_file() and array.is_file():
        raise DatasetError(f"{folder} must contain features.csv or features.npy, found both: remove one of them.")
    features = _read_array(array) if array.is_file() else read_numbers(table, "numbers", row_names=True)[0]
    if not len(features):
        raise DatasetError(f"{table} must contain the features of one node per line, found no line.")
    edges = _read_edges(folder / "edges.csv", len(features))
    return features, edges, _read_labels(folder / "labels.csv", len(features)), None


def _read_array(path: Path) -> np.ndarray:
    try:
        return np.atleast_1d(np.load(path, allow_pickle=False))
    except DAMAGE as error:
        raise DatasetError(f"{path} must be an array of numbers, but cannot be read: {error}.") from error


def _read_edges(path: Path, nodes: int) -> np.ndarray:
    values, lines = read_numbers(path, "two node numbers")
    if not len(values):
        return np.zeros((0, 2), np.int64)
    if values.shape[1] != 2:
        refuse(path, lines[0], f"must contain two node numbers and no weight, found {values.shape[1]} cells.")
    unfit = ((values != np.floor(values)) | (values < 0) | (values >= nodes)).any(axis=1)
    if unfit.any():
        row = int(unfit.argmax())
        received = ", ".join(f"{value:.15g}" for value in values[row])
        refuse(
            path, lines[row], f"must contain two node numbers in [0, {nodes}), numbered from 0, received {received}."
        )
    return values.astype(np.int64)


def _read_labels(path: Path, nodes: int) -> np.ndarray:
    lines = list(read_lines(path, ","))
    for line in lines:
        # A quoted name may hold what would separate columns otherwise.
        if len(line.cells) > 1 or (line.cells and not line.quoted and set(line.cells[0]) & {";", "\t"}):
            refuse(
                path,
                line.number,
                "must contain one label and no other columns, found a separator: put names that contain separators "
                "in quotes.",
            )
    if label_header(lines):
        del lines[0]
    while len(lines) > nodes and not lines[-1].cells:
        del lines[-1]
    if len(lines) != nodes:
        last = lines[-1].number if lines else 0
        raise DatasetError(
            f"{path} must contain one label for each of the {nodes} rows of the features (empty: no label), found "
            f"{len(lines)} up to line {last}: remove surplus lines, such as a header or title."
        )
    return _as_array(labels_of(path, [(line.number, "".join(line.cells)) for line in lines]))


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    names = np.unique(labels[labels != ""])
    return np.where(labels != "", np.searchsorted(names, labels), -1), names.tolist()
