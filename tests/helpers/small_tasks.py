"""Support and query sets of one task, as a user of the notebook's model has them."""

from __future__ import annotations

import numpy as np

from tests.helpers.few_shot import IMAGE_SHAPE

NAMES = ["beta", "alpha", "gamma", "beta", "alpha", "gamma"]


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Noise between 0 and 1, in the shape that `image_trainer` takes."""
    return np.random.default_rng(seed).uniform(0, 1, (count, *IMAGE_SHAPE))


def points(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a sine, inputs and targets."""
    inputs = np.random.default_rng(seed).uniform(-5, 5, (count, 1))
    return inputs, np.sin(inputs)
