"""Sine waves: few-shot regression without any files (section 4.1 of the CML paper)."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from cml_tf.datasets.formulas import Formula


def wave(amplitude: tf.Tensor, phase: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """`amplitude * sin(inputs - phase)`, the phase in radians."""
    return amplitude * tf.sin(inputs - phase)


WAVES = Formula(
    text="y = amplitude * sin(x - phase)",
    parameters={"amplitude": (0.1, 5.0), "phase": (0.0, math.pi)},
    inputs=(-5.0, 5.0),
    dimensions=1,
    value=wave,
)
# What a learner of waves has never met (each is one of them upside down), for tests out of distribution.
SHIFTED_WAVES = dataclasses.replace(WAVES, parameters={**WAVES.parameters, "phase": (math.pi, 2 * math.pi)})
