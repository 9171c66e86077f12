"""Inner rates: what all rules ask of them, and the variables of those that learn them."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cml_tf.learners.learner import Parameters


def check_rate(rate: float) -> float:
    """Returns an inner rate, or raises ValueError unless it is positive."""
    if not rate > 0:
        raise ValueError(f"the inner rate must be positive, received {rate}.")
    return rate


def rate_variables(
    parameters: Parameters, rate: float, shape: tuple[int, ...] | None = None
) -> tuple[keras.Variable, ...]:
    """A variable for each parameter, all entries `rate`, of a shape or else of the parameter's own."""
    return tuple(
        keras.Variable(
            np.full(parameter.shape if shape is None else shape, rate), dtype=parameter.dtype, name=f"rates_{position}"
        )
        for position, parameter in enumerate(tf.nest.flatten(parameters))
    )
