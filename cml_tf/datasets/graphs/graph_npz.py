"""Amazon-Computer and CoraFull: graphs in single npz files, in the layout of the gnn-benchmark repository.

The members that are read:

- `adj_data`, `adj_indices`, `adj_indptr`, `adj_shape`: adjacency, CSR `[nodes, nodes]`;
- `attr_data`, `attr_indices`, `attr_indptr`, `attr_shape`: features, CSR `[nodes, features]`;
- `labels`: integers `[nodes]`;
- `class_names`, if it is there as an array of strings.

Nothing is unpickled: names that are kept as Python objects are not read, and classes are then called by their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from cml_tf.boundary.labels import class_labels
from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.graphs.nodes import GraphSize, NodeDataset
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.datasets.storage.downloads import download
from cml_tf.datasets.storage.npz import DAMAGE, open_npz
from cml_tf.graphs import GraphError, NodeGraph, check_graph

SOURCE = "https://raw.githubusercontent.com/shchur/gnn-benchmark/1e72912a0810cdf27ae54fd589a3b43358a2b161/data/npz"
AMAZON_COMPUTER = "amazon_electronics_computers.npz"
CORA_FULL = "cora_full.npz"
# Of these two, what is known for certain is how git names their content at that commit.
GIT_BLOBS = {
    AMAZON_COMPUTER: "8120e4148a330b3fafe37c4476823302d9d834b9",
    CORA_FULL: "2478a176d63fe71090f4c21fe588bf5d381cad80",
}
SIZES = {AMAZON_COMPUTER: GraphSize(13752, 767, 10), CORA_FULL: GraphSize(19793, 8710, 70)}


def load_amazon_computer(
    root: str = "", classes: Sequence[int] = (4, 3, 3), class_seed: int = 0, hops: int = 1
) -> NodeDataset:
    """Amazon-Computer: 13,752 goods often bought together, 767 words of reviews, 10 categories.

    Args:
      root: folder with amazon_electronics_computers.npz; empty: it is downloaded, once, into the cache folder.
      classes: see `NodeDataset.from_graph`.
      class_seed: see `NodeDataset.from_graph`.
      hops: see `NodeDataset.from_graph`.

    Raises:
      DatasetError: if the file is missing, damaged, or not that of the set, or cannot be downloaded.
    """
    graph = _graph(AMAZON_COMPUTER, root)
    return NodeDataset.from_graph("amazon_computer", graph, classes=classes, class_seed=class_seed, hops=hops)


def load_cora_full(
    root: str = "", classes: Sequence[int] = (40, 15, 15), class_seed: int = 0, hops: int = 1
) -> NodeDataset:
    """CoraFull: 19,793 papers, 8,710 words, 70 subjects; cora_full.npz, otherwise as `load_amazon_computer`."""
    graph = _graph(CORA_FULL, root)
    return NodeDataset.from_graph("cora_full", graph, classes=classes, class_seed=class_seed, hops=hops)


def read_graph_npz(path: Path) -> NodeGraph:
    """Reads a graph from a file in the layout above.

    Raises:
      DatasetError: if the file is missing, damaged, lacks a member, or what it holds is no graph.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: check dataset.root.")
    try:
        with open_npz(path) as archive:
            adjacency, features = _matrix(archive, "adj"), _matrix(archive, "attr")
            labels, names = archive["labels"], _class_names(archive)
        return check_graph(adjacency, features, labels, names)
    except GraphError as error:
        raise DatasetError(f"{path}: {error}") from error
    except DatasetError:
        raise
    except DAMAGE as error:
        raise DatasetError(
            f"{path} must contain adj_*, attr_* and labels as plain arrays, but cannot be read "
            f"({type(error).__name__}: {error}): download it again."
        ) from error


def _graph(file: str, root: str) -> NodeGraph:
    if root:
        path = Path(root).expanduser() / file
    else:
        folder = cache_directory() / f"gnn-benchmark-{GIT_BLOBS[file][:20]}"
        path = download(f"{SOURCE}/{file}", ("git_blob", GIT_BLOBS[file]), folder / file)
    return SIZES[file].check(read_graph_npz(path), str(path))


def _matrix(archive: np.lib.npyio.NpzFile, name: str) -> scipy.sparse.csr_matrix:
    parts = tuple(archive[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    height, width = (int(size) for size in archive[f"{name}_shape"])
    matrix = scipy.sparse.csr_matrix(parts, shape=(height, width))
    # Indices that point outside of the matrix would be followed without a check.
    matrix.check_format(full_check=True)
    return matrix


def _class_names(archive: np.lib.npyio.NpzFile) -> list[str] | None:
    if "class_names" not in archive.files:
        return None
    try:
        names = archive["class_names"]
    except ValueError:
        # An array of Python objects, which only unpickling could read.
        return None
    return [str(name) for name in class_labels(names)] if names.ndim == 1 and names.dtype.kind in "US" else None
