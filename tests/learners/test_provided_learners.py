"""The provided learners: the papers' sizes, ResNet-12's blocks, what all begin with, refusals."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.learners import (
    ResidualBlock,
    conv4,
    conv4_co_learner,
    count_parameters,
    gcn,
    mlp,
    mlp_co_learner,
    resnet12,
    resnet12_co_learner,
    sgc,
)
from cml_tf.learners.layers.initialisation import INITIALISATIONS, Linear, linear
from cml_tf.objectives import CoLearner
from cml_tf.problems import Classification, Regression

WAYS = 5


def co_learner_parameters(learner, **arguments):
    term = CoLearner(conv4_co_learner(WAYS, **arguments), Classification(WAYS))
    term.build(learner)
    return count_parameters(term.variables)


def test_parameters_at_84x84_are_the_papers():
    learner = conv4(WAYS, (84, 84, 3))
    assert count_parameters(tuple(learner.variables)) == 121_093
    assert [co_learner_parameters(learner, blocks=blocks) for blocks in (0, 1, 2)] == [8_005, 45_061, 82_117]
    assert co_learner_parameters(learner) == 82_117 and learner.example_features.shape == (2, 10, 10, 64)
    assert count_parameters(tuple(conv4(WAYS, (84, 84, 3), extra_blocks=3).variables)) == 232_261, "More-MAML"
    assert count_parameters(conv4(WAYS, (84, 84, 3), head_blocks=2).variables.head) == 82_117


@pytest.mark.parametrize(
    ("shape", "features"),
    [((16, 16, 1), (2, 2, 2, 4)), ((28, 28, 1), (2, 3, 3, 4)), ((33, 47, 2), (2, 4, 5, 4))],
)
def test_any_size_and_number_of_channels(shape, features):
    learner = conv4(3, shape, filters=4)
    assert learner.example_features.shape == features
    forward = learner.call(*learner.initial(), np.ones((6, *shape), np.float32), (), False)
    assert forward.outputs.shape == (6, 3)
    head_inputs = (features[1] // 2) * (features[2] // 2) * 4
    assert learner.variables.head[0].shape == (head_inputs, 3)


@pytest.mark.parametrize("make", [conv4, resnet12])
@pytest.mark.parametrize("shape", [(15, 16, 1), (16, 15, 1), (28, 28), (2, 28, 28, 1)])
def test_images_that_leave_nothing_are_refused(make, shape):
    with pytest.raises(ValueError, match=r"\(height, width, channels\) of at least 16x16, because .* received"):
        make(5, shape)


def test_the_papers_regressor():
    learner = mlp(1, (1,))
    assert [variable.shape for variable in learner.variables.extractor] == [(1, 40), (40,), (40, 40), (40,)]
    assert [variable.shape for variable in learner.variables.head] == [(40, 1), (1,)]
    assert count_parameters(tuple(learner.variables)) == 1_761
    term = CoLearner(mlp_co_learner(1), Regression(1))
    term.build(learner)
    assert [variable.shape for variable in term.variables] == [(40, 40), (40,), (40, 1), (1,)]


@pytest.mark.parametrize("make", [mlp, conv4, resnet12])
@pytest.mark.parametrize("shape", [28, (0, 28, 1), None, "28"])
def test_a_shape_that_is_none_is_refused(make, shape):
    with pytest.raises(ValueError, match=rf"tuple of positive whole numbers, received {re.escape(repr(shape))}"):
        make(5, shape)


def test_mlp_flattens_images_and_needs_a_hidden_layer():
    assert mlp(3, (4, 4, 2), hidden=(5,)).variables.extractor[0].shape == (32, 5)
    with pytest.raises(ValueError, match="hidden must contain at least one width"):
        mlp(1, (1,), hidden=())


@pytest.mark.parametrize(
    "make",
    [
        lambda: conv4(5, (16, 16, 1), head_blocks=-1),
        lambda: conv4_co_learner(5, blocks=-1),
        lambda: resnet12_co_learner(5, blocks=-1),
    ],
)
def test_there_is_no_negative_number_of_blocks(make):
    with pytest.raises(ValueError, match="must be 0 or more, received -1"):
        make()


def normalised(maps, scale, shift):
    mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
    return scale * (maps - mean) / np.sqrt(variance + 1e-5) + shift


def leaky(maps):
    # TensorFlow keeps the slope in single precision, whatever the maps are.
    return np.where(maps > 0, maps, float(np.float32(0.1)) * maps)


def test_a_block_is_what_it_says(float64):
    generator = np.random.default_rng(0)
    block = ResidualBlock(3, pool=2)
    block.build((None, 5, 6, 2))
    for variable in block.trainable_variables:
        variable.assign(generator.standard_normal(variable.shape))
    inputs = np.random.default_rng(1).standard_normal((4, 5, 6, 2))
    kernels = [convolution.kernel.numpy() for convolution in block.convolutions]
    norms = [(norm.scale.numpy(), norm.shift.numpy()) for norm in block.normalisations]
    maps = inputs
    for number, (kernel, norm) in enumerate(zip(kernels, norms, strict=True)):
        maps = normalised(tf.nn.conv2d(leaky(maps) if number else maps, kernel, 1, "SAME").numpy(), *norm)
    norm = block.shortcut_normalisation
    past = tf.nn.conv2d(inputs, block.shortcut.kernel.value, 1, "SAME").numpy()
    past = normalised(past, norm.scale.numpy(), norm.shift.numpy())
    outputs = leaky(maps + past)[:, :4].reshape(4, 2, 2, 3, 2, 3).max((2, 4))
    np.testing.assert_allclose(block(inputs), outputs, rtol=1e-10, atol=1e-10)


def test_a_block_is_made_again_from_its_configuration():
    block = ResidualBlock(3, "support", 2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert (again.filters, again.normalisation, again.pool) == (3, "support", 2)
    assert all(norm.mode == "support" for norm in (*again.normalisations, again.shortcut_normalisation))


def expected_parameters(filters, channels, outputs):
    total, before = 0, channels
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        total += 9 * before * width + 2 * 9 * width * width + before * width + 4 * 2 * width
        before = width
    return total + before * outputs + outputs


def test_its_size():
    assert expected_parameters(64, 3, WAYS) == 7_999_365
    learner = resnet12(WAYS, (32, 32, 3), filters=8)
    assert count_parameters(tuple(learner.variables)) == expected_parameters(8, 3, WAYS)
    assert learner.example_features.shape == (2, 4, 4, 64)
    term = CoLearner(resnet12_co_learner(WAYS, filters=8), Classification(WAYS))
    term.build(learner)
    assert count_parameters(term.variables) == 2 * (9 * 64 * 64 + 64 + 2 * 64) + 64 * WAYS + WAYS


def test_statistics_of_the_support_set_follow_the_task():
    learner = resnet12(3, (16, 16, 1), filters=1, normalisation="support")
    threaded = tf.nest.flatten(tuple(learner.threaded_state()))
    assert len(threaded) == 4 * 4 * 2 and all(threaded)
    images = np.random.default_rng(0).random((6, 16, 16, 1), np.float32)
    parameters, state = learner.initial()
    after = learner.call(parameters, state, images, (), True).state
    alone = [learner.call(parameters, after, images[[number]], (), False).outputs[0] for number in range(6)]
    together = learner.call(parameters, after, images, (), False).outputs
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


LEARNERS = {
    "conv4": lambda **start: conv4(5, (28, 28, 3), 16, extra_blocks=1, head_blocks=1, **start),
    "resnet12": lambda **start: resnet12(5, (16, 16, 3), 4, **start),
    "mlp": lambda **start: mlp(5, (20,), (50, 40), **start),
    "gcn": lambda **start: gcn(5, 30, (40, 20), **start),
    "sgc": lambda **start: sgc(5, 30, 40, **start),
}
CO_LEARNERS = {
    "conv4": (lambda **start: conv4_co_learner(5, 16, **start), (2, 7, 7, 16)),
    "resnet12": (lambda **start: resnet12_co_learner(5, 4, **start), (2, 4, 4, 32)),
    "mlp": (lambda **start: mlp_co_learner(5, 40, **start), (2, 40)),
}


def variables_of(name: str, part: str, **start) -> list[keras.Variable]:
    """All variables of a learner, or of the co-learner that goes with it, in order."""
    keras.utils.set_random_seed(0)
    if part == "learner":
        return [*LEARNERS[name](**start).variables.extractor, *LEARNERS[name](**start).variables.head]
    make, features = CO_LEARNERS[name]
    layer = make(**start)
    layer(np.zeros(features, "float32"))
    return layer.trainable_variables


PARTS = [(name, "learner") for name in LEARNERS] + [(name, "co_learner") for name in CO_LEARNERS]


def kernels_and_biases(variables):
    """Pairs of a kernel and the bias that follows it; None where a layer has none or adds none (`idle_bias`)."""
    named = [variable for variable in variables if not variable.path.endswith(("scale", "shift"))]
    for position, variable in enumerate(named):
        if variable.name.startswith("kernel"):
            follower = named[position + 1] if position + 1 < len(named) else None
            biased = follower is not None and follower.name.startswith("bias") and "convolution" not in follower.path
            yield variable.numpy(), follower.numpy() if biased else None


of_parts = pytest.mark.parametrize(("name", "part"), PARTS)


@of_parts
def test_uniform_kernels_fill_their_bounds_and_no_more(name, part):
    for kernel, bias in kernels_and_biases(variables_of(name, part, initialisation="fan_in_uniform")):
        bound = np.prod(kernel.shape[:-1]) ** -0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert abs(kernel.std() / (bound / 3**0.5) - 1.0) < 0.1 and abs(kernel.mean()) < 0.2 * bound
        assert bias is None or 0.3 * bound < np.abs(bias).max() <= bound
    for kernel, bias in kernels_and_biases(variables_of(name, part, initialisation="glorot_uniform")):
        bound = (6.0 / (np.prod(kernel.shape[:-2]) * (kernel.shape[-2] + kernel.shape[-1]))) ** 0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert bias is None or not bias.any()


@of_parts
def test_zero_head_begins_with_equal_outputs_and_with_co_learners_that_say_something(name, part):
    *others, (kernel, bias) = kernels_and_biases(variables_of(name, part, initialisation="zero_head"))
    assert kernel.any() == bias.any() == (part == "co_learner")
    for kernel, bias in others:
        assert kernel.any() and (bias is None or bias.any())


@of_parts
def test_every_layer_draws_numbers_of_its_own_and_a_seed_repeats_them(name, part):
    first, second = (variables_of(name, part) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    kernels = [kernel.tobytes() for kernel, _ in kernels_and_biases(first)]
    assert len(set(kernels)) == len(kernels)


@of_parts
def test_an_unknown_name_is_refused_with_the_known_ones(name, part):
    with pytest.raises(ValueError, match=rf"must be one of {', '.join(INITIALISATIONS)}, received 'he_normal'"):
        variables_of(name, part, initialisation="he_normal")


def test_prototypes_have_no_weights_to_begin_at_zero():
    with pytest.raises(ValueError, match="must not be zero_head with prototypes"):
        gcn(5, 30, head="prototypes", initialisation="zero_head")


def test_a_linear_layer_survives_keras_serialisation():
    layer = linear(3, "fan_in_uniform")
    layer.build((None, 4))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(again, Linear) and again.bias_begins_as_kernel
    again.set_weights(layer.get_weights())
    inputs = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(again(inputs), layer(inputs))


@pytest.mark.parametrize("name", ["conv4", "resnet12", "gcn", "sgc"])
def test_extractors_remember_what_they_began_with(name):
    learner = LEARNERS[name](initialisation="glorot_uniform")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(learner.extractor))
    assert again.get_config() == learner.extractor.get_config()
