"""The meta-step, taken and looked at."""

from __future__ import annotations

import keras
import numpy as np

from cml_tf.episodes import Episode
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method


def steps_and_compiles_once(method: Method, episode: Episode) -> None:
    """Two steps of the meta-step: one trace, finite numbers, and no trained variable is left where it was."""
    optimisers = {group: keras.optimizers.Adam(0.01) for group in method.trained_variables()}
    step = MetaStep(method, optimisers)
    before = {group: [v.numpy() for v in variables] for group, variables in method.trained_variables().items()}
    first, second = step(episode), step(episode)
    assert step.traces == 1 and bool(first.finite) and bool(second.finite)
    for group, variables in method.trained_variables().items():
        for start, variable in zip(before[group], variables, strict=True):
            assert not np.array_equal(start, variable), f"{group}: {variable.path} was not updated"
