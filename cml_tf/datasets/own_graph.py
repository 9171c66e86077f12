"""A graph of your own, with a class for its nodes.

Either one file,

    root/graph.npz    features [nodes, features]   numbers
                      edges    [edges, 2]          node numbers from 0 on
                      labels   [nodes]             integers, negative for "no label"; or names, "" for "no label"
                      class_names [classes]        names of the classes 0, 1, ... (optional, with integer labels only)

or three, comma-separated, in UTF-8, without header lines:

    root/edges.csv       two node numbers a line
    root/features.csv    the features of one node a line; or features.npy, an array [nodes, features]
    root/labels.csv      the label of one node a line: an integer, negative for "no label", or a name; empty: no label

Row n of the features and of the labels belongs to node n. If every label that is not empty is an integer, they are
integers, otherwise they are names. Edges may be given in one direction or in both: see `cml_tf.graphs.check_graph` for
this and for what becomes of repeated edges and self-loops. Nothing is unpickled.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.nodes import NodeDataset
from cml_tf.graphs import GraphError, NodeGraph, check_graph

_DAMAGE = (OSError, ValueError, EOFError, KeyError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error)


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
        raise DatasetError("graph needs a root: the folder with your graph; set dataset.root.")
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
        raise DatasetError(f"the root of a graph must be a folder, {folder} is none; check dataset.root.")
    whole = folder / "graph.npz"
    features, edges, labels, names = _read_npz(whole) if whole.is_file() else _read_tables(folder)
    try:
        if labels.dtype.kind == "U":
            if names is not None:
                raise GraphError("class_names go with integer labels; the labels are names already, leave it out.")
            labels, names = _numbered(labels)
        return check_graph(edges, features, labels, names)
    except GraphError as error:
        raise DatasetError(f"{folder}: {error}") from error


def _read_npz(path: Path) -> tuple[Any, Any, np.ndarray, Sequence[str] | None]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("features", "edges", "labels") if name not in archive.files]
            if missing:
                raise DatasetError(
                    f"{path} must hold features, edges and labels; missing: {', '.join(missing)}, found: "
                    f"{', '.join(archive.files) or 'nothing'}."
                )
            names = [str(name) for name in archive["class_names"]] if "class_names" in archive.files else None
            return archive["features"], archive["edges"], archive["labels"], names
    except DatasetError:
        raise
    except _DAMAGE as error:
        raise DatasetError(
            f"{path} must be an npz file of plain arrays, and cannot be read so ({type(error).__name__}: {error})."
        ) from error


def _read_tables(folder: Path) -> tuple[Any, Any, np.ndarray, None]:
    table, array = folder / "features.csv", folder / "features.npy"
    missing = [name for name in ("edges.csv", "labels.csv") if not (folder / name).is_file()]
    if not (table.is_file() or array.is_file()):
        missing.append("features.csv or features.npy")
    if missing:
        raise DatasetError(
            f"{folder} must hold graph.npz, or edges.csv, features.csv (or features.npy) and labels.csv; missing: "
            f"{', '.join(missing)}."
        )
    if table.is_file() and array.is_file():
        raise DatasetError(f"{folder} must hold features.csv or features.npy, found both; remove one.")
    features = _read_array(array) if array.is_file() else _read_numbers(table, np.float64, "numbers")
    edges = _read_numbers(folder / "edges.csv", np.int64, "two node numbers")
    return features, edges, _read_labels(folder / "labels.csv"), None


def _read_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise DatasetError(f"{path} must be an array of numbers, and cannot be read so: {error}.") from error


def _read_numbers(path: Path, dtype: type, expected: str) -> np.ndarray:
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        # NumPy warns of a table without a line, which is a graph without an edge.
        return np.loadtxt(lines, dtype, delimiter=",", ndmin=2, comments=None) if lines else np.zeros((0, 2), dtype)
    except (OSError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} must hold {expected} a line, comma-separated, without a header line; {error}"
        ) from error


def _read_labels(path: Path) -> np.ndarray:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path} must hold one label a line, and cannot be read: {error}.") from error
    wide = next((number for number, row in enumerate(rows) if len(row) > 1), None)
    if wide is not None:
        raise DatasetError(f"{path} must hold one label a line, line {wide + 1} has {len(rows[wide])} columns.")
    labels = [row[0].strip() if row else "" for row in rows]
    try:
        return np.array([int(label) if label else -1 for label in labels], np.int64)
    except (ValueError, OverflowError):
        return np.array(labels, np.str_)


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    names = np.unique(labels[labels != ""])
    return np.where(labels != "", np.searchsorted(names, labels), -1), names.tolist()
