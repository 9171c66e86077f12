"""Which classes of a benchmark train, validate and test: files in `splits/`, each with its source in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from cml_tf.datasets.base import SPLITS

# Written out: the BUILD files are made from the names of files in the sources.
_FILES = {
    "aircraft": "splits/aircraft.json",
    "cars": "splits/cars.json",
    "cifar_fs": "splits/cifar_fs.json",
    "cub": "splits/cub.json",
    "fc100": "splits/fc100.json",
    "gtsrb": "splits/gtsrb.json",
    "mini_imagenet": "splits/mini_imagenet.json",
    "svhn": "splits/svhn.json",
    "tiered_imagenet": "splits/tiered_imagenet.json",
    "vgg_flower": "splits/vgg_flower.json",
}


@dataclass(frozen=True)
class ClassSplits:
    """The split of a benchmark.

    Attributes:
      source: who published it, and where it was read.
      published: whether it is a published one.
      classes: the names of the classes of each split, sorted; a benchmark that is only tested on has one split.
      images: how many images the splits have, as far as that was published; the total under "" where only that was.
    """

    source: str
    published: bool
    classes: Mapping[str, tuple[str, ...]]
    images: Mapping[str, int]


@cache
def class_splits(name: str) -> ClassSplits:
    """The split of the benchmark of that name."""
    file = resources.files("cml_tf.datasets.benchmarks").joinpath(_FILES[name])
    content = json.loads(file.read_text(encoding="utf-8"))
    classes = {split: tuple(content["classes"][split]) for split in SPLITS if split in content["classes"]}
    images = dict(content["images"])
    if "images_total" in content:
        images[""] = content["images_total"]
    return ClassSplits(content["source"], content["published"], classes, images)
