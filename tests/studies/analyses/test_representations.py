"""Representations are what the layers make of the queries under a task's own parameters."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner, conv4
from cml_tf.problems import Classification
from cml_tf.studies.analyses.representations import representations
from tests.helpers.models import MLP_SHAPE, randomise, smooth_mlp, two_headed
from tests.helpers.nodes import WAYS, node_episode, random_gcn, random_sgc
from tests.helpers.seeded_episodes import classification_episode, one_task


def path_of(learner, task, ways=3, steps=2):
    rule = GradientDescent(Classification(ways), SGD(0.3), steps)
    return rule.adapt(learner, rule.initial(learner), task.support, task.context).path


def test_perceptrons_by_hand_before_and_after_adaptation(float64):
    task = one_task(classification_episode(shape=MLP_SHAPE), 0)
    for place in path_of(smooth_mlp(), task)[::2]:
        first, first_bias, second, second_bias = place.parameters.extractor
        one = np.tanh(task.query.inputs @ first + first_bias)
        two = np.tanh(one @ second + second_bias)
        kernel, bias = place.parameters.head
        found = representations(place, task.query.inputs)
        assert list(found) == ["dense 1", "dense 2", "head"]
        for received, expected in zip(found.values(), (one, two, two @ kernel + bias), strict=True):
            np.testing.assert_allclose(received, expected, rtol=1e-12)


@pytest.mark.parametrize("normalisation", ["batch_transductive", "support"])
def test_blocks_of_conv4_are_taken_after_normalisation_and_pool(normalisation):
    learner = conv4(3, (16, 16, 1), filters=2, normalisation=normalisation)
    task = one_task(classification_episode(shape=(16, 16, 1)), 0)
    before, after = path_of(learner, task, steps=1)
    found = representations(after, task.query.inputs)
    assert [tuple(value.shape) for value in found.values()] == [
        (6, 8, 8, 2), (6, 4, 4, 2), (6, 2, 2, 2), (6, 2, 2, 2), (6, 3)
    ]  # fmt: skip
    assert list(found) == [*(f"convolution {number}" for number in range(1, 5)), "head"]
    features, outputs = after.predict(task.query.inputs)
    np.testing.assert_allclose(found["convolution 4"], features, atol=1e-6)
    np.testing.assert_allclose(found["head"], outputs, atol=1e-5)
    assert all(np.min(found[name]) >= 0 for name in list(found)[:-1])
    assert np.abs(found["convolution 1"] - representations(before, task.query.inputs)["convolution 1"]).max() > 1e-4


@pytest.mark.parametrize("make", [random_gcn, random_sgc, lambda: random_gcn("prototypes", matching=True)])
def test_learners_of_nodes(float64, make):
    learner = make()
    task = one_task(node_episode(), 0)
    after = path_of(learner, task, WAYS, steps=1)[-1]
    found = representations(after, task.query.inputs)
    features, outputs = after.predict(task.query.inputs)
    *layers, head = found.values()
    np.testing.assert_allclose(layers[-1], features, rtol=1e-12)
    np.testing.assert_allclose(head, outputs, rtol=1e-12)
    if len(layers) > 1:
        # What the first of two layers hands on is that of a network of this layer alone, then ReLU.
        shallow = learner.extractor._layer(0, task.query.inputs, task.context)
        assert layers[0].shape == shallow.shape and np.min(layers[0]) == 0.0


def test_the_first_of_two_heads_is_read(float64):
    task = one_task(classification_episode(shape=MLP_SHAPE), 0)
    place = path_of(two_headed(smooth_mlp()), task)[-1]
    first, _ = place.predict(task.query.inputs)[1]
    np.testing.assert_allclose(representations(place, task.query.inputs)["head"], first, rtol=1e-12)


def test_other_extractors_show_their_output_alone():
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(3, activation="tanh")(inputs)
    extractor = keras.Model(inputs, keras.layers.Add()([hidden, keras.layers.Dense(3)(hidden)]))
    learner = Learner(extractor, keras.layers.Dense(3), input_shape=(2,))
    randomise(learner, 0)
    task = one_task(classification_episode(shape=(2,)), 0)
    place = path_of(learner, task)[-1]
    found = representations(place, task.query.inputs)
    assert list(found) == ["features", "head"]
    np.testing.assert_allclose(found["features"], place.predict(task.query.inputs)[0], rtol=1e-6)
    assert isinstance(found["features"], tf.Tensor)
