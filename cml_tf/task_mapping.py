"""Mapping a function of one task over the task axis of a meta-batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cml_tf.episodes import Episode


def map_tasks(function: Callable[[Episode], Any], episode: Episode) -> Any:
    """Applies a function of one task to every task and stacks the results on axis 0.

    The tasks are unrolled when their number is known while tracing, since independent operations then run side by side;
    otherwise they go through `tf.map_fn`. No operation ever sees two tasks, so neighbours cannot change a result.

    Args:
      function: takes an `Episode` without task axis, returns a `tf.nest` structure of tensors.
      episode: a meta-batch; its context has no task axis and is handed on as it is.
    """
    mapped = (episode.support, episode.query)
    tasks = tf.nest.flatten(mapped)[0].shape[0]

    def one(parts: Any) -> Any:
        support, query = parts
        return function(Episode(support, query, episode.context))

    if tasks is None:
        return tf.map_fn(one, mapped, fn_output_signature=_signature(one, mapped))
    results = [one(tf.nest.map_structure(lambda tensor, i=i: tensor[i], mapped)) for i in range(tasks)]
    return tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *results)


def _signature(function: Callable[[Any], Any], mapped: Any) -> Any:
    specifications = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), mapped)
    concrete = tf.function(function, autograph=False).get_concrete_function(specifications)
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), concrete.structured_outputs)
