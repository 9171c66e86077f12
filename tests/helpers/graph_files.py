"""Graphs of any size in the layouts of published files."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

import numpy as np
import scipy.sparse

from cml_tf.datasets.graphs.nodes import GraphSize


def bags_of_words(size: GraphSize, seed: int = 0) -> scipy.sparse.csr_matrix:
    """A few words for each node; the last word is one of the last node's, so that the width is as said."""
    random = np.random.RandomState(seed)
    rows = np.repeat(np.arange(size.nodes), 3)
    columns = random.randint(0, size.features, 3 * size.nodes)
    rows, columns = np.append(rows, size.nodes - 1), np.append(columns, size.features - 1)
    matrix = scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (size.nodes, size.features))
    matrix.data[:] = 1
    return matrix


def ring(nodes: int) -> np.ndarray:
    """Every node has an edge to the next: `[nodes, 2]`."""
    return np.stack([np.arange(nodes), np.roll(np.arange(nodes), -1)], axis=1)


def write_npz_graph(path: Path, size: GraphSize, **members: np.ndarray) -> None:
    """In the layout of gnn-benchmark; labels count round; `members` are added or replaced, those of None left out."""
    edges, attributes = ring(size.nodes), bags_of_words(size)
    adjacency = scipy.sparse.csr_matrix((np.ones(size.nodes), (edges[:, 0], edges[:, 1])), (size.nodes, size.nodes))
    arrays = {"labels": np.arange(size.nodes) % size.classes}
    for name, matrix in (("adj", adjacency), ("attr", attributes)):
        for part in ("data", "indices", "indptr", "shape"):
            arrays[f"{name}_{part}"] = np.asarray(getattr(matrix, part))
    arrays.update(members)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def write_planetoid(folder: Path, name: str, size: GraphSize, left_out: int = 0) -> None:
    """In the layout of Planetoid, the last fifth of the nodes as test nodes, their order reversed.

    `left_out` of them, in the middle, are not listed: they have no features and no class.
    """
    first = size.nodes - size.nodes // 5
    listed = np.arange(first, size.nodes)
    middle = len(listed) // 2
    listed = np.delete(listed, np.arange(middle, middle + left_out))[::-1]
    features, one_hot = bags_of_words(size), np.eye(size.classes, dtype=np.int32)[np.arange(size.nodes) % size.classes]
    graph = collections.defaultdict(list)
    for left, right in ring(size.nodes).tolist():
        graph[left] += [right, right, left]
    contents = {
        "allx": features[:first],
        "ally": one_hot[:first],
        "tx": features[listed],
        "ty": one_hot[listed],
        "graph": graph,
    }
    for part, content in contents.items():
        (folder / f"ind.{name}.{part}").write_bytes(pickle.dumps(content, protocol=4))
    (folder / f"ind.{name}.test.index").write_text("\n".join(map(str, listed)) + "\n")
