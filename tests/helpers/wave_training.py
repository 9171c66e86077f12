"""What training on waves is fed, and what is watched and compared about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import EpisodeSource
from cml_tf.episodes import Episode
from cml_tf.objectives.reducers import TaskReducer
from cml_tf.training.trainer import Trainer
from tests.helpers.few_shot import tiny_trainer


def waves(split: str = "train", seed: int = 0) -> EpisodeSource:
    """Waves of 3 shots and 4 queries."""
    return datasets.load("sinusoid").episodes(split, shots=3, queries=4, seed=seed)


def meta_batches(count: int, meta_batch: int = 4) -> list[Episode]:
    """The first episodes of `waves()`, as a trainer draws them."""
    source = waves()
    return [source.batch(number * meta_batch, meta_batch) for number in range(count)]


def assert_same_values(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """The same names, and bit for bit the same arrays."""
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def resumed(trainer: Trainer, make: Callable[[], Trainer] = tiny_trainer) -> Trainer:
    """Another trainer with the state of the first."""
    again = make()
    again.restore(*trainer.state())
    return again


def stop_at(trainer: Trainer, step: int) -> keras.callbacks.Callback:
    """Interrupts a training after a step."""

    def stop(batch: int, logs: dict[str, Any] | None) -> None:
        trainer.host.stop_training |= trainer.step == step

    return keras.callbacks.LambdaCallback(on_train_batch_end=stop)


class InfiniteGradient(TaskReducer):
    """A finite loss does not tell: d sqrt at 0 is infinite where sqrt is 0."""

    def __call__(self, losses: tf.Tensor, gradients: Any, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Zero, of losses `[tasks]`."""
        return tf.reduce_sum(tf.sqrt(losses - tf.stop_gradient(losses)))


class Recorder(keras.callbacks.Callback):
    """Writes down every call: its name, the position where there is one, the metrics where there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("train begin",))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("train end",))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("epoch end", epoch, set(logs)))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("step begin", batch))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.calls.append(("step end", batch, set(logs)))
