"""Few-shot datasets: numbered, endless streams of episodes.

Names are looked up when they are first used: what needs no TensorFlow of this package can be had without loading it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cml_tf.errors import DatasetError
from cml_tf.system.lazy import lazy

if TYPE_CHECKING:
    from cml_tf.datasets.base import SPLITS, EpisodeSource, FewShotDataset
    from cml_tf.datasets.class_pool import ClassPool, ImageDataset
    from cml_tf.datasets.graphs.nodes import NodeDataset
    from cml_tf.datasets.registry import DATASETS, load, load_dataset

_MODULES = {
    "DATASETS": "registry",
    "SPLITS": "base",
    "ClassPool": "class_pool",
    "EpisodeSource": "base",
    "FewShotDataset": "base",
    "ImageDataset": "class_pool",
    "NodeDataset": "graphs.nodes",
    "load": "registry",
    "load_dataset": "registry",
}
__all__ = [
    "DATASETS",
    "SPLITS",
    "ClassPool",
    "DatasetError",
    "EpisodeSource",
    "FewShotDataset",
    "ImageDataset",
    "NodeDataset",
    "load",
    "load_dataset",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _MODULES)
