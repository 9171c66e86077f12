"""Configurations: read from their files, changed, made small, built without data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.experiments import presets
from cml_tf.experiments.assembly import build_trainer
from cml_tf.experiments.configuration import check_config, default_config, load_config
from cml_tf.problems import Classification, Regression
from cml_tf.registry import Choice
from cml_tf.training.trainer import Trainer
from tests.helpers.programs import ROOT

IMAGE_SHAPE = (28, 28, 1)
# Of the datasets that differ.
IMAGE_SHAPES = {name: (*benchmark.image_size, 3) for name, benchmark in BENCHMARKS.items()}
# How many numbers an input has.
NUMBERS = {"sinusoid": 1, "shifted_sinusoid": 1, "cosmixture": 2, "alpine": 2}
# Features of a node, of datasets that may not be here.
NODE_FEATURES = {"cora": 1433, "citeseer": 3703, "amazon_computer": 767, "cora_full": 8710}


def load(name: str, arguments: str = "") -> ConfigDict:
    """What a file in configs/ gives."""
    return load_config(f"{ROOT}/configs/{name}.py:{arguments}")


def trainer_of(config: ConfigDict) -> Trainer:
    """What a configuration builds, without its data: for these sets, problem and shape are known."""
    check_config(config)
    if config.dataset.name in NUMBERS:
        return build_trainer(config, Regression(1), (NUMBERS[config.dataset.name],))
    problem = Classification(config.dataset.ways)
    if config.dataset.name in NODE_FEATURES:
        return build_trainer(config, problem, (), NODE_FEATURES[config.dataset.name])
    return build_trainer(config, problem, IMAGE_SHAPES.get(config.dataset.name, IMAGE_SHAPE), classes=64)


def waves(words: str = "cml", **changes: Any) -> ConfigDict:
    """Four steps on waves, with a tiny learner and validations of three batches: of CML, or as words say."""
    config = presets.sinusoid(f"{words},3shot,smoke")
    settings = {"train.meta_batch": 1, "train.steps": 4, "train.validation_episodes": 12}
    return changed(config, **{"learner.hidden": (4,), **settings, **changes})


def own_pictures(root: Path, **changes: Any) -> ConfigDict:
    """One step on 8 x 8 pictures in folders of one's own, with a tiny learner."""
    settings = {
        **{"dataset.root": str(root), "dataset.image_size": (8, 8), "dataset.ways": 2, "dataset.shots": 1},
        **{"dataset.queries": 1, "learner.hidden": (4,), "train.steps": 1, "train.meta_batch": 1},
        **{"train.validation_episodes": 2, "eval.episodes": 2, "eval.queries": 1},
    }
    return changed(default_config(Choice("image_folder")), **{**settings, **changes})


def changed(config: ConfigDict, **changes: Any) -> ConfigDict:
    """The same configuration with other values, by dotted key."""
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    return config
