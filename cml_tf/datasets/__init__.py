"""Few-shot datasets: numbered, endless streams of episodes."""

# ruff: isort: off
# ruff: noqa: E402
from cml_tf.system.settings import import_regardless_of_backend

import_regardless_of_backend()  # before the glyphs, whose outlines are matplotlib's
from cml_tf.datasets.base import SPLITS, EpisodeSource, FewShotDataset
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.graphs.nodes import NodeDataset
from cml_tf.datasets.registry import DATASETS, load

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
]
