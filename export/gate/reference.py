"""The answers of the library itself, task by task and in this process: what a served graph is held against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.datasets.image_files import decode_and_resize, scale
from cml_tf.episodes import Examples
from export import status
from export.errors import ExportError
from export.graph.buckets import base_of
from export.graph.exportable import Exportable
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
    answer_name,
    target_name,
)
from export.requests.files import Request


class Reference:
    """Answers requests that have no fault, by calling the adaptation rule on the model's own variables.

    Args:
      model: what is served.
      fingerprint: that its adapted states carry.
    """

    def __init__(self, model: Exportable, fingerprint: int) -> None:
        self._model = model
        self._fingerprint = fingerprint
        self._form = model.form

    def answer(self, request: Request) -> dict[str, np.ndarray]:
        """Every output of the request's signature, with task axis.

        Raises:
          ExportError: if an answer is not finite: such a model must not be served.
        """
        request = self.with_arrays(Request(base_of(self._model, request.signature), request.inputs))
        tasks = next(iter(request.inputs.values())).shape[0]
        rows = [self._task(request.signature, _task_inputs(request.inputs, task)) for task in range(tasks)]
        answers = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        broken = [name for name, array in answers.items() if not np.isfinite(array).all()]
        if broken:
            raise ExportError(
                f"the model diverges on ordinary inputs: {', '.join(broken)} of signature {request.signature} are not "
                "finite. Export fewer inner steps, or another checkpoint."
            )
        return answers

    def with_arrays(self, request: Request) -> Request:
        """The same request with decoded images in the place of files."""
        signature = {BYTES: DEFAULT, BYTES_PADDED: PADDED}.get(base_of(self._model, request.signature))
        if signature is None:
            return request
        suffix = "_bytes"
        inputs = {
            name.removesuffix(suffix): np.stack([self._decoded(task) for task in array])
            if name.endswith(suffix)
            else array
            for name, array in request.inputs.items()
        }
        return Request(signature, inputs)

    def _task(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        answer, ok = answer_name(self._model), {"status": np.array(status.OK, np.int32)}
        context = self._form.reference_context(inputs)
        if signature in (PREDICT, PREDICT_PADDED):
            return {answer: self._answered(inputs["adapted_state"], inputs, context), **ok}
        support = self._support(inputs)
        fingerprint = {"model_fingerprint": np.array(self._fingerprint, np.int32)}
        if signature == INITIAL:
            return {"adapted_state": self._initial(support, context).numpy(), **fingerprint, **ok}
        state, before, after = (tensor.numpy() for tensor in self._adapt(support, context))
        ok |= {"support_loss_before": before, "support_loss_after": after}
        if signature in (ADAPT, ADAPT_PADDED):
            return {"adapted_state": state, **fingerprint, **ok}
        return {answer: self._answered(state, inputs, context), **ok}

    def _support(self, inputs: Mapping[str, Any]) -> Examples:
        support, targets = inputs[self._form.support], inputs[target_name(self._model)]
        size = inputs.get("support_size", len(support))
        return Examples(tf.constant(support[:size]), tf.constant(targets[:size]))

    def _answered(self, state: np.ndarray, inputs: Mapping[str, Any], context: Any) -> np.ndarray:
        query = inputs[self._form.query]
        size = inputs.get("query_size", len(query))
        rows = self._predict(state, query[:size], context)
        return np.concatenate([rows, np.zeros((len(query) - size, rows.shape[1]), np.float32)])

    def _decoded(self, files: np.ndarray) -> np.ndarray:
        height, width, channels = self._model.input_shape
        images = [scale(decode_and_resize(content, (height, width), channels)) for content in files]
        return tf.stack(images).numpy() if images else np.zeros((0, height, width, channels), np.float32)

    @cached_property
    def _adapt(self) -> Any:
        model = self._model
        initial = model.rule.initial(model.learner)

        def adapt(support: Examples, context: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            adapted = model.rule.adapt(model.learner, initial, support, context)
            unadapted = model.rule.with_steps(0).adapt(model.learner, initial, support, context)
            return adapted.pack(), model.support_loss(unadapted, support), model.support_loss(adapted, support)

        return tf.function(adapt, autograph=False, reduce_retracing=True)

    @cached_property
    def _initial(self) -> Any:
        model = self._model
        initial = model.rule.initial(model.learner)

        def unadapted(support: Examples, context: Any) -> tf.Tensor:
            return model.rule.with_steps(0).adapt(model.learner, initial, support, context).pack()

        return tf.function(unadapted, autograph=False, reduce_retracing=True)

    def _predict(self, state: np.ndarray, query: np.ndarray, context: Any) -> np.ndarray:
        if not len(query):
            return np.zeros((0, self._model.problem.outputs), np.float32)
        return self._predict_some(tf.constant(state), tf.constant(query), context).numpy()

    @cached_property
    def _predict_some(self) -> Any:
        model = self._model
        initial = model.rule.initial(model.learner)

        def predict(state: tf.Tensor, query: tf.Tensor, context: Any) -> tf.Tensor:
            return model.predictions(model.rule.unpack(model.learner, initial, state, context), query)

        return tf.function(predict, autograph=False, reduce_retracing=True)


def _task_inputs(inputs: Mapping[str, np.ndarray], task: int) -> dict[str, Any]:
    return {name: array[task] for name, array in inputs.items()}
