"""Few-shot node classification: one graph, whose classes are divided among the splits.

All splits see the whole graph, its features and its edges; what a split does not see is the labels of the other splits'
classes. An episode's inputs are node numbers, and the graph is the context that all episodes share.

Published graphs have known sizes: a file of another size is another graph.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import SPLITS, DatasetError, FewShotDataset, check_integer
from cml_tf.datasets.class_source import ClassSource, random_choice
from cml_tf.graphs import GraphContext, NodeGraph, graph_context

# An episode chooses between two classes at least.
_FEWEST = 2
_LOG = logging.getLogger(__name__)


class NodeSource(ClassSource):
    """Episodes of labelled nodes: inputs are node numbers, int32; see `ClassSource` and `NodeDataset`."""

    def __init__(self, dataset: NodeDataset, split: str, *, ways: int, shots: int, queries: int, seed: int) -> None:
        """See `FewShotDataset.episodes`."""
        classes = dataset.class_numbers(split)
        labels = dataset.graph.labels
        members = [np.flatnonzero(labels == number) for number in classes]
        self._nodes = np.concatenate(members).astype(np.int32)
        super().__init__(
            class_names=dataset.class_names(split),
            counts=np.array([len(nodes) for nodes in members]),
            content={"graph": dataset.graph.fingerprint, "classes": list(classes)},
            split=split,
            ways=ways,
            shots=shots,
            queries=queries,
            seed=seed,
            context=dataset.context,
        )

    def _inputs(self, positions: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._nodes, positions)


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeDataset(FewShotDataset):
    """The nodes of one graph; `from_graph` makes one.

    The fingerprints of its sources cover the graph, the classes of the split and the sampling, not `hops` and
    `normalise_features`: these say how a learner looks at the graph, and learners that look at it differently are
    compared on the same episodes. `dataclasses.replace(dataset, hops=2)` gives the same dataset for another learner.

    Example:
      >>> from cml_tf.graphs import check_graph
      >>> ring = check_graph(np.array([[n, (n + 1) % 12] for n in range(12)]), np.eye(12), np.arange(12) % 6)
      >>> dataset = NodeDataset.from_graph("ring", ring, classes=(2, 2, 2))
      >>> dataset.episodes("test", ways=2, shots=1, queries=1, seed=0).batch(0, 1).support.inputs.shape
      TensorShape([1, 2])

    Attributes:
      graph: the graph.
      split_classes: the class numbers of each split, ascending, no number in two of them.
      hops: how often the features in `context` are propagated; see `cml_tf.graphs.graph_context`.
      normalise_features: whether they are first divided by their sum, node by node.
    """

    graph: NodeGraph
    split_classes: dict[str, tuple[int, ...]]
    hops: int = 1
    normalise_features: bool = True

    def __post_init__(self) -> None:
        try:
            check_integer("hops", self.hops, minimum=0)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    @classmethod
    def from_graph(
        cls,
        name: str,
        graph: NodeGraph,
        *,
        classes: Sequence[int] | None = None,
        class_seed: int = 0,
        hops: int = 1,
        normalise_features: bool = True,
    ) -> NodeDataset:
        """Divides the classes of a graph among the splits at random.

        Args:
          name: of the dataset.
          graph: the graph.
          classes: how many classes train, validation and test get, at least 2 each; classes beyond their sum are in no
            split. None: about 50, 25 and 25 %. Classes without a labelled node do not count.
          class_seed: which division; non-negative and below 2**63.
          hops: see above.
          normalise_features: see above.

        Raises:
          DatasetError: if the graph has not enough classes, or an argument is out of range.
        """
        present = np.unique(graph.labels[graph.labels >= 0])
        counts = _default_counts(len(present)) if classes is None else _checked_counts(classes, len(present))
        try:
            key = np.array([check_integer("class_seed", class_seed, minimum=0), 0], np.int64)
        except ValueError as error:
            raise DatasetError(str(error)) from error
        chosen = present[random_choice(len(present), sum(counts), key).numpy()]
        parts = np.split(chosen, np.cumsum(counts)[:-1])
        split_classes = {
            split: tuple(sorted(int(number) for number in part)) for split, part in zip(SPLITS, parts, strict=True)
        }
        _LOG.info("%s: %d nodes, %d edges, classes %s", name, graph.nodes, graph.edges, split_classes)
        return cls(
            name=name,
            problem_kind="classification",
            input_shape=(),
            value_range=(0.0, float(graph.nodes - 1)),
            graph=graph,
            split_classes=split_classes,
            hops=hops,
            normalise_features=normalise_features,
        )

    @cached_property
    def context(self) -> GraphContext:
        """The graph as learners see it; made at the first use, then one object for all splits and episodes."""
        return graph_context(self.graph, self.hops, normalise_features=self.normalise_features)

    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> NodeSource:
        """Episodes with inputs int32 `[tasks, ways * (shots or queries)]`: node numbers in [0, nodes).

        Labels are int32 in [0, ways), the context is `context`. See `FewShotDataset.episodes` for arguments and errors.
        """
        if ways is None:
            raise DatasetError(
                f"ways must be an integer of at least 2 for {self.name} (classification), received None."
            )
        return NodeSource(self, self.check_split(split), ways=ways, shots=shots, queries=queries, seed=seed)

    def class_numbers(self, split: str) -> tuple[int, ...]:
        """The labels, in the graph, of the classes of a split."""
        return self.split_classes[self.check_split(split)]

    def class_names(self, split: str) -> tuple[str, ...]:
        """The names of the classes of a split."""
        return tuple(self.graph.class_names[number] for number in self.class_numbers(split))


def _default_counts(present: int) -> tuple[int, ...]:
    held_out = max(_FEWEST, present // 4)
    if present - 2 * held_out < _FEWEST:
        raise DatasetError(
            f"the graph must have at least {3 * _FEWEST} classes with labelled nodes, {_FEWEST} each for training, "
            f"validation and testing, found {present}."
        )
    return present - 2 * held_out, held_out, held_out


def _checked_counts(classes: Any, present: int) -> tuple[int, ...]:
    try:
        counts = tuple(check_integer("classes", count, minimum=_FEWEST) for count in classes)
    except (TypeError, ValueError):
        counts = ()
    if len(counts) != len(SPLITS):
        raise DatasetError(
            f"classes must be the numbers of train, validation and test classes, at least {_FEWEST} each, received "
            f"{classes!r}."
        )
    if sum(counts) > present:
        raise DatasetError(
            f"classes must add up to at most {present}, the number of classes with labelled nodes in the graph, "
            f"received {' + '.join(map(str, counts))}."
        )
    return counts


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
                f"{found.nodes}, {found.features} and {found.classes}: download the published files, or load a graph "
                "of your own as 'graph'."
            )
        return graph
