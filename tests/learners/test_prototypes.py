"""Prototypes: class means of the support set as a head, part of what adaptation learned."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Examples
from cml_tf.learners import Learner, Prototypes
from cml_tf.problems import Classification
from tests.helpers.models import randomise

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.standard_normal((6, 4)).astype(np.float32)
LABELS = np.array([2, 0, 1, 2, 0, 2], np.int32)


def expected_logits(features, prototypes):
    return -((features[:, None] - prototypes[None]) ** 2).sum(-1)


def class_means(features=FEATURES):
    return np.stack([features[way == LABELS].mean(0) for way in range(3)])


def test_logits_are_minus_squared_distances_to_class_means():
    head = Prototypes(3)
    head(FEATURES)
    received = head(FEATURES, training=True, targets=tf.constant(LABELS))
    np.testing.assert_allclose(received, expected_logits(FEATURES, class_means()), rtol=1e-5)
    others = GENERATOR.standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_allclose(head(others), expected_logits(others, class_means()), rtol=1e-5)


def test_soft_labels_weigh_the_examples_and_a_class_without_any_is_at_the_origin():
    head = Prototypes(4)
    hard = head(FEATURES, training=True, targets=tf.constant(LABELS))
    soft = head(FEATURES, training=True, targets=tf.one_hot(LABELS, 4))
    np.testing.assert_allclose(soft, hard, rtol=1e-6)
    np.testing.assert_array_equal(head.prototypes.numpy()[3], np.zeros(4))
    with pytest.raises(ValueError, match="targets must be passed in training"):
        Prototypes(3)(FEATURES, training=True)


def test_the_adapted_task_predicts_with_the_prototypes_of_the_adapted_features():
    learner = Learner(keras.layers.Dense(4, activation="tanh"), Prototypes(3), input_shape=(5,))
    randomise(learner, 0)
    rule = GradientDescent(Classification(3), SGD(0.2), 2)
    rule.build(learner)
    inputs = GENERATOR.standard_normal((6, 5)).astype(np.float32)
    support = Examples(tf.constant(inputs), tf.constant(LABELS))
    initial = rule.initial(learner)
    adapted = rule.adapt(learner, initial, support, ())
    features, outputs = adapted.predict(support.inputs)
    np.testing.assert_allclose(outputs, expected_logits(features.numpy(), class_means(features.numpy())), rtol=1e-4)
    assert np.abs(adapted.parameters.extractor[0] - initial.parameters.extractor[0]).max() > 1e-3
    again = rule.unpack(learner, initial, adapted.pack(), ())
    np.testing.assert_array_equal(again.predict(support.inputs)[1], outputs)


def test_gradients_reach_the_features_through_the_prototypes(float64):
    head = Prototypes(3, dtype="float64")
    features = tf.constant(FEATURES, tf.float64)
    head(features)

    def loss(features):
        logits = head(features, training=True, targets=tf.constant(LABELS))
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.constant(LABELS), logits))

    theoretical, numerical = tf.test.compute_gradient(loss, [features], delta=1e-5)
    np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-6, atol=1e-8)
