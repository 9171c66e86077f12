"""Mapping a function of one task over the task axis of a meta-batch: in a loop, or all at once where a method can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cml_tf.episodes import Episode
from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.initialisation import Linear
from cml_tf.learners.layers.task_axis import tasks_at_once
from cml_tf.learners.normalisation.layer import Normalisation
from cml_tf.training.method import Method

# Small operations leave cores idle, which a second task can use; large ones do not, and hold their memory twice. The
# bound lies between what was measured: 78,400 values (28x28, 5-way) and 2.1 million (84x84x3) (docs/PERFORMANCE.md).
LARGE_TASK = 2**19


def map_tasks(
    function: Callable[[Episode], Any], episode: Episode, task_chunk: int = 0, vectorised: bool = False
) -> Any:
    """Applies a function of one task to every task and stacks the results on axis 0.

    In a graph the function is traced once, however many tasks there are. No operation ever sees two tasks, so
    neighbours cannot change a result. Gradients must be taken inside of the function: those through the loop would be
    slow.

    Args:
      function: takes an `Episode` without task axis, returns a `tf.nest` structure of tensors.
      episode: a meta-batch; its context has no task axis and is handed on as it is.
      task_chunk: how many tasks may be in work at a time; memory grows with it. 0 chooses.
      vectorised: instead, all tasks at once, every operation with a task axis: quicker for small dense layers, and on
        devices with more cores than one task can use. Meta-batches with a mask are worked on task by task.
    """
    mapped = (episode.support, episode.query, episode.key, episode.classes)

    def one(parts: Any) -> Any:
        support, query, key, classes = parts
        return function(Episode(support.counted(), query.counted(), episode.context, key, classes))

    if vectorised and not is_masked(episode):
        # What has no batched form (in a rule or a loss of somebody's own) is done task by task.
        with tasks_at_once():
            return tf.vectorized_map(one, mapped, fallback_to_while_loop=True)
    if tf.executing_eagerly():
        count = len(tf.nest.flatten(mapped)[0])
        # As tf.function does with its arguments.
        mapped = tf.nest.map_structure(tf.convert_to_tensor, mapped)
        results = [one(tf.nest.map_structure(lambda tensor, i=i: tensor[i], mapped)) for i in range(count)]
        return tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *results)
    specifications = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), mapped)
    traced = tf.function(one, autograph=False).get_concrete_function(specifications)
    signature = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), traced.structured_outputs)
    return tf.map_fn(
        lambda parts: tf.nest.pack_sequence_as(signature, tf.nest.flatten(traced(*tf.nest.flatten(parts)))),
        mapped,
        fn_output_signature=signature,
        parallel_iterations=task_chunk or tasks_at_a_time(specifications),
    )


def is_masked(episode: Episode) -> bool:
    """Whether tasks of a meta-batch may have different numbers of examples."""
    return not all(isinstance(part.mask, tuple) for part in (episode.support, episode.query))


def tasks_at_a_time(task: Any) -> int:
    """How many tasks keep two cores busy: 2, but 1 where the inputs and targets of one hold `LARGE_TASK` values.

    Args:
      task: a structure of tensors or `tf.TensorSpec`s of one task.
    """
    values = sum(part.shape.num_elements() or 0 for part in tf.nest.flatten(task))
    return 1 if values >= LARGE_TASK else 2


# Their operations have a batched form, and are so small that starting them is what takes the time.
_DENSE = (
    keras.Sequential,
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Flatten,
    keras.layers.Activation,
    Linear,
)


# Theirs have one that is for devices with more cores than one task can use (docs/REPLICAS.md).
_CONVOLUTIONAL = (Convolution, Normalisation, keras.layers.MaxPooling2D)


def can_be_vectorised(method: Method, convolutions: bool = False) -> bool:
    """Whether all layers are dense, and the rule and the terms say that they can.

    Args:
      method: to be looked at.
      convolutions: whether layers may be those of convolutional learners, too.
    """
    if not (method.rule.vectorisable and all(term.vectorisable for term in method.terms)):
        return False
    roots = [method.learner.extractor, method.learner.head, *(term.layer for term in method.terms)]
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    layers = [layer for root in roots if root is not None for layer in root._flatten_layers()]
    known = (*_DENSE, *_CONVOLUTIONAL) if convolutions else _DENSE
    return all(type(layer) in known for layer in layers)
