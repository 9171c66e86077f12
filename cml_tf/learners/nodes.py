"""The learners of few-shot node classification (paper, 4.3 and A.2)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf

from cml_tf.graphs import GraphContext, SparseRows
from cml_tf.learners.layers.graph import GraphConvolutions, PropagatedFeatures
from cml_tf.learners.layers.heads import Prototypes
from cml_tf.learners.layers.initialisation import linear
from cml_tf.learners.learner import Learner

HEADS = ("linear", "prototypes")


def gcn(
    outputs: int,
    features: int,
    hidden: Sequence[int] = (16, 16),
    head: str = "linear",
    matching: bool = False,
    initialisation: str = "glorot_uniform",
) -> Learner:
    """Graph convolutions and a head: MAML's learner on nodes; G-Meta's with prototypes, AMM-GNN's with matching.

    Inputs are node numbers `[examples]`, the context is `graph_context(graph, hops=1)`. The features of a node depend
    on its neighbourhood of as many edges as there are layers, and only that is worked on: the local subgraphs of
    G-Meta, with the degrees of the whole graph.

    Example:
      >>> gcn(outputs=2, features=7).extractor.hops
      1

    Args:
      outputs: width of the head (the ways of a classification).
      features: how many features a node has.
      hidden: widths of the graph convolutions.
      head: one of `HEADS`: a linear layer, or distances to the prototypes of the support set.
      matching: whether attributes are matched first (AMM-GNN).
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).

    Raises:
      ValueError: for an unknown head or initialisation, or prototypes with `zero_head`: they have no weights.
    """
    extractor = GraphConvolutions(features, hidden, matching, initialisation, name="extractor")
    return _learner(extractor, outputs, features, head, initialisation)


def sgc(
    outputs: int,
    features: int,
    hidden: int = 16,
    hops: int = 2,
    head: str = "linear",
    matching: bool = False,
    initialisation: str = "glorot_uniform",
) -> Learner:
    """A linear layer on features propagated once, and a head: Meta-GNN's learner (Zhou et al. 2019, arXiv 1905.09718).

    Inputs are node numbers `[examples]`, the context is `graph_context(graph, hops)`.

    Example:
      >>> sgc(outputs=2, features=7, hops=3).extractor.hops
      3

    Args:
      outputs: width of the head.
      features: how many features a node has.
      hidden: width of the linear layer.
      hops: how far features are propagated.
      head: as of `gcn`, like `matching`.
      matching: likewise.
      initialisation: likewise.
    """
    extractor = PropagatedFeatures(features, hidden, hops, matching, initialisation, name="extractor")
    return _learner(extractor, outputs, features, head, initialisation)


def _learner(extractor: keras.Layer, outputs: int, features: int, head: str, initialisation: str) -> Learner:
    if head not in HEADS:
        raise ValueError(f"the head of a node learner must be one of {', '.join(HEADS)}, received {head!r}.")
    if head == "prototypes" and initialisation == "zero_head":
        raise ValueError(
            "the initialisation of a learner with prototypes must not be zero_head, since they have no weights."
        )
    linear_head = head == "linear"
    layer = linear(outputs, initialisation, last=True, name="head") if linear_head else Prototypes(outputs, name="head")
    return Learner(extractor, layer, example_inputs=tf.zeros([2], tf.int32), context=example_graph(features))


def example_graph(features: int) -> GraphContext:
    """The context of the smallest graph: two nodes, no edges, no features but zeros."""
    return GraphContext(
        SparseRows.from_scipy(scipy.sparse.identity(2, np.float32, "csr")),
        SparseRows.from_scipy(scipy.sparse.csr_matrix((2, features), dtype=np.float32)),
    )
