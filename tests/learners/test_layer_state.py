"""Layers with state or chance: refused by name exactly where they would do harm, whatever holds the state."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.trainer import Trainer
from tests.helpers.seeded_episodes import classification_episode

K = keras.layers
SERIES, IMAGE = (3, 2), (6, 6, 1)
SHARED, SHARED_BY_KERAS = tf.Variable(1.0, name="shared"), keras.Variable(1.0, name="shared_by_keras")


class Box:
    """An object that Keras does not look into."""

    def __init__(self, content):
        self.content = content


class Holding(keras.layers.Layer):
    """Hands its inputs on and keeps something."""

    def __init__(self, content):
        super().__init__(name="holding")
        self.content = content

    def call(self, inputs):
        return inputs


class Doing(keras.layers.Layer):
    """Does something with its inputs, and has a state and a weight."""

    def __init__(self, function, **content):
        super().__init__(name="doing")
        self.function = function
        for name, value in content.items():
            setattr(self, name, value)

    def build(self, shape):
        self.state = self.add_weight(shape=(), trainable=False, initializer="ones", name="state")
        self.weight = self.add_weight(shape=(), initializer="ones", name="weight")

    def call(self, inputs, training=False):
        return self.function(self, inputs * self.weight, training)


class Nested(keras.Model):
    """A subclassed model with the layer in question deep inside."""

    def __init__(self, layer):
        super().__init__()
        self.block = keras.Sequential([K.Dense(4), keras.Sequential([layer])])

    def call(self, inputs, training=False):
        return self.block(inputs, training=training)


def table():
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)


def with_set(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def learner(layer, shape=SERIES, head=()):
    return Learner(
        keras.Sequential([layer, K.Flatten(), K.Dense(4)]), keras.Sequential([*head, K.Dense(3)]), input_shape=shape
    )


def times(variable):
    return K.Lambda(lambda inputs: inputs * variable)


def counts_when_asked(layer, inputs, training):
    if not training:
        layer.state.assign_add(1.0)
    return inputs


def measures(layer, inputs, training):
    layer.mean.update_state(inputs)
    return inputs


def python(layer, inputs, training):
    return tf.ensure_shape(tf.numpy_function(np.copy, [inputs], inputs.dtype), inputs.shape)


SEEDS = keras.random.SeedGenerator
DRAWS, RUNNING = r"^layer '\w+' \(\w+\) draws random numbers.*remove", r"\(\w+\) has running state"
REFUSED = {
    "frozen Dropout": (lambda: with_set(K.Dropout(0.5), trainable=False), DRAWS),
    "Dropout deep inside": (lambda: Nested(K.Dropout(0.5)), DRAWS),
    "a rate that was set": (lambda: with_set(K.Dropout(0.2), rate=0.5), DRAWS),
    "GRU between steps": (lambda: K.GRU(2, recurrent_dropout=0.5), DRAWS),
    "RNN": (lambda: K.RNN([K.GRUCell(2), K.LSTMCell(2, dropout=0.1)]), DRAWS),
    "Keras' numbers": (lambda: Doing(lambda self, x, _: x + keras.random.normal(keras.ops.shape(x))), DRAWS),
    "seeds": (lambda: Doing(lambda self, x, _: x + keras.random.normal((), seed=self.s), s=SEEDS(0)), DRAWS),
    "hidden seeds": (
        lambda: Doing(lambda self, x, _: x + keras.random.normal((), seed=self.b.content), b=Box(SEEDS(0))),
        DRAWS,
    ),
    "in training only": (lambda: Doing(lambda self, x, training: tf.nn.dropout(x, 0.5) if training else x), DRAWS),
    "when asked only": (lambda: Doing(lambda self, x, training: x if training else tf.random.shuffle(x)), DRAWS),
    "Lambda": (lambda: K.Lambda(lambda x: x + tf.random.uniform(())), DRAWS),
    "BatchNormalization": (K.BatchNormalization, RUNNING + ".*Normalisation instead.*trainable = False"),
    "deep inside": (lambda: Nested(K.BatchNormalization()), RUNNING),
    "SpectralNormalization": (lambda: K.SpectralNormalization(K.Dense(4)), "has running state|draws random numbers"),
    "a running mean": (lambda: Doing(lambda self, x, _: x - self.state.assign(2.0)), RUNNING),
    "a frozen one": (lambda: with_set(Doing(counts_when_asked), trainable=False), RUNNING),
    "a dictionary": (lambda: Holding({"a": {"b": tf.Variable(1.0)}}), "has a tf.Variable in 'content.a.b'"),
    "an object": (lambda: Holding(Box((0, tf.Variable(1.0)))), r"'content.content\[1\]'"),
    "a module": (lambda: Holding(with_set(tf.Module(), variable=tf.Variable(1.0))), "'content.variable'"),
    "Keras' variable in an object": (lambda: Holding(Box(keras.Variable(1.0))), "a keras.Variable that Keras does not"),
    "a lookup table": (lambda: Holding(table()), "has a lookup table in 'content'.*before making episodes"),
    "Keras' lookup": (lambda: K.IntegerLookup(vocabulary=[1, 2]), r"\(IntegerLookup\) has a lookup table"),
    "a generator": (lambda: Holding(tf.random.Generator.from_seed(0)), "has a tf.random.Generator"),
    "a closure": (lambda: times(tf.Variable(1.0)), r"\(Lambda\) has a tf.Variable in 'function.variable'"),
    "an activation": (lambda: K.Dense(2, activation=times(tf.Variable(1.0)).function), "in 'activation.variable'"),
    "a global": (lambda: Doing(lambda self, x, _: x * SHARED), r"\(Doing\) uses shared:0, which it does not own"),
    "Keras' global": (lambda: Doing(lambda self, x, _: x * SHARED_BY_KERAS), "uses shared_by_keras:0"),
    "a hidden layer": (lambda: Doing(lambda self, x, _: self.box.content(x), box=Box(K.Dense(2))), "uses .*kernel"),
    "stateful inside": (lambda: K.Bidirectional(K.GRU(2, stateful=True)), r"continues from .*stateful=False"),
    "weights": (lambda: Doing(lambda self, x, _: x * self.weight.assign(2.0)), "assigns weights in its call"),
    "a metric": (lambda: Doing(measures, mean=keras.metrics.Mean()), "updates a metric in its call"),
    "Python": (lambda: Doing(python), "runs Python inside the graph"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_chance_and_state_out_of_sight_are_refused_by_name(make, message):
    with pytest.raises(UserError, match=message) as refusal:
        learner(make())
    assert str(refusal.value).startswith("layer '") and "\n" not in str(refusal.value)


def of_co_learner(layer):
    CoLearner(keras.Sequential([layer, K.Dense(3)]), Classification(3)).build(learner(K.Dense(2)))


def test_every_part_is_looked_at():
    for use in (lambda layer: learner(K.Dense(4), head=[layer]), of_co_learner):
        with pytest.raises(UserError, match=r"\(Dropout\) draws random numbers"):
            use(K.Dropout(0.1))
    with pytest.raises(UserError, match=r"\(RandomRotation\) draws random numbers"):
        learner(K.RandomRotation(0.1), IMAGE)


WELCOME = {
    "cells": (lambda: K.RNN([K.GRUCell(2), K.LSTMCell(2)]), SERIES),
    "ConvLSTM1D": (lambda: K.ConvLSTM1D(1, 2), (2, 4, 1)),
    "Dropout set to 0": (lambda: with_set(K.Dropout(0.5), rate=0.0), SERIES),
    "constant state": (lambda: Doing(lambda self, x, _: x * self.state), SERIES),
    "numbers with a seed": (lambda: Doing(lambda self, x, _: x + tf.random.stateless_normal((), [1, 2])), SERIES),
    "constants": (lambda: Holding({"a": [np.ones(3), tf.constant(1.0)], "b": Box("text")}), SERIES),
    "Normalization of a mean": (lambda: K.Normalization(mean=1.0, variance=2.0), SERIES),
    "Resizing": (lambda: K.Resizing(4, 4), IMAGE),
}


@pytest.mark.parametrize(("make", "shape"), WELCOME.values(), ids=WELCOME)
def test_what_does_no_harm_is_welcome(make, shape):
    made = learner(make(), shape)
    # Seeds that nothing draws from are no state of a task.
    assert all("seed" not in variable.path for variable in tf.nest.flatten(tuple(made.state_variables)))


def test_a_rate_that_is_raised_afterwards_is_refused_before_it_acts():
    dropout, problem = with_set(K.Dropout(0.5), rate=0.0), Classification(3)
    trainer = Trainer(learner(dropout), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem)
    dropout.rate = 0.5
    with pytest.raises(UserError, match=r"\(Dropout\) draws random numbers"):
        trainer.fit([classification_episode(shape=SERIES)], 1, verbose=0)
