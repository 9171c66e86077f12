"""The flags of both programs of the client for models on nodes of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from export.client.errors import ClientError
from export.client.examples import ExampleSet
from export.client.graphs import Graph, around, checked_nodes, read_graph

_GRAPH = flags.DEFINE_string(
    "graph", None, ".npz with features and edges, for models on nodes; examples are then .csv."
)
_NEIGHBOURHOOD = flags.DEFINE_integer(
    "neighbourhood",
    None,
    "Send only the part of the graph within this number of edges from the nodes; the whole graph by default.",
    0,
)


def graph_of_flags() -> Graph | None:
    """The graph that --graph names.

    Raises:
      ClientError: if it cannot be read, or --neighbourhood is given without it.
    """
    if _GRAPH.value is not None:
        return read_graph(Path(_GRAPH.value))
    if _NEIGHBOURHOOD.value is not None:
        raise ClientError("--neighbourhood needs a graph: pass --graph=FILE.npz.")
    return None


def sent(graph: Graph | None, *examples: ExampleSet) -> tuple[Graph | None, list[Any]]:
    """What of the graph is sent, and the inputs of the examples, which are nodes numbered as in it.

    Without a graph, the inputs as they are.
    """
    if graph is None:
        return None, [example.inputs for example in examples]
    nodes = [checked_nodes(example.inputs, graph) for example in examples]
    if _NEIGHBOURHOOD.value is None:
        return graph, list(nodes)
    part = around(graph, np.concatenate(nodes), _NEIGHBOURHOOD.value)
    return part.graph, [part.numbers(numbers) for numbers in nodes]
