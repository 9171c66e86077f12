"""What training on waves is fed, and what is watched and compared about it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cml_tf.datasets.sinusoid import SinusoidDataset, SinusoidSource
from cml_tf.episodes import Episode


def waves(split: str = "train", seed: int = 0) -> SinusoidSource:
    """Waves of 3 shots and 4 queries."""
    return SinusoidDataset().episodes(split, shots=3, queries=4, seed=seed)


def meta_batches(count: int, meta_batch: int = 4) -> list[Episode]:
    """The first episodes of `waves()`, as a trainer draws them."""
    source = waves()
    return [source.batch(number * meta_batch, meta_batch) for number in range(count)]


def assert_same_values(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    """The same names, and bit for bit the same arrays."""
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


class Recorder(keras.callbacks.Callback):
    """Writes down every call, with the position and the names of the metrics."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple] = []

    @property
    def calls(self) -> list[tuple]:
        """Name, position where there is one, metrics where there are any."""
        return self._calls

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("train begin",))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("train end",))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("epoch end", epoch, set(logs)))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("step begin", batch))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._calls.append(("step end", batch, set(logs)))
