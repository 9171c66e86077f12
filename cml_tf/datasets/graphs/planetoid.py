"""Cora and CiteSeer: papers that cite each other, in the layout of the Planetoid repository.

A folder holds, for each set, `ind.NAME.allx`, `.ally`, `.tx`, `.ty`, `.graph` and `.test.index` (`.x` and `.y`, a part
of `.allx` and `.ally`, are not needed):

- `allx` and `tx`: features, CSR `[nodes, features]`, of the nodes from 0 on and of those that `test.index` lists;
- `ally` and `ty`: their classes, one-hot `[nodes, classes]`; a row of zeros is a node without a class;
- `graph`: for each node a list of others, some more than once, some the node itself;
- `test.index`: a node number a line.

CiteSeer lists fewer test nodes than there are numbers: the 15 that are left out have neither features nor a class, and
stay in the graph as unlabelled nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from cml_tf.datasets.base import DatasetError, digest
from cml_tf.datasets.graphs.nodes import GraphSize, NodeDataset
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.datasets.storage.downloads import download, file_checksum
from cml_tf.datasets.storage.pickles import load_pickle
from cml_tf.graphs import GraphError, NodeGraph, check_graph

SOURCE = "https://raw.githubusercontent.com/kimiyoung/planetoid/master/data"
SIZES = {"cora": GraphSize(2708, 1433, 7), "citeseer": GraphSize(3327, 3703, 6)}
CHECKSUMS = {
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
}
_PARTS = ("allx", "ally", "tx", "ty", "graph", "test.index")
# In CiteSeer some nodes have no features; they are few.
_MOST_NODES = 2
_LOG = logging.getLogger(__name__)


def load_cora(root: str = "", classes: Sequence[int] = (3, 2, 2), class_seed: int = 0, hops: int = 1) -> NodeDataset:
    """Cora: 2,708 papers, 1,433 words, 7 subjects; options of `NodeDataset.from_graph`, files as `load_citeseer`."""
    return NodeDataset.from_graph("cora", _graph("cora", root), classes=classes, class_seed=class_seed, hops=hops)


def load_citeseer(
    root: str = "", classes: Sequence[int] = (2, 2, 2), class_seed: int = 0, hops: int = 1
) -> NodeDataset:
    """CiteSeer: 3,327 papers, 3,703 words, 6 subjects; options of `NodeDataset.from_graph`.

    Args:
      root: folder with the files described above; empty: they are downloaded, once, into the cache folder.
      classes: see `NodeDataset.from_graph`.
      class_seed: see `NodeDataset.from_graph`.
      hops: see `NodeDataset.from_graph`.

    Raises:
      DatasetError: if the files are missing, damaged, or not those of the set, or cannot be downloaded.
    """
    graph = _graph("citeseer", root)
    return NodeDataset.from_graph("citeseer", graph, classes=classes, class_seed=class_seed, hops=hops)


def read_planetoid(folder: Path, name: str) -> NodeGraph:
    """Reads the graph `name` from a folder in the layout above.

    Raises:
      DatasetError: if a file is missing, damaged, or does not fit the others.
    """
    missing = [f"ind.{name}.{part}" for part in _PARTS if not (folder / f"ind.{name}.{part}").is_file()]
    if missing:
        raise DatasetError(f"{folder} must contain the Planetoid files of {name}, missing: {', '.join(missing)}.")
    paths = {part: folder / f"ind.{name}.{part}" for part in _PARTS}
    places = _test_nodes(paths["test.index"])
    features = [_matrix(paths[part]) for part in ("allx", "tx")]
    labels = [_labels(paths[part]) for part in ("ally", "ty")]
    known = features[0].shape[0]
    sizes = (known, features[1].shape[0], features[1].shape[1])
    if sizes != (len(labels[0]), len(places), features[0].shape[1]) or len(labels[1]) != len(places):
        raise DatasetError(
            f"{folder}: the files of {name} do not match each other: download all of them from the same source."
        )
    # A single absurd number must not become the size of the graph.
    if places.max() >= (most := _MOST_NODES * (known + len(places))):
        raise DatasetError(
            f"{paths['test.index']} must list nodes below {most}, {_MOST_NODES} times those with features, received "
            f"{places.max()}: download it again."
        )
    nodes = max(known, int(places.max()) + 1)
    rows = np.concatenate([np.arange(known), places])
    if len(np.unique(rows)) != len(rows):
        raise DatasetError(
            f"{paths['test.index']} must list each test node once, and none of the {known} nodes of allx."
        )
    stacked = scipy.sparse.vstack(features).tocoo()
    ordered = scipy.sparse.csr_matrix((stacked.data, (rows[stacked.row], stacked.col)), shape=(nodes, stacked.shape[1]))
    ordered_labels = np.full(nodes, -1, np.int64)
    ordered_labels[rows] = np.concatenate(labels)
    try:
        return check_graph(_edges(paths["graph"]), ordered, ordered_labels)
    except GraphError as error:
        raise DatasetError(f"{folder}, {name}: {error}") from error


def _graph(name: str, root: str) -> NodeGraph:
    files = [f"ind.{name}.{part}" for part in _PARTS]
    if root:
        folder = Path(root).expanduser()
    else:
        folder = cache_directory() / f"planetoid-{digest([CHECKSUMS[file] for file in files])[:20]}"
        for file in files:
            download(f"{SOURCE}/{file}", ("sha256", CHECKSUMS[file]), folder / file)
    graph = read_planetoid(folder, name)
    changed = [file for file in files if file_checksum(folder / file, "sha256") != CHECKSUMS[file]]
    if changed:
        _LOG.warning("%s: %s differ from the published files, so results may differ too.", folder, ", ".join(changed))
    return SIZES[name].check(graph, f"{folder}, {name}")


def _test_nodes(path: Path) -> np.ndarray:
    try:
        nodes = np.array([int(line) for line in path.read_text(encoding="utf-8-sig").split()], np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path} must contain one node number per line: {error}.") from error
    if not nodes.size or nodes.min() < 0:
        raise DatasetError(f"{path} must contain at least one node number, none of them negative: download it again.")
    return nodes


def _matrix(path: Path) -> scipy.sparse.csr_matrix:
    matrix = load_pickle(path)
    if not scipy.sparse.issparse(matrix):
        raise DatasetError(f"{path} must contain a CSR matrix, found {type(matrix).__name__}: download it again.")
    return matrix


def _labels(path: Path) -> np.ndarray:
    try:
        one_hot = _numbers(load_pickle(path))
    except TypeError as error:
        raise DatasetError(f"{path} must contain one-hot classes ({error}): download it again.") from error
    if one_hot.ndim != 2 or not one_hot.size or not np.isin(one_hot, (0, 1)).all() or (one_hot.sum(axis=1) > 1).any():
        raise DatasetError(f"{path} must contain one-hot classes [nodes, classes]: download it again.")
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)


def _edges(path: Path) -> np.ndarray:
    graph = load_pickle(path)
    try:
        # One list may stand for many nodes, and a list in a list for many numbers: few bytes, many pairs.
        if (count := sum(map(len, graph.values()))) > (size := path.stat().st_size):
            raise ValueError(f"{count} neighbours in {size} bytes")
        pairs = [(int(node), int(other)) for node, others in graph.items() for other in others]
        return np.array(pairs, np.int64).reshape(-1, 2)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"{path} must contain a dictionary of lists of node numbers ({error}): download it again."
        ) from error


def _numbers(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise TypeError(f"expected an array of numbers, found {getattr(value, 'dtype', type(value).__name__)}")
    return value
