"""The module that is saved: the served variables, and one function for each signature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.base import Initial
from export.boundary import checked_shapes
from export.exportable import Exportable
from export.fingerprint import fingerprint, variables_digest
from export.image_bytes import decode_images
from export.request_form import Tensors
from export.specifications import (
    ADAPT,
    BYTES,
    DEFAULT,
    INITIAL,
    PADDED,
    PREDICT,
    Specifications,
    input_specifications,
    output_specifications,
    target_name,
)
from export.task_graph import TaskGraph


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
        self.served = [
            tf.Variable(variable.value, trainable=False, name=name) for name, variable in model.named_variables
        ]
        self.digest = variables_digest(_plain(variable) for variable in self.served)
        self.fingerprint = fingerprint(self.digest)

    def signatures(self) -> dict[str, Callable[..., Tensors]]:
        """The function of every signature."""
        return {signature: self.function(signature) for signature in input_specifications(self._model)}

    def function(self, signature: str) -> Callable[..., Tensors]:
        """A concrete function from named tensors to a dictionary of tensors."""
        specifications = input_specifications(self._model)[signature]
        outputs = output_specifications(self._model)[signature]
        answer = tf.function(partial(self._answer, signature, specifications, outputs), autograph=False)
        return answer.get_concrete_function(**specifications)

    def _answer(
        self, signature: str, specifications: Specifications, outputs: Specifications, **inputs: tf.Tensor
    ) -> Tensors:
        # Read once, before the loop over tasks.
        values = [tf.convert_to_tensor(variable) for variable in self.served]
        initial: Initial = tf.nest.pack_sequence_as(self._model.variables, values)
        graph = TaskGraph(self._model, initial, self.fingerprint)
        one_task = {
            DEFAULT: graph.adapt_and_predict,
            PADDED: graph.adapt_and_predict,
            BYTES: partial(self._adapt_and_predict_files, graph),
            ADAPT: graph.adapt,
            INITIAL: graph.initial_state,
            PREDICT: graph.predict,
        }[signature]
        # The loop sees one task at a time: no operation can mix tasks, so neighbours cannot change an answer.
        return tf.map_fn(one_task, checked_shapes(inputs, specifications), fn_output_signature=outputs)

    def _adapt_and_predict_files(self, graph: TaskGraph, inputs: Tensors) -> Tensors:
        target = target_name(self._model)
        support, support_complete = decode_images(inputs["support_inputs_bytes"], self._model.input_shape)
        query, query_complete = decode_images(inputs["query_inputs_bytes"], self._model.input_shape)
        decoded = {"support_inputs": support, target: inputs[target], "query_inputs": query}
        return graph.adapt_and_predict(decoded, damaged=~(support_complete & query_complete))


def _plain(variable: tf.Variable) -> np.ndarray:
    value = variable.numpy()
    # bfloat16 is not NumPy's own; widening loses nothing.
    return value if value.dtype.isbuiltin == 1 else value.astype(np.float32)
