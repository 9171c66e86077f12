"""Normalisation: one mathematics in two kernels, with derivatives right to the second order."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.learners import Normalisation
from cml_tf.learners.layers.derivative_order import inner_gradient, outer_gradient
from tests.helpers.precision import precision

SHAPE = (3, 4, 5, 2)
GENERATOR = np.random.default_rng(0)
INPUTS, WEIGHTS, DIRECTION = (GENERATOR.standard_normal(SHAPE) for _ in range(3))


def layer(dtype):
    made = Normalisation(dtype=dtype)
    made.build((None, *SHAPE[1:]))
    made.scale.assign([0.5, 2.0])
    made.shift.assign([0.1, -0.3])
    return made


def derivatives(dtype, inputs=INPUTS, prepared=True):
    """Outputs, first derivatives of a smooth function of them, and derivatives of a mixture of those.

    `prepared`: whether the layer was told that it is differentiated twice.
    """
    normalise, inputs = layer(dtype), tf.constant(inputs, dtype)
    variables = [normalise.scale.value, normalise.shift.value]
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            with outer_gradient(), inner_gradient(prepared):
                outputs = normalise(inputs)
            loss = tf.reduce_sum(tf.constant(WEIGHTS, dtype) * tf.sin(outputs))
        first = inner.gradient(loss, [inputs, *variables])
        mixture = tf.reduce_sum(first[0] * tf.constant(DIRECTION, dtype)) + first[1][0] + 2.0 * first[2][1]
    return [outputs, *first, *outer.gradient(mixture, [inputs, *variables])]


def test_outputs_are_the_formula():
    mean, variance = INPUTS.mean((0, 1, 2)), INPUTS.var((0, 1, 2))
    expected = (INPUTS - mean) / np.sqrt(variance + 1e-5) * [0.5, 2.0] + [0.1, -0.3]
    np.testing.assert_allclose(layer("float64")(INPUTS), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 0.003], ids=["ordinary", "variance near epsilon"])
@pytest.mark.parametrize("prepared", [True, False])
def test_fused_and_composed_kernels_agree_to_the_second_derivative(scale, prepared):
    for fused, composed in zip(
        derivatives("float32", scale * INPUTS, prepared), derivatives("float64", scale * INPUTS), strict=True
    ):
        assert fused.dtype == tf.float32 and composed.dtype == tf.float64
        size = np.abs(composed).max()
        np.testing.assert_allclose(fused / size, composed / size, atol=3e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_kernels_normalise_two_axes_as_four(dtype):
    flat, four = Normalisation(dtype=dtype), Normalisation(dtype=dtype)
    inputs = tf.constant(INPUTS.reshape(-1, 2), dtype)
    outputs = tf.reshape(four(tf.reshape(inputs, SHAPE)), [-1, 2])
    np.testing.assert_allclose(flat(inputs), outputs, rtol=1e-5, atol=1e-6)


def test_second_derivative_against_central_differences():
    """`tf.nn.moments` would fail here: it holds the mean inside the variance constant."""
    received = np.sum(np.asarray(derivatives("float64")[4]) * WEIGHTS)
    step = 1e-5

    def mixture(inputs):
        _, of_inputs, of_scale, of_shift = derivatives("float64", inputs)[:4]
        return np.sum(of_inputs * DIRECTION) + of_scale[0] + 2.0 * of_shift[1]

    expected = (mixture(INPUTS + step * WEIGHTS) - mixture(INPUTS - step * WEIGHTS)) / (2 * step)
    np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_training_makes_no_difference_no_state_is_kept_and_no_examples_are_fine():
    normalise = layer("float32")
    np.testing.assert_array_equal(normalise(INPUTS, training=True), normalise(INPUTS, training=False))
    assert normalise.non_trainable_variables == []
    assert normalise(np.zeros((0, *SHAPE[1:]), np.float32)).shape == (0, *SHAPE[1:])


def test_half_precision_takes_its_statistics_in_float32():
    """Around a large mean bfloat16 statistics would be noise."""
    shifted = tf.cast(INPUTS + 40.0, tf.bfloat16)
    with precision(policy="mixed_bfloat16"):
        normalise = Normalisation()
        outputs = normalise(shifted)
    assert outputs.dtype == tf.bfloat16 and normalise.scale.dtype == "float32"
    expected = Normalisation()(tf.cast(shifted, tf.float32))
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=2e-2)


def test_unknown_mode_and_configuration():
    with pytest.raises(ValueError, match=r"must be one of batch_transductive.*, received 'running'"):
        Normalisation("running")
    made = Normalisation(epsilon=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert (again.mode, again.epsilon) == ("batch_transductive", 0.5)
