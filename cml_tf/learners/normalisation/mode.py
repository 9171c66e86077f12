"""What a mode of normalisation is: where its statistics come from, and what the framework must know of that.

A mode is one file in `modes/`, which registers it. Nobody asks which mode a layer has; modes say of themselves what
follows from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import keras
import tensorflow as tf

from cml_tf.learners.layers.convolution import has_kernels, normalised, widened
from cml_tf.learners.layers.derivative_order import differentiated_twice
from cml_tf.learners.normalisation.fused import Windows, affine_relu, standardised_pool


class Normalising(Protocol):
    """What a mode sees of its layer: `Normalisation`, whose variables it makes."""

    epsilon: float
    relu: bool
    pool: int
    steps: int
    groups: int
    scale: keras.Variable
    shift: keras.Variable

    def add_weight(self, **options: Any) -> keras.Variable:
        """As of any Keras layer."""


class Mode(ABC):
    """Arithmetic of a layer, whose variables and options it is given: a mode itself holds nothing.

    Attributes:
      text: where the statistics come from, in one line.
      threads_state: whether the layer has state that follows the task.
      follows_parameters: whether that state is of certain parameters, and out of date once they are updated.
      counts_steps: whether that state is the number of passes over the support set.
      joins_queries: whether the outputs of a query depend on the queries that are asked with it.
      standardises: whether the length of what comes in, and a bias before it, are taken out again.
      needs_pixels: whether an example needs several pixels a channel.
    """

    text: str
    threads_state = False
    follows_parameters = False
    counts_steps = False
    joins_queries = False
    standardises = True
    needs_pixels = False

    def build(self, layer: Normalising, shape: tuple[int | None, ...]) -> None:
        """Makes one scale and one shift a channel.

        Args:
          layer: gets the variables as attributes.
          shape: of what comes in.

        Raises:
          ValueError: for a shape that the mode cannot normalise.
        """
        layer.scale = layer.add_weight(initializer="ones", name="scale", **channels(shape))
        layer.shift = layer.add_weight(initializer="zeros", name="shift", **channels(shape))

    def outer_variables(self, layer: Normalising) -> tuple[keras.Variable, ...]:
        """The weights that the outer loop alone learns: no inner step moves them."""
        return ()

    @abstractmethod
    def call(self, layer: Normalising, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises `[..., channels]` of one task; then what the layer's `pool` and `relu` ask for.

        Args:
          layer: whose variables are read, and whose state is assigned.
          inputs: a batch of one task.
          training: True on support sets.
        """


_MODES: dict[str, Mode] = {}
MODES: Mapping[str, Mode] = MappingProxyType(_MODES)
"""The modes by name."""

_Made = TypeVar("_Made", bound=type[Mode])


def register_mode(name: str) -> Any:
    """Registers the mode that it decorates under a name that configurations may have."""

    def decorate(mode: _Made) -> _Made:
        _MODES[name] = mode()
        return mode

    return decorate


def channels(shape: tuple[int | None, ...]) -> dict[str, Any]:
    """Options of a weight with one value a channel."""
    # Never rounded to half precision: there is one of each a channel, and sums over whole maps meet them.
    return {"shape": (shape[-1],), "autocast": False}


def sign_of(scale: tf.Tensor) -> tf.Tensor:
    """1 and -1, `[channels]`, a constant: maps are turned over where the scale is negative, and pooled before it."""
    return tf.stop_gradient(tf.where(scale < 0, -tf.ones_like(scale), tf.ones_like(scale)))


def by_own_statistics(layer: Normalising, inputs: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """The outputs under the statistics of the very batch, in the form that is quickest to differentiate."""
    if has_kernels(inputs) and not differentiated_twice():
        return pooled_relu(layer, normalised(inputs, scale, shift, layer.epsilon))
    sign = sign_of(scale)
    pooled = standardised_pool(inputs, sign, layer.epsilon, layer.pool)
    return affine_relu(pooled.maps, sign * scale, shift, layer.relu)


def by_moments(layer: Normalising, inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """The outputs under given moments, `[examples, 1, ..., channels]`, float32 at least."""
    scale, shift = tf.convert_to_tensor(layer.scale), tf.convert_to_tensor(layer.shift)
    sign = sign_of(scale)
    largest = Windows(widened(inputs) * sign, layer.pool).largest
    outputs = (largest * sign - mean) * (scale * tf.math.rsqrt(variance + layer.epsilon)) + shift
    return tf.cast(tf.nn.relu(outputs) if layer.relu else outputs, inputs.dtype)


def moments(maps: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance (of the population) over some axes, which stay with size 1."""
    # Not tf.nn.moments, whose second derivative is wrong (`check_second_derivatives`).
    mean = tf.reduce_mean(maps, axes, keepdims=True)
    return mean, tf.reduce_mean(tf.square(maps - mean), axes, keepdims=True)


def pooled_relu(layer: Normalising, outputs: tf.Tensor) -> tf.Tensor:
    """What the layer's `pool` and `relu` make of normalised maps."""
    largest = Windows(outputs, layer.pool).largest
    return tf.nn.relu(largest) if layer.relu else largest
