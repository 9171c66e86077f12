"""Graphs as users have them, and the part of one that a request needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cml_tf.boundary.labels import as_whole
from export.client.errors import ClientError
from export.client.inputs import read_arrays
from export.client.interface import Interface

_MOST_NODES = 2**31 - 1


class Graph(NamedTuple):
    """A graph, or a part of one.

    Attributes:
      features: numbers `[nodes, features]`, an array or a SciPy sparse matrix.
      edges: node numbers in [0, nodes), integers `[edges, 2]`: one direction or both, repeated or not.
    """

    features: Any
    edges: np.ndarray


class Part(NamedTuple):
    """A part of a graph, whose nodes are numbered anew.

    Attributes:
      graph: the part.
      nodes: the number in the whole graph of each of its nodes, ascending, `[nodes]`.
    """

    graph: Graph
    nodes: np.ndarray

    def numbers(self, nodes: Any) -> np.ndarray:
        """Numbers in the part of nodes, given by their numbers in the whole graph, which must be among `nodes`."""
        return np.searchsorted(self.nodes, nodes)


def read_graph(path: Path) -> Graph:
    """Reads an .npz file with `features` and `edges`, as datasets of one's own graph have it.

    Raises:
      ClientError: if the file is none, lacks an array, or the arrays are no graph.
    """
    arrays = read_arrays(path, ("features", "edges"), "an .npz file with the arrays features and edges")
    if len(arrays) < 2:
        raise ClientError(f"{path} must contain features and edges, found {', '.join(arrays) or 'none of them'}.")
    return checked_graph(arrays["features"], arrays["edges"])


def checked_graph(features: Any, edges: Any) -> Graph:
    """A graph of which a server will not complain.

    Raises:
      ClientError: for other shapes, features that are not finite numbers, or edges to nodes that are not there.
    """
    sparse = hasattr(features, "tocsr")
    features = features.tocsr() if sparse else np.asarray(features)
    shape = list(features.shape)
    if features.dtype.kind not in "fiub" or len(shape) != 2 or not 1 <= shape[0] <= _MOST_NODES:
        raise ClientError(f"features must be numbers [nodes, features], received {features.dtype} {shape}.")
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    unusable = int((~np.isfinite(features.data if sparse else features)).sum())
    if unusable:
        raise ClientError(f"features must be finite, received {unusable} values that are not: replace or remove them.")
    edges = as_whole(np.asarray(edges))
    if not edges.size:
        edges = np.zeros((0, 2), np.int32)
    if edges.dtype.kind not in "iu" or edges.ndim != 2 or edges.shape[1] != 2:
        raise ClientError(f"edges must be whole numbers [edges, 2], received {edges.dtype} {list(edges.shape)}.")
    outside = ((edges < 0) | (edges >= shape[0])).any(axis=1)
    if outside.any():
        raise ClientError(
            f"edges must join nodes in [0, {shape[0]}), received {int(outside.sum())} that do not, the first "
            f"{edges[outside][0].tolist()}: number nodes from 0 and give features a row for each."
        )
    return Graph(features, edges.astype(np.int32))


def checked_nodes(nodes: Any, graph: Graph) -> np.ndarray:
    """Node numbers as int32 `[examples]`.

    Raises:
      ClientError: if they are no whole numbers, or not of nodes of the graph.
    """
    array = as_whole(np.asarray(nodes))
    if not array.size and array.ndim == 1:
        return np.zeros(0, np.int32)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ClientError(f"nodes must be whole numbers [examples], received {array.dtype} {list(array.shape)}.")
    count = graph.features.shape[0]
    outside = (array < 0) | (array >= count)
    if outside.any():
        raise ClientError(f"nodes must be in [0, {count}), the nodes of the graph, received {array[outside][0]}.")
    return array.astype(np.int32)


def as_graph(graph: Any, interface: Interface) -> Graph | None:
    """The graph for a request to a model, checked; None for models that take none.

    Args:
      graph: `(features, edges)` or None.
      interface: of the model.

    Raises:
      ClientError: if it lacks or is too much, or does not fit the model.
    """
    if interface.node_features is None:
        if graph is not None:
            raise ClientError("this model takes arrays and no graph: leave out the graph, or use another model.")
        return None
    if graph is None:
        raise ClientError("this model classifies nodes of a graph: pass the graph as (features, edges).")
    try:
        features, edges = graph
    except (TypeError, ValueError) as error:
        raise ClientError(f"a graph must be (features, edges), received {type(graph).__name__}.") from error
    checked = checked_graph(features, edges)
    if checked.features.shape[1] != interface.node_features:
        raise ClientError(
            f"features must have the shape [nodes, {interface.node_features}], as in training, received "
            f"{list(checked.features.shape)}."
        )
    return checked


def graph_inputs(graph: Graph | None) -> dict[str, np.ndarray]:
    """The inputs of a request that hold a checked graph, with task axis."""
    if graph is None:
        return {}
    features = graph.features.toarray() if hasattr(graph.features, "toarray") else graph.features
    # JSON cannot say that an array of nothing has two columns. A self-loop changes nothing: every node gets one.
    edges = graph.edges if len(graph.edges) else np.zeros((1, 2), np.int32)
    return {"node_features": features[None], "edges": edges[None]}


def around(graph: Graph, nodes: Any, distance: int) -> Part:
    """The part of a checked graph within some edges of some nodes.

    A learner that looks r edges far (graph convolutions: their number; SGC: its hops) answers for these nodes from the
    part of distance r + 1 as from the whole graph: the last edge is there for the degrees.

    Args:
      graph: from `checked_graph`.
      nodes: node numbers.
      distance: in edges, 0 for these nodes alone.

    Raises:
      ClientError: for nodes that the graph has not, or a negative distance.
    """
    if distance < 0:
        raise ClientError(f"the distance must be 0 or more edges, received {distance}.")
    kept = np.zeros(graph.features.shape[0], bool)
    kept[checked_nodes(nodes, graph)] = True
    for _ in range(distance):
        left, right = kept[graph.edges].T
        kept[graph.edges[left | right].ravel()] = True
    numbers = np.flatnonzero(kept)
    inside = graph.edges[kept[graph.edges].all(axis=1)]
    edges = np.searchsorted(numbers, inside).astype(np.int32).reshape(-1, 2)
    return Part(Graph(graph.features[numbers], edges), numbers)
