"""Normalisation: one mathematics in two kernels, and what its modes keep: nothing, a count, a support set's moments."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner, Normalisation, conv4, conv4_co_learner, count_parameters
from cml_tf.learners.layers.derivative_order import inner_gradient, outer_gradient
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.method import Method
from tests.helpers.models import CONV_SHAPE, smooth_conv, two_blocks
from tests.helpers.seeded_episodes import classification_episode, one_task

PROBLEM = Classification(3)
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
    for dtype in ("float32", "float64"):
        flat = layer(dtype)(tf.constant(INPUTS.reshape(-1, 2), dtype))
        np.testing.assert_allclose(
            flat, expected.reshape(-1, 2), rtol=1e-5, atol=1e-6, err_msg="of two axes as of four"
        )


@pytest.mark.parametrize("scale", [1.0, 0.003], ids=["ordinary", "variance near epsilon"])
@pytest.mark.parametrize("prepared", [True, False])
def test_fused_and_composed_kernels_agree_to_the_second_derivative(scale, prepared):
    for fused, composed in zip(
        derivatives("float32", scale * INPUTS, prepared), derivatives("float64", scale * INPUTS), strict=True
    ):
        assert fused.dtype == tf.float32 and composed.dtype == tf.float64
        size = np.abs(composed).max()
        np.testing.assert_allclose(fused / size, composed / size, atol=3e-5)


def test_second_derivative_against_central_differences():
    """`tf.nn.moments` would fail here: it holds the mean inside the variance constant."""
    received = np.sum(np.asarray(derivatives("float64")[4]) * WEIGHTS)
    step = 1e-5

    def mixture(inputs):
        _, of_inputs, of_scale, of_shift = derivatives("float64", inputs)[:4]
        return np.sum(of_inputs * DIRECTION) + of_scale[0] + 2.0 * of_shift[1]

    expected = (mixture(INPUTS + step * WEIGHTS) - mixture(INPUTS - step * WEIGHTS)) / (2 * step)
    np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_no_state_is_kept_and_no_examples_are_fine():
    normalise = layer("float32")
    np.testing.assert_array_equal(normalise(INPUTS, training=True), normalise(INPUTS, training=False))
    assert normalise.non_trainable_variables == []
    assert normalise(np.zeros((0, *SHAPE[1:]), np.float32)).shape == (0, *SHAPE[1:])


def counting_beside_following():
    extractor = keras.Sequential([Normalisation("support", name="of_support"), Normalisation("per_step", name="steps")])
    return Learner(extractor, keras.layers.Dense(2), input_shape=(3,))


def co_learner_of_support_sets():
    term = CoLearner(conv4_co_learner(3, 4, "support"), PROBLEM)
    return Method.of(conv4(3, (16, 16, 1), 4, "support"), GradientDescent(PROBLEM, SGD(0.1)), [term])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalisation("running"), "one of batch_transductive.*'running'"),
        (lambda: Normalisation("per_step", steps=0), "received 0 in mode per_step"),
        (lambda: Normalisation("support", steps=2), "received 2 in mode support"),
        (counting_beside_following, "'steps' counts inner steps, but the state of 'of_support' needs a pass"),
        (co_learner_of_support_sets, "never sees a support set"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def outputs_with(row, names, parameters, inputs):
    """What a learner of one scale and one shift answers, being given those of a row, and else the same parameters."""
    single = smooth_conv()
    flat = tf.nest.flatten(tuple(parameters))
    own = [value[row] if name in ("scale", "shift") else value for name, value in zip(names, flat, strict=True)]
    start, state = single.initial()
    return single.call(tf.nest.pack_sequence_as(start, own), state, inputs, (), True).outputs


def images(count=6):
    return np.random.default_rng(3).standard_normal((count, *CONV_SHAPE))


def test_each_pass_over_a_support_set_takes_the_next_ones_and_predictions_the_last_ones(float64):
    learner = smooth_conv(mode="per_step", steps=3)
    names = [variable.name for variable in tf.nest.flatten(tuple(learner.variables))]
    parameters, state = learner.initial()
    for made in range(4):
        asked = learner.call(parameters, state, images(), (), training=False)
        expected = outputs_with(min(max(made - 1, 0), 2), names, parameters, images())
        np.testing.assert_array_equal(asked.outputs, expected)
        assert [int(count) for count in tf.nest.flatten(tuple(asked.state))] == [made], "asking is no step"
        shown = learner.call(parameters, state, images(), (), training=True)
        np.testing.assert_array_equal(shown.outputs, outputs_with(min(made, 2), names, parameters, images()))
        state = shown.state


def test_statistics_belong_to_the_adapted_parameters_and_are_packed_with_them(float64):
    learner = two_blocks(conv4, 3, (8, 8, 1), 4, "support")
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.1), 2), [QueryLoss(PROBLEM)])
    task = one_task(classification_episode(seed=2, tasks=1, shape=(8, 8, 1)), 0)
    initial = method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    again = method.learner.call(adapted.parameters, adapted.state, task.support.inputs, (), training=True)
    for kept, expected in zip(adapted.state.extractor, again.state.extractor, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-12)
    assert len(adapted.path) == 3 and adapted.path[-1] is adapted
    assert np.abs(adapted.path[0].state.extractor[-1] - adapted.state.extractor[-1]).max() > 1e-6
    packed = adapted.pack()
    # All parameters, and a mean and a variance for each of the 4 channels of the 2 blocks.
    assert packed.shape[0] == count_parameters(tuple(method.learner.variables)) + 2 * 8
    unpacked = method.rule.unpack(method.learner, initial, packed, ())
    np.testing.assert_allclose(unpacked.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1], atol=1e-5)
