"""How large the published graphs are: a file of another size is another graph."""

from __future__ import annotations

from typing import NamedTuple

from cml_tf.datasets.errors import DatasetError
from cml_tf.graphs import NodeGraph


class GraphSize(NamedTuple):
    """Numbers of nodes, of features, and of classes that have a node."""

    nodes: int
    features: int
    classes: int

    def check(self, graph: NodeGraph, place: str) -> NodeGraph:
        """Returns `graph`, or raises `DatasetError` if it has another size; `place` says where it was read."""
        present = len(set(graph.labels[graph.labels >= 0].tolist()))
        found = GraphSize(graph.nodes, int(graph.features.shape[1]), present)
        if found != self:
            raise DatasetError(
                f"{place} must have {self.nodes} nodes, {self.features} features and {self.classes} classes, found "
                f"{found.nodes}, {found.features} and {found.classes}; get the published files, or load a graph of "
                "your own as 'graph'."
            )
        return graph
