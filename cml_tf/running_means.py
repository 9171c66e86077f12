"""Means of an epoch's metrics so far. Plain floats: a Keras metric would cost more than a small meta-step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class RunningMeans:
    """Sums and counts by name, in float64; `state` is JSON and restores them bit for bit."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def update(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds the values of one step, `[tasks]` each."""
        for name, values in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(values.sum(dtype=np.float64)), count + values.size)

    def result(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / count for name, (total, count) in self._sums.items()}

    def reset(self) -> None:
        """Forgets everything."""
        self._sums = {}

    @property
    def state(self) -> dict[str, list[float]]:
        """Sums and counts as JSON."""
        return {name: [total, count] for name, (total, count) in self._sums.items()}

    @state.setter
    def state(self, value: Mapping[str, list[float]]) -> None:
        self._sums = {name: (float(total), int(count)) for name, (total, count) in value.items()}
