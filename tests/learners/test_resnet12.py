"""ResNet-12: its size, its blocks by an independent definition, half of what it computes at every pool, refusals."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cml_tf.learners import ResidualBlock, count_parameters, resnet12, resnet12_co_learner
from cml_tf.objectives import CoLearner
from cml_tf.problems import Classification

WAYS = 5


def convolved(maps, kernel):
    """Same-padded convolution, by sums."""
    reach = kernel.shape[0] // 2
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = maps.shape[1:3]
    return sum(
        padded[:, row : row + height, column : column + width] @ kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )


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
        maps = normalised(convolved(leaky(maps) if number else maps, kernel), *norm)
    norm = block.shortcut_normalisation
    past = normalised(convolved(inputs, block.shortcut.kernel.numpy()), norm.scale.numpy(), norm.shift.numpy())
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
