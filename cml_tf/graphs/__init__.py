"""Graphs whose nodes are classified: checked, and prepared once for all the episodes that share one."""

from cml_tf.graphs.context import GraphContext, graph_context
from cml_tf.graphs.edge_lists import context_from_edges, edges_in_range
from cml_tf.graphs.graph import UNLABELLED, GraphError, NodeGraph, check_graph
from cml_tf.graphs.sparse_rows import SparseRows, dense_rows, take_rows

__all__ = [
    "UNLABELLED",
    "GraphContext",
    "GraphError",
    "NodeGraph",
    "SparseRows",
    "check_graph",
    "context_from_edges",
    "dense_rows",
    "edges_in_range",
    "graph_context",
    "take_rows",
]
