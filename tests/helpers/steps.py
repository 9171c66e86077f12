"""Trainings of a few steps on drawn episodes, as a configuration describes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from cml_tf.experiments.assembly import build_trainer
from cml_tf.experiments.configuration import check_config
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.problems import Classification, Regression
from cml_tf.training.trainer import Trainer
from tests.helpers.nodes import FEATURES, WAYS, node_episode
from tests.helpers.seeded_episodes import CLASSES, classification_episode, regression_episode

SHAPE = (16, 16, 1)
Values = dict[str, list[np.ndarray]]


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Nothing is traced, as for somebody who sets a breakpoint."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def steps_of(config: ConfigDict, count: int = 2) -> tuple[Trainer, Values, Values]:
    """Makes some steps; the trainer, and its variables before and after by group."""
    keras.backend.clear_session()
    check_config(config)
    kind, settings = EXAMPLES[config.dataset.name], config.dataset
    tasks, sizes = config.train.meta_batch, {"shots": settings.shots, "queries": settings.queries}
    if kind == "numbers":
        trainer = build_trainer(config, Regression(1), (1,))
        episode = regression_episode(tasks=tasks, inputs=1, **sizes)
    elif kind == "images":
        trainer = build_trainer(config, Classification(settings.ways), SHAPE, classes=CLASSES)
        episode = classification_episode(tasks=tasks, ways=settings.ways, shape=SHAPE, **sizes)
    else:
        trainer = build_trainer(config, Classification(WAYS), (), FEATURES)
        episode = node_episode(tasks=tasks, hops=config.learner.get("hops", 1))
    episode = episode._replace(key=tf.constant([[1, task] for task in range(tasks)], tf.int64))
    before = variables_of(trainer)
    history = trainer.fit([episode] * count, count, verbose=0)
    assert trainer.meta_step.traces == (not tf.config.functions_run_eagerly())
    assert all(np.isfinite(value).all() for value in history.values())
    return trainer, before, variables_of(trainer)


def variables_of(trainer: Trainer) -> Values:
    """Values of all variables, by group."""
    return {group: [v.numpy() for v in variables] for group, variables in trainer.method.all_variables().items()}


def moved(before: Values, after: Values, group: str) -> bool:
    """Whether training changed any variable of a group."""
    return any(not np.array_equal(old, new) for old, new in zip(before[group], after[group], strict=True))


def smoked(config: ConfigDict, **values: Any) -> ConfigDict:
    """The same configuration with one task a step, and other values by dotted key."""
    config.update_from_flattened_dict({"train.meta_batch": 1, **values})
    return config
