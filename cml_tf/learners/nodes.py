"""The learners of few-shot node classification (paper, 4.3 and A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf

from cml_tf.graphs import GraphContext, SparseRows
from cml_tf.learners.layers.graph import GraphConvolutions, PropagatedFeatures
from cml_tf.learners.layers.heads import Prototypes
from cml_tf.learners.layers.initialisation import INITIALISATIONS, linear
from cml_tf.learners.learner import Learner
from cml_tf.learners.mlp import mlp_co_learner
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.learners.normalisation.options import normalisation_faults, normalised_steps
from cml_tf.registry import Given, Settings, option, register, setting, variant

HEADS = ("linear", "prototypes")


def gcn(
    outputs: int | None,
    features: int,
    hidden: Sequence[int] = (16, 16),
    head: str = "linear",
    attribute_matching: bool = False,
    initialisation: str = "glorot_uniform",
    normalisation: str = "none",
    steps: int = 1,
    groups: int = 8,
) -> Learner:
    """Graph convolutions and a head: MAML's learner on nodes; G-Meta's with prototypes, AMM-GNN's with matching.

    Inputs are node numbers `[examples]`, the context is `graph_context(graph, hops=1)`. The features of a node depend
    on its neighbourhood of as many edges as there are layers, and only that is worked on: the local subgraphs of
    G-Meta, with the degrees of the whole graph.

    Example:
      >>> gcn(outputs=2, features=7).extractor.hops
      1

    Args:
      outputs: width of the head (the ways of a classification); None for a learner without one, for rules that bring
        their own.
      features: how many features a node has.
      hidden: widths of the graph convolutions.
      head: one of `HEADS`: a linear layer, or distances to the prototypes of the support set.
      attribute_matching: whether attributes are matched first (AMM-GNN).
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
      normalisation: mode of `Normalisation`, which stands before each ReLU; not `tasknorm`, since nodes have no pixels.
      steps: inner steps with a scale and shift of their own, in the mode `per_step`.
      groups: of channels, in the mode `group`; a divisor of all widths but the last.

    Raises:
      ValueError: for an unknown head, initialisation or normalisation, or prototypes with `zero_head`: they have no
        weights.
    """
    own: dict[str, Any] = {"normalisation": normalisation, "steps": steps, "groups": groups}
    extractor = GraphConvolutions(features, hidden, attribute_matching, initialisation, **own, name="extractor")
    return _learner(extractor, outputs, features, head, initialisation)


def sgc(
    outputs: int | None,
    features: int,
    hidden: int = 16,
    hops: int = 2,
    head: str = "linear",
    attribute_matching: bool = False,
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
      head: as of `gcn`, like `attribute_matching`.
      attribute_matching: likewise.
      initialisation: likewise.
    """
    extractor = PropagatedFeatures(features, hidden, hops, attribute_matching, initialisation, name="extractor")
    return _learner(extractor, outputs, features, head, initialisation)


def _learner(extractor: keras.Layer, outputs: int | None, features: int, head: str, initialisation: str) -> Learner:
    if head not in HEADS:
        raise ValueError(f"the head of a node learner must be one of {', '.join(HEADS)}, received {head!r}.")
    if head == "prototypes" and initialisation == "zero_head":
        raise ValueError(
            "initialisation must not be zero_head with prototypes, which have no weights: choose another one."
        )
    if outputs is None:
        layer: keras.Layer = keras.layers.Identity(name="head")
    elif head == "linear":
        layer = linear(outputs, initialisation, last=True, name="head")
    else:
        layer = Prototypes(outputs, name="head")
    return Learner(extractor, layer, example_inputs=tf.zeros([2], tf.int32), context=example_graph(features))


def example_graph(features: int) -> GraphContext:
    """The context of the smallest graph: two nodes, no edges, no features but zeros."""
    return GraphContext(
        SparseRows.from_scipy(scipy.sparse.identity(2, np.float32, "csr")),
        SparseRows.from_scipy(scipy.sparse.csr_matrix((2, features), dtype=np.float32)),
    )


def node_features(learner: Learner) -> int | None:
    """How many features a node has, of learners on a graph; None for others."""
    features = getattr(learner.extractor, "features", None)
    return features if isinstance(learner.context, GraphContext) and isinstance(features, int) else None


@dataclass(frozen=True)
class NodeOptions:
    """Options that learners of nodes have in common."""

    head: str = option("linear", "linear layer, or distances to the prototypes of the support set", choices=HEADS)
    attribute_matching: bool = option(False, "match attributes first (AMM-GNN)")
    initialisation: str = option("glorot_uniform", "initialisation of kernels and biases", choices=INITIALISATIONS)


@dataclass(frozen=True)
class GcnOptions(NodeOptions):
    """Options of `gcn`."""

    hidden: tuple[int, ...] = option((16, 16), "widths of the graph convolutions", least=1)
    normalisation: str = option(
        "none", "source of the statistics for normalisation, before each ReLU", choices=tuple(MODES)
    )
    groups: int = option(8, "groups of channels, with the normalisation 'group'", least=1)


@dataclass(frozen=True)
class SgcOptions(NodeOptions):
    """Options of `sgc`."""

    hidden: int = option(16, "width of the linear layer", least=1)
    hops: int = option(2, "number of edges over which features are propagated", least=0)


def _faults(settings: Settings) -> list[str]:
    faults = []
    if settings["learner.head"] == "prototypes":
        without = "with learner.head 'prototypes', which has no weights"
        if settings["learner.initialisation"] == "zero_head":
            faults.append(f"learner.initialisation must not be 'zero_head' {without}.")
        if (partition := settings.get("adaptation.partition", "all")) != "all":
            faults.append(f"adaptation.partition must be 'all' {without} to adapt, received {partition!r}.")
    if settings.get("train.jit_compile"):
        faults.append("train.jit_compile must be False for learners that read nodes, since XLA has no sparse products.")
    return faults


def _gcn_faults(settings: Settings) -> list[str]:
    faults = [*_faults(settings), *normalisation_faults(settings, settings["learner.hidden"][:-1], pixels=False)]
    keeps = settings["learner.head"] == "prototypes" or settings["learner.attribute_matching"]
    if keeps and MODES[settings["learner.normalisation"]].counts_steps:
        faults.append(
            "learner.normalisation must not be 'per_step' with prototypes or attribute_matching, which need a pass "
            "over the support set that is no step: use 'support'."
        )
    return faults


def _co_learner(options: GcnOptions | SgcOptions, given: Given, blocks: int, adapted: bool) -> keras.Layer:
    width = options.hidden if isinstance(options.hidden, int) else options.hidden[-1]
    return mlp_co_learner(given.problem.outputs, width, initialisation=options.initialisation)


@register(
    "learner",
    "gcn",
    GcnOptions,
    reads=("nodes",),
    co_learner=_co_learner,
    hops=lambda settings: GraphConvolutions.hops,
    faults=_gcn_faults,
)
def _gcn(options: GcnOptions, given: Given) -> Learner:
    """Graph convolutions and a head (paper, 4.3); with prototypes G-Meta's, with matching AMM-GNN's."""
    steps = normalised_steps(options, given)
    return gcn(given.outputs, given.node_features, steps=steps, **vars(options))


@register(
    "learner",
    "sgc",
    SgcOptions,
    reads=("nodes",),
    co_learner=_co_learner,
    hops=lambda settings: settings["learner.hops"],
    faults=_faults,
)
def _sgc(options: SgcOptions, given: Given) -> Learner:
    """A linear layer on features that are propagated once, and a head: Meta-GNN's learner (arXiv 1905.09718)."""
    return sgc(given.outputs, given.node_features, **vars(options))


variant("meta_gnn", chooses=("sgc",), only="nodes")(setting("Meta-GNN's learner (arXiv 1905.09718)."))
variant("g_meta", only="nodes")(setting("Prototypes in the place of a head, as G-Meta.", learner__head="prototypes"))
variant("amm_gnn", only="nodes")(setting("AMM-GNN's attribute matching.", learner__attribute_matching=True))
