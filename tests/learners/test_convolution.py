"""Our convolution is Keras' own, without the operation that makes TensorFlow's graphs cyclic."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.learners import Convolution
from tests.helpers.few_shot import image_trainer
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same", "activation": "relu"},
        {"strides": 2, "use_bias": False},
        {"dilation_rate": 2, "bias_initializer": "random_normal"},
    ],
    ids=str,
)
def test_equals_keras_own(arguments):
    images = np.random.default_rng(0).standard_normal((2, 9, 8, 3)).astype(np.float32)
    keras_own, ours = keras.layers.Conv2D(5, 3, **arguments), Convolution(5, 3, **arguments)
    keras_own(images)
    ours(images)
    ours.set_weights([np.random.default_rng(1).standard_normal(w.shape) for w in keras_own.get_weights()])
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images), keras_own(images), rtol=1e-5, atol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert type(again) is Convolution and again.get_config() == ours.get_config()


def test_follows_its_dtype_policy():
    with precision(policy="mixed_bfloat16"):
        layer = Convolution(2, 3)
        assert layer(np.zeros((1, 5, 5, 1), np.float32)).dtype == tf.bfloat16 and layer.bias.dtype == "float32"


def test_no_bias_of_a_convolution_goes_through_bias_add():
    """Only the linear heads may: a matrix product has no filter gradient that it could be merged with."""
    method = image_trainer(ways=3).method
    task = tf.nest.map_structure(lambda tensor: tensor[0], classification_episode(ways=3, shape=(16, 16, 1), tasks=1))
    losses = tf.function(lambda: method.losses(method.rule.initial(method.learner), method.term_values(), task))
    graph = losses.get_concrete_function().graph
    biases = [operation for operation in graph.get_operations() if operation.type == "BiasAdd"]
    assert biases and all(len(operation.inputs[0].shape) == 2 for operation in biases)
