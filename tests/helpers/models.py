"""Tiny learners: smooth ones for finite differences, and seeded values for all their variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.learners import Learner, Normalisation, ResidualBlock, TwoHeads, mlp, mlp_co_learner
from cml_tf.objectives import CoLearner
from cml_tf.problems import Problem

MLP_SHAPE = (2,)
CONV_SHAPE = (5, 5, 1)
SERIES_SHAPE = (3, 2)
TOKENS, TOKENS_SHAPE = 5, (3,)


def smooth_mlp(outputs: int = 3, seed: int = 0) -> Learner:
    """2-4-3-outputs with tanh: differentiable as often as one likes."""
    learner = mlp(outputs, MLP_SHAPE, hidden=(4, 3), activation="tanh")
    randomise(learner, seed)
    return learner


def smooth_conv(outputs: int = 3, seed: int = 0, mode: str = "batch_transductive", steps: int = 1) -> Learner:
    """Convolution, normalisation, softplus and average-pool, with a linear head on 5x5 images."""
    extractor = keras.Sequential(
        [
            keras.layers.Conv2D(2, 3, padding="same"),
            Normalisation(mode, steps=steps, groups=2),
            keras.layers.Activation("softplus"),
        ],
        name="extractor",
    )
    head = keras.Sequential(
        [keras.layers.AveragePooling2D(2), keras.layers.Flatten(), keras.layers.Dense(outputs)], name="head"
    )
    learner = Learner(extractor, head, input_shape=CONV_SHAPE)
    randomise(learner, seed)
    return learner


def residual_block(outputs: int = 3, seed: int = 0) -> Learner:
    """One of ResNet-12's blocks, with a linear head on 5x5 images."""
    head = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(outputs)], name="head")
    learner = Learner(ResidualBlock(2, name="extractor"), head, input_shape=CONV_SHAPE)
    randomise(learner, seed)
    return learner


@keras.saving.register_keras_serializable("tests")
class Rows(keras.layers.Layer):
    """Adds rows of a table of its own, read by `tf.gather`, to what comes in."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes the table, a row for each token."""
        self.table = self.add_weight(shape=(TOKENS, shape[-1]), name="table")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Features `[examples, width]` and the row of their largest one."""
        return features + tf.gather(self.table, tf.argmax(features, -1) % TOKENS)


def embedding(outputs: int = 3, seed: int = 0) -> Learner:
    """Tokens, read from two tables: Keras' and one of a layer of one's own."""
    layers = [
        keras.layers.Embedding(TOKENS, 2),
        keras.layers.Flatten(),
        Rows(),
        keras.layers.Dense(4, activation="tanh"),
    ]
    learner = Learner(
        keras.Sequential(layers, name="extractor"),
        keras.layers.Dense(outputs),
        example_inputs=np.zeros((2, *TOKENS_SHAPE), np.int32),
    )
    randomise(learner, seed)
    return learner


def recurrent(outputs: int = 3, seed: int = 0) -> Learner:
    """A GRU over three steps, with a linear head."""
    learner = Learner(keras.layers.GRU(3), keras.layers.Dense(outputs), input_shape=SERIES_SHAPE)
    randomise(learner, seed)
    return learner


def two_headed(learner: Learner, outputs: int = 3, seed: int = 0) -> Learner:
    """CL's learner: the same extractor with a linear head and a co-learner's layers as a second one."""
    first = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(outputs)], name="first")
    second = keras.Sequential([keras.layers.Flatten(), *mlp_co_learner(outputs, 3, "tanh").layers], name="second")
    heads = TwoHeads(first, second)
    both = Learner(learner.extractor, heads, example_inputs=learner.example_inputs, context=learner.context)
    randomise(both, seed)
    return both


def smooth_co_learner(
    problem: Problem, name: str = "co_learner", weight: float = 0.7, prefix: str = "co_"
) -> CoLearner:
    """One hidden tanh layer on flattened features."""
    layers = [keras.layers.Flatten(), *mlp_co_learner(problem.outputs, 3, "tanh").layers]
    return CoLearner(keras.Sequential(layers, name=name), problem, name=name, weight=weight, prefix=prefix)


def two_blocks(make: Callable[..., Learner], outputs: int, shape: tuple[int, ...], *arguments: Any) -> Learner:
    """The first and the last block of four, which alone are not alike: it is pooled, and its map is not."""
    layers = make(outputs, (16, 16, shape[-1]), *arguments).extractor.layers
    blocks = [*layers[: (len(layers) + 1) // 4], *layers[-(len(layers) // 4) :]]
    head = keras.Sequential([keras.layers.MaxPooling2D(2), keras.layers.Flatten(), keras.layers.Dense(outputs)])
    return Learner(keras.Sequential(blocks), head, input_shape=shape)


def randomise(owner: Learner | Iterable[keras.Variable], seed: int, scale: float = 0.5) -> None:
    """Seeded values everywhere, so that no zero or one that an initialiser left can hide a mistake."""
    variables = [*owner.variables.extractor, *owner.variables.head] if isinstance(owner, Learner) else list(owner)
    generator = np.random.default_rng(seed)
    for variable in variables:
        centre = 1.0 if variable.name == "scale" else 0.0
        variable.assign(centre + scale * generator.standard_normal(variable.shape))
