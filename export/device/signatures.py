"""What a LiteRT file can be asked: one task of fixed numbers of examples, with no axis of tasks.

There is no `status` here: what a server must tell strangers, a program on a device checks before it asks. Every size is
known when the file is written, so interpreters plan their memory once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from cml_tf.adaptation.rule import AdaptedTask, Initial, final_values
from cml_tf.episodes import Examples
from export.graph.exportable import Adapted, Exportable
from export.graph.serving_module import variables_digest
from export.graph.specifications import ADAPT, PREDICT, Specifications
from export.requests.form import Bucket, Tensors

WHOLE, STATE = "adapt_and_predict", "adapted_state"


class Signature(NamedTuple):
    """Inputs and outputs of a function, by name."""

    inputs: Specifications
    outputs: Specifications


def signatures_of(model: Exportable, sizes: Bucket) -> dict[str, Signature]:
    """`adapt` and `predict`; `adapt_and_predict` alone of a model that adapts to its queries.

    Args:
      model: that takes arrays.
      sizes: of a task.
    """
    outputs, shape = model.problem.outputs, model.input_shape
    targets = (tf.int32, [sizes.support]) if model.classification else (tf.float32, [sizes.support, outputs])
    support = {
        model.form.support: tf.TensorSpec([sizes.support, *shape], tf.float32),
        model.target_name: tf.TensorSpec(targets[1], targets[0]),
    }
    query = {model.form.query: tf.TensorSpec([sizes.query, *shape], tf.float32)}
    answer = {model.answer_name: tf.TensorSpec([sizes.query, outputs], tf.float32)}
    if not model.packs:
        return {WHOLE: Signature({**support, **query}, answer)}
    state = {STATE: tf.TensorSpec([int(model.state_size(sizes.support))], tf.float32)}
    return {ADAPT: Signature(support, state), PREDICT: Signature({**state, **query}, answer)}


class DeviceModule(tf.Module):
    """Holds a copy of the model's variables, and a function for each signature.

    Args:
      model: what is exported; its rule is asked for operations that devices have.
      sizes: of every task.

    Attributes:
      digest: SHA-256 of the variables, hexadecimal.
    """

    def __init__(self, model: Exportable, sizes: Bucket) -> None:
        super().__init__(name="few_shot")
        self._model = model
        self._rule = model.rule.for_devices()
        self._sizes = sizes
        self.held = [
            tf.Variable(variable.value, trainable=False, name=name) for name, variable in model.named_variables
        ]
        self.digest = variables_digest(self.held)

    def functions(self) -> dict[str, Callable[..., Tensors]]:
        """A concrete function of each signature."""
        bodies = {ADAPT: self._adapt, PREDICT: self._predict, WHOLE: self._whole}
        return {
            name: tf.function(functools.partial(_by_name, bodies[name]), autograph=False).get_concrete_function(
                **{key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in signature.inputs.items()}
            )
            for name, signature in signatures_of(self._model, self._sizes).items()
        }

    def _adapt(self, inputs: Tensors) -> Tensors:
        return {STATE: self._adapted(inputs).pack()}

    def _predict(self, inputs: Tensors) -> Tensors:
        task = self._rule.unpack(self._model.learner, self._initial(), inputs[STATE], ())
        return self._answer(task, inputs)

    def _whole(self, inputs: Tensors) -> Tensors:
        return self._answer(self._adapted(inputs), inputs)

    def _adapted(self, inputs: Tensors) -> AdaptedTask:
        model = self._model
        support = Examples(inputs[model.form.support], inputs[model.target_name])
        query = inputs.get(model.form.query) if self._rule.uses_query_inputs else None
        return self._rule.adapt(model.learner, self._initial(), support, (), query)

    def _answer(self, task: AdaptedTask, inputs: Tensors) -> Tensors:
        answers = self._model.answers(Adapted(task, None), inputs[self._model.form.query])
        return {self._model.answer_name: answers[self._model.answer_name]}

    def _initial(self) -> Initial:
        values = [tf.convert_to_tensor(variable) for variable in self.held]
        initial: Initial = tf.nest.pack_sequence_as(self._model.variables, values)
        return initial._replace(scalars=final_values(self._rule.schedules))


def _by_name(body: Callable[[Tensors], Tensors], **inputs: tf.Tensor) -> Tensors:
    return body(inputs)
