"""Datasets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from cml_tf.datasets.base import DatasetError, FewShotDataset
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, load_benchmark
from cml_tf.datasets.formulas import FormulaDataset
from cml_tf.datasets.glyphs import load_glyphs
from cml_tf.datasets.graphs.graph_npz import load_amazon_computer, load_cora_full
from cml_tf.datasets.graphs.own_graph import load_own_graph
from cml_tf.datasets.graphs.planetoid import load_citeseer, load_cora
from cml_tf.datasets.image_folder import load_image_folder
from cml_tf.datasets.omniglot.dataset import load_omniglot
from cml_tf.datasets.sinusoid import SHIFTED_WAVES, WAVES
from cml_tf.datasets.surfaces import ALPINE, COSINE_MIXTURE

_LOADERS: dict[str, Callable[..., FewShotDataset]] = {
    "sinusoid": partial(FormulaDataset.of, "sinusoid", WAVES),
    "shifted_sinusoid": partial(FormulaDataset.of, "shifted_sinusoid", SHIFTED_WAVES),
    "cosmixture": partial(FormulaDataset.of, "cosmixture", COSINE_MIXTURE),
    "alpine": partial(FormulaDataset.of, "alpine", ALPINE),
    "glyphs": load_glyphs,
    "omniglot": load_omniglot,
    "image_folder": load_image_folder,
    "cora": load_cora,
    "citeseer": load_citeseer,
    "amazon_computer": load_amazon_computer,
    "cora_full": load_cora_full,
    "graph": load_own_graph,
    **{name: partial(load_benchmark, name) for name in BENCHMARKS},
}

DATASETS = tuple(_LOADERS)
# They take other rates than photographs.
DRAWINGS = ("glyphs", "omniglot")


def load(name: str, root: str = "", **options: Any) -> FewShotDataset:
    """Loads a dataset.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid")
      >>> episode = waves.episodes("train", shots=5, queries=10, seed=0).batch(start=0, count=4)
      >>> episode.support.inputs.shape, episode.query.targets.shape
      (TensorShape([4, 5, 1]), TensorShape([4, 10, 1]))

    Args:
      name: "sinusoid", "shifted_sinusoid", "cosmixture", "alpine" and "glyphs" need no files; "omniglot" takes those
        under `root` or else downloads them, and so do the graphs "cora", "citeseer", "amazon_computer" and "cora_full";
        "image_folder" reads a class-per-folder tree of your own under `root`, and "graph" a graph of your own. The
        image benchmarks (`cml_tf.datasets.benchmarks.catalogue`) take published archives under `root`, once, or
        download what anybody may have.
      root: folder with the files of the dataset, empty for none.
      **options: of the dataset itself; waves and surfaces take `tasks`, how many different tasks there are in training,
        `noisy_tasks` and `noise_variance`; `image_folder` takes `image_size=(height, width)` and `channels=1 | 3`, the
        image benchmarks take `image_size`, all graphs take `classes=(train, validation, test)`, `class_seed` and
        `hops`, and `graph` `normalise_features` too.

    Raises:
      DatasetError: if there is no such dataset or option, or its files are missing or malformed.
    """
    if name not in _LOADERS:
        raise DatasetError(f"dataset must be one of {', '.join(DATASETS)}, received {name!r}.")
    loader = _LOADERS[name]
    taken = tuple(inspect.signature(loader).parameters)
    if root and "root" not in taken:
        raise DatasetError(f"root must be empty for the dataset {name!r}, which reads no files, received {root!r}.")
    unknown = sorted(set(options) - set(taken))
    if unknown:
        known = ", ".join(option for option in taken if option != "root") or "none"
        raise DatasetError(f"the dataset {name!r} has no option {', '.join(unknown)} (its options: {known}).")
    return loader(**({"root": root} if "root" in taken else {}), **options)


load_dataset = load
"""What `load` was called before; programs written then go on."""
