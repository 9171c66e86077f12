"""What is checked of a request before any layer sees it, and of each task before it is adapted to.

TensorFlow Serving compares names and dtypes only, and a tensor of wrong rank in a convolution ends the whole server.
So shapes are checked here, first of all, by an operation that the optimiser leaves in place; a wrong one is an error of
the request. Values are another matter: they give the task at fault a status.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from export import status


def checked_shapes(
    inputs: Mapping[str, tf.Tensor], specifications: Mapping[str, tf.TensorSpec]
) -> dict[str, tf.Tensor]:
    """The inputs of a request, whose ranks, fixed sizes and number of tasks are what the signature says.

    Raises:
      tf.errors.InvalidArgumentError: at run time, for any other shape. `tf.map_fn` would leave tasks out without a word
        when one input had fewer of them.
    """
    shaped = {name: tf.ensure_shape(tensor, specifications[name].shape) for name, tensor in inputs.items()}
    names = sorted(shaped)
    tasks = [tf.shape(shaped[name])[0] for name in names]
    described = [part for name, count in zip(names, tasks, strict=True) for part in (f" {name}: ", count)]
    same = tf.reduce_all([tf.equal(count, tasks[0]) for count in tasks])
    checks = [
        tf.debugging.Assert(
            same,
            ["all inputs must contain the same number of tasks on axis 0, received", *described],
            len(described) + 1,
        ),
        tf.debugging.Assert(tasks[0] > 0, ["a request must contain at least one task on axis 0, received none"]),
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(tensor) for name, tensor in shaped.items()}


def any_of(*parts: Mapping[int, tf.Tensor]) -> dict[int, tf.Tensor]:
    """All faults of the parts of a task, by status: one of them is enough."""
    faults: dict[int, tf.Tensor] = {}
    for part in parts:
        for code, holds in part.items():
            faults[code] = faults[code] | holds if code in faults else holds
    return faults


def first_fault(faults: Mapping[int, tf.Tensor]) -> tf.Tensor:
    """The status of a task: of those that hold (scalar booleans), the one that precedes, or `OK`."""
    result = tf.constant(status.OK)
    for code in reversed(status.PRECEDENCE):
        if code in faults:
            result = tf.where(faults[code], code, result)
    return result


def finite(tensor: tf.Tensor) -> tf.Tensor:
    """Whether no value is NaN or infinite, a scalar; True for an empty tensor."""
    return tf.reduce_all(tf.math.is_finite(tensor))
