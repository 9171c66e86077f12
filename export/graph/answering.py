"""The answers to the queries of one adapted task: none, all at once, or block by block in the memory of some."""

from __future__ import annotations

import math

import tensorflow as tf

from export.graph.exportable import Adapted, Exportable
from export.requests.form import Tensors

# Of queries that are answered block by block: as many as have so many values, 334 images of 28x28.
_VALUES_IN_A_BLOCK, _FEWEST_IN_A_BLOCK = 2**18, 16


def answers_of(model: Exportable, adapted: Adapted, query: tf.Tensor) -> Tensors:
    """What the queries of a task are answered, by name, also where there are none.

    Args:
      model: what is served.
      adapted: the task; one without a summary is told nothing of confidence.
      query: `[queries, ...]`.
    """
    # Layers are never called without examples: statistics of nothing are NaN, and kernels may refuse it.
    some = tf.shape(query)[0] > 0
    specs = _specifications(model, adapted)
    answer = _block_by_block if model.query_blocks else Exportable.answers
    nothing = {name: tf.zeros([0, *spec.shape[1:]], spec.dtype) for name, spec in specs.items()}
    return tf.cond(some, lambda: answer(model, adapted, query), lambda: nothing)


def _block_by_block(model: Exportable, adapted: Adapted, query: tf.Tensor) -> Tensors:
    """The same, in the memory that some queries take; only for answers that do not depend on each other."""
    specs = _specifications(model, adapted)
    rows = max(_FEWEST_IN_A_BLOCK, _VALUES_IN_A_BLOCK // max(1, math.prod(model.input_shape)))
    blocks = (tf.shape(query)[0] + rows - 1) // rows
    answers = {
        name: tf.TensorArray(spec.dtype, blocks, infer_shape=False, element_shape=spec.shape)
        for name, spec in specs.items()
    }

    def one(block: tf.Tensor, written: dict[str, tf.TensorArray]) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
        found = model.answers(adapted, query[block * rows : (block + 1) * rows])
        return block + 1, {name: array.write(block, found[name]) for name, array in written.items()}

    # One after the other: side by side they would take the memory of all.
    _, answers = tf.while_loop(lambda block, _: block < blocks, one, (0, answers), parallel_iterations=1)
    return {name: tf.ensure_shape(array.concat(), specs[name].shape) for name, array in answers.items()}


def _specifications(model: Exportable, adapted: Adapted) -> dict[str, tf.TensorSpec]:
    """Of what `Exportable.answers` gives for a task."""
    specs = model.query_outputs
    return specs if adapted.summary is not None else {model.answer_name: specs[model.answer_name]}
