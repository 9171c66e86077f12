"""What a configuration trains, with random episodes of its shapes in place of its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from benchmarks.performance.building import build_episode
from benchmarks.performance.work import Work
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.episodes import Episode
from cml_tf.experiments.assembly import build_trainer
from cml_tf.experiments.configuration import check_config, load_config
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.training.trainer import Trainer

# Size, undirected edges and share of features that are not 0, the latter two roughly: the first step hardly depends on
# them.
_GRAPHS = {
    "cora": (planetoid.SIZES["cora"], 5_300, 0.013),
    "citeseer": (planetoid.SIZES["citeseer"], 4_600, 0.009),
    "amazon_computer": (graph_npz.SIZES[graph_npz.AMAZON_COMPUTER], 246_000, 0.35),
    "cora_full": (graph_npz.SIZES[graph_npz.CORA_FULL], 63_000, 0.007),
}
# Of images: as many as miniImageNet has.
_TRAINING_CLASSES = 64


def load_configured(source: str, settings: Mapping[str, Any]) -> ConfigDict:
    """The configuration of a file with words after a colon, and values by dotted key on top of it."""
    config = load_config(source)
    config.update_from_flattened_dict(dict(settings))
    check_config(config)
    return config


def build_configured(config: ConfigDict) -> tuple[Trainer, Episode]:
    """The trainer of a configuration, and a meta-batch."""
    kind = EXAMPLES[config.dataset.name]
    waves = kind == "numbers"
    ways = 1 if waves else config.dataset.ways
    problem: Problem = Regression(1) if waves else Classification(ways)
    work = Work(
        **(graph_like(config.dataset.name) if kind == "nodes" else image_like(config.dataset.name)),
        learner=config.learner.name,
        tasks=config.train.meta_batch,
        ways=ways,
        shots=config.dataset.shots,
        queries=config.dataset.queries,
    )
    shape = {"numbers": (1,), "images": (work.size, work.size, work.channels), "nodes": ()}[kind]
    return build_trainer(config, problem, shape, work.features, _TRAINING_CLASSES), build_episode(work)


def image_like(name: str) -> dict[str, Any]:
    """What a `Work` says of the images of a dataset; nothing for sets of another kind, and for 28x28x1."""
    if name not in BENCHMARKS:
        return {}
    return {"size": BENCHMARKS[name].image_size[0], "channels": 3}


def graph_like(name: str) -> dict[str, Any]:
    """What a `Work` says of a random graph of a dataset's size.

    Raises:
      ValueError: for a dataset whose size is not known.
    """
    if name not in _GRAPHS:
        raise ValueError(f"the graph must be one of {', '.join(_GRAPHS)}, received {name!r}.")
    size, edges, density = _GRAPHS[name]
    return {"nodes": size.nodes, "features": size.features, "edges": edges, "density": density}
