"""What a learner is built on: an example of its inputs, and of the targets that its head takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.boundary.arrays import described, numeric_array, one_line
from cml_tf.errors import UserError


def as_input_shape(given: Any) -> tuple[int, ...]:
    """The shape of one input, as a tuple.

    Raises:
      UserError: if it is none: a number, or with a size that is not a positive whole number.
    """
    if not isinstance(given, (tuple, list, tf.TensorShape)) or not all(map(_is_size, given)):
        raise UserError(f"input_shape must be a tuple of positive whole numbers, received {given!r}.")
    return tuple(given)


def called(role: str, layer: keras.Layer, inputs: Any, **arguments: Any) -> Any:
    """The outputs of a layer that may not be built yet.

    Raises:
      UserError: in one line, if it cannot take such inputs.
    """
    try:
        return layer(inputs, **arguments)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(
            f"the {role} {layer.name!r} cannot process inputs {described(inputs)}: {one_line(error)}"
        ) from error


def example_inputs_of(input_shape: tuple[int, ...] | None, example_inputs: Any) -> Any:
    """A small batch of inputs, from the shape of one or as it is given.

    Raises:
      UserError: unless one of the two is given, and is such.
    """
    if (input_shape is None) == (example_inputs is None):
        raise UserError(
            "exactly one of input_shape and example_inputs must be passed: Learner builds its layers with it."
        )
    if example_inputs is None:
        return np.zeros((2, *as_input_shape(input_shape)), keras.config.floatx())
    leaves = tf.nest.flatten(example_inputs)
    arrays = [numeric_array(leaf, "example_inputs") for leaf in leaves]
    if not leaves or not all(hasattr(leaf, "shape") and array.size for leaf, array in zip(leaves, arrays, strict=True)):
        raise UserError(
            "example_inputs must be arrays [examples, ...] with at least one example, received "
            f"{described(example_inputs)}."
        )
    return example_inputs


def example_targets_of(head: keras.Layer, features: Any, outputs: Any) -> tf.Tensor:
    """Targets that a head takes: labels, or numbers of the shape of its outputs, which soft labels have too.

    Raises:
      UserError: if it takes neither.
    """
    numbers = tf.zeros_like(tf.nest.flatten(outputs)[0])
    labels = tf.zeros(tf.nest.flatten(features)[0].shape[:1], tf.int32)
    # The head may keep what it makes of them: not from here.
    with keras.StatelessScope():
        try:
            called("head", head, features, training=True, targets=labels)
        except ValueError:
            called("head", head, features, training=True, targets=numbers)
            return numbers
    return labels


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and int(value) > 0
