"""CosMixture and Alpine: surfaces over two numbers, the synthetic functions of A-MAML.

After Li, Wang, Kirby and Zhe, *Meta-Learning with Adjoint Methods* (arXiv 2110.08432), with its ranges. Both are known
from tests of optimisers; here their parameters differ from task to task. The paper trains on 100 fixed tasks of 50
support and 50 query points and tests on 100 others. Its inputs reach the network as they are, those of Alpine up to 10.
"""

from __future__ import annotations

import math

import tensorflow as tf

from cml_tf.datasets.formulas import Formula


def cosine_mixture(amplitude: tf.Tensor, frequency: tf.Tensor, phase: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """A bowl, open below, with ripples; inputs `[examples, 2]`, values from about -2.2 to 0.2, `[examples, 1]`."""
    ripples = amplitude * tf.cos(frequency * inputs + phase)
    return -0.1 * tf.reduce_sum(ripples, -1, keepdims=True) - tf.reduce_sum(tf.square(inputs), -1, keepdims=True)


def alpine(first_phase: tf.Tensor, second_phase: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Folds that grow with the distance from 0; inputs `[examples, 2]`, values from 0 to 22, `[examples, 1]`."""
    waves = tf.sin(inputs + tf.stack([first_phase, second_phase]))
    return tf.reduce_sum(tf.abs(inputs * waves + 0.1 * inputs), -1, keepdims=True)


_LARGEST_PHASE = 5 * math.pi / 12

COSINE_MIXTURE = Formula(
    text="y = -0.1 * sum(amplitude * cos(frequency * x + phase)) - sum(x^2)",
    parameters={"amplitude": (0.1, 1.0), "frequency": (0.5 * math.pi, 2 * math.pi), "phase": (3.0, 6.0)},
    inputs=(-1.0, 1.0),
    dimensions=2,
    value=cosine_mixture,
)
ALPINE = Formula(
    text="y = sum(abs(x * sin(x + phase) + 0.1 * x))",
    parameters=dict.fromkeys(("first phase", "second phase"), (-_LARGEST_PHASE, _LARGEST_PHASE)),
    inputs=(-10.0, 10.0),
    dimensions=2,
    value=alpine,
)
