"""The module that is saved: the served variables with what tells them from others, and a function a signature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import tensorflow as tf

from cml_tf.adaptation.rule import Initial, final_values
from cml_tf.boundary.digest import variables_digest
from export.graph.bounds import ADAPT_BOUNDED, WHOLE_BOUNDED
from export.graph.buckets import bucket_signatures
from export.graph.compact import ADAPT_COMPACT, PREDICT_COMPACT
from export.graph.exportable import Exportable
from export.graph.image_bytes import decode_images
from export.graph.specifications import (
    ADAPT,
    ADAPT_PADDED,
    BYTES,
    BYTES_PADDED,
    DEFAULT,
    INITIAL,
    PADDED,
    PREDICT,
    PREDICT_PADDED,
    Specifications,
    input_specifications,
    output_specifications,
    traced_specifications,
)
from export.graph.task_graph import Sent, TaskGraph
from export.requests.boundary import checked_shapes
from export.requests.form import Tensors


class ServingModule(tf.Module):
    """Holds variables of its own, copied from the model: nothing else of it can get into the file.

    Args:
      model: what is served.

    Attributes:
      digest: SHA-256 of the served variables, hexadecimal.
      fingerprint: 31 bits of it, which adapted states carry.
    """

    def __init__(self, model: Exportable) -> None:
        super().__init__(name="few_shot")
        self._model = model
        # Not a dictionary: the attributes of a module that hold functions are written to the file.
        self._traced = cache(self._trace)
        self.served = [
            tf.Variable(variable.value, trainable=False, name=name) for name, variable in model.named_variables
        ]
        self.digest = variables_digest(self.served)
        self.fingerprint = fingerprint(self.digest)

    def signatures(self) -> dict[str, Callable[..., Tensors]]:
        """The function of every signature."""
        return {signature: self.function(signature) for signature in input_specifications(self._model)}

    def function(self, signature: str) -> Callable[..., Tensors]:
        """A concrete function from named tensors to a dictionary of tensors."""
        bucket = bucket_signatures(self._model).get(signature)
        if bucket is None:
            return self._traced(signature)
        specifications, of_any_size = input_specifications(self._model)[signature], self._traced(bucket.base)

        # A bucket is a case of a function that is traced once for all of them: it adds next to nothing to the file.
        def answer(**inputs: tf.Tensor) -> Tensors:
            return of_any_size(**checked_shapes(inputs, specifications))

        return tf.function(answer, autograph=False).get_concrete_function(**specifications)

    def _trace(self, name: str) -> Callable[..., Tensors]:
        specifications, outputs = traced_specifications(self._model)[name], output_specifications(self._model)[name]
        answer = tf.function(partial(self._answer, name, specifications, outputs), autograph=False)
        return answer.get_concrete_function(**specifications)

    def _answer(
        self, name: str, specifications: Specifications, outputs: Specifications, **inputs: tf.Tensor
    ) -> Tensors:
        # Read once, before the loop over tasks.
        values = [tf.convert_to_tensor(variable) for variable in self.served]
        rule = self._model.rule
        initial: Initial = tf.nest.pack_sequence_as(self._model.variables, values)
        initial = initial._replace(scalars=final_values(rule.schedules))
        graph = TaskGraph(self._model, initial, self.fingerprint)
        one_task = {
            DEFAULT: graph.adapt_and_predict,
            PADDED: graph.adapt_and_predict,
            BYTES: partial(self._adapt_and_predict_files, graph),
            BYTES_PADDED: partial(self._adapt_and_predict_files, graph),
            ADAPT: graph.adapt,
            ADAPT_PADDED: graph.adapt,
            INITIAL: graph.initial_state,
            PREDICT: graph.predict,
            PREDICT_PADDED: graph.predict,
            WHOLE_BOUNDED: graph.adapt_and_predict,
            ADAPT_BOUNDED: graph.adapt if self._model.compact is None else graph.adapt_compact,
            ADAPT_COMPACT: graph.adapt_compact,
            PREDICT_COMPACT: graph.predict_compact,
        }[name]
        # The loop sees one task at a time: no operation can mix tasks, so neighbours cannot change an answer.
        return tf.map_fn(one_task, checked_shapes(inputs, specifications), fn_output_signature=outputs)

    def _adapt_and_predict_files(self, graph: TaskGraph, inputs: Tensors) -> Tensors:
        """Of a task whose images are files; those that are padding are not decoded.

        Nothing is made of files that are refused: a file may be an empty string, where an image takes kilobytes.
        """
        limits = self._model.limits
        most = {"support": limits.support, "query": limits.query_files}
        files = {role: inputs[f"{role}_inputs_bytes"] for role in most}
        used = {role: _counted(rows, inputs.get(f"{role}_size"), most[role]) for role, rows in files.items()}
        # Together: the graph of decoding is by far the largest part of this function.
        contents = tf.concat([rows[: used[role]] for role, rows in files.items()], 0)
        images, complete = decode_images(contents, self._model.input_shape)
        decoded = {name: tensor for name, tensor in inputs.items() if not name.endswith("_bytes")}
        decoded["support_inputs"], decoded["query_inputs"] = images[: used["support"]], images[used["support"] :]
        support, queries = (tf.shape(rows)[0] for rows in files.values())
        return graph.adapt_and_predict(decoded, Sent(support, queries, limits.query_files, ~complete))


def _counted(files: tf.Tensor, size: tf.Tensor | None, most: int | None) -> tf.Tensor:
    """How many files are to be decoded: those that are no padding, and none of more than are allowed."""
    rows = tf.shape(files)[0]
    used = rows if size is None else tf.clip_by_value(size, 0, rows)
    # More than that are refused, so the work is saved.
    return used if most is None else tf.where(used > most, 0, used)


def fingerprint(digest: str) -> int:
    """31 bits of a digest, which fit a positive int32; never 0, the mark of a failed task."""
    return int(digest[:8], 16) & 0x7FFFFFFF or 1
