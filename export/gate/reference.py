"""The answers of the library itself, task by task and in this process: what a served graph is held against."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.datasets.image_files import decoder, scale
from cml_tf.episodes import Examples
from export import status
from export.errors import ExportError
from export.graph.bounds import ADAPT_BOUNDED, RATE, STEPS
from export.graph.buckets import base_of
from export.graph.compact import ADAPT_COMPACT, PREDICT_COMPACT, SCALES
from export.graph.compact import BYTES as COMPACT_BYTES
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
        ok = {"status": np.array(status.OK, np.int32)}
        context = self._form.reference_context(inputs)
        if signature in (PREDICT, PREDICT_PADDED, PREDICT_COMPACT):
            return {**self._answered(self._sent_state(inputs), inputs, context), **ok}
        support = self._support(inputs)
        fingerprint = {"model_fingerprint": np.array(self._fingerprint, np.int32)}
        if signature == INITIAL:
            return {**self._state(self._initial(support, context).numpy(), inputs), **fingerprint, **ok}
        state, told = self._adapted(inputs, support, context)
        ok |= told
        if not self._model.packs:
            return {**self._whole(support, inputs, context), **ok}
        if signature == ADAPT_COMPACT or (signature == ADAPT_BOUNDED and self._model.compact is not None):
            return {**self._compact_state(state), **fingerprint, **ok}
        if signature in (ADAPT, ADAPT_PADDED, ADAPT_BOUNDED):
            return {**self._state(state, inputs), **fingerprint, **ok}
        return {**self._answered(state, inputs, context), **ok}

    def _adapted(
        self, inputs: Mapping[str, Any], support: Examples, context: Any
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The adapted state, and what a task is told of its adaptation."""
        if STEPS in inputs:
            state, told = self._watched(support, context, inputs[STEPS], inputs[RATE])
            return state.numpy(), {name: tensor.numpy() for name, tensor in told.items()}
        query = self._queries_of(inputs, support)
        state, before, after = (tensor.numpy() for tensor in self._adapt(support, context, query))
        return state, {"support_loss_before": before, "support_loss_after": after}

    def _compact_state(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """A compact state as it is answered, but its values as numbers and not as bytes."""
        assert self._model.compact is not None
        made = self._model.compact.encode(state - self._origin)
        scales = {} if made.scales is None else {SCALES: made.scales.numpy()}
        return {COMPACT_BYTES: made.values.numpy(), **scales}

    def _sent_state(self, inputs: Mapping[str, Any]) -> np.ndarray:
        if COMPACT_BYTES not in inputs:
            state = inputs["adapted_state"]
            return state[: inputs.get("adapted_length", len(state))]
        assert self._model.compact is not None
        values = np.frombuffer(inputs[COMPACT_BYTES], self._model.compact.dtype).astype(np.float32)
        if SCALES in inputs:
            values = values * np.repeat(inputs[SCALES], self._model.compact.sizes)
        return self._origin + values

    @cached_property
    def _origin(self) -> np.ndarray:
        return self._model.origin(self._model.rule.initial(self._model.learner)).numpy()

    def _state(self, state: np.ndarray, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """A state as it is answered: one that grows is padded to what all support examples sent would give."""
        if not self._model.state_grows:
            return {"adapted_state": state}
        padded = np.zeros(int(self._model.state_size(len(inputs[self._form.support]))), np.float32)
        padded[: len(state)] = state
        return {"adapted_state": padded, "adapted_length": np.array(len(state), np.int32)}

    def _support(self, inputs: Mapping[str, Any]) -> Examples:
        support, targets = inputs[self._form.support], inputs[self._model.target_name]
        size = inputs.get("support_size", len(support))
        return Examples(tf.constant(support[:size]), tf.constant(targets[:size]))

    def _answered(self, state: np.ndarray, inputs: Mapping[str, Any], context: Any) -> dict[str, np.ndarray]:
        return self._padded(inputs, lambda query: self._predict(tf.constant(state), query, context))

    def _padded(self, inputs: Mapping[str, Any], answer: Callable[[tf.Tensor], Any]) -> dict[str, np.ndarray]:
        """Answers to the queries that count, and zeros for the others."""
        query = inputs[self._form.query]
        size = inputs.get("query_size", len(query))
        answers = answer(tf.constant(query[:size])) if size else {}
        return {
            name: np.concatenate([answers[name], np.zeros((len(query) - size, *spec.shape[1:]), spec.dtype.name)])
            if size
            else np.zeros((len(query), *spec.shape[1:]), spec.dtype.name)
            for name, spec in self._model.query_outputs.items()
        }

    def _queries_of(self, inputs: Mapping[str, Any], support: Examples) -> tf.Tensor:
        """The queries without padding, in the place of none an example."""
        query = inputs.get(self._form.query, ())
        asked = query[: inputs.get("query_size", len(query))]
        return tf.constant(asked) if len(asked) else support.inputs[:1]

    def _whole(self, support: Examples, inputs: Mapping[str, Any], context: Any) -> dict[str, np.ndarray]:
        """The answers of a model that adapts anew for each question."""
        return self._padded(inputs, lambda query: self._adapt_and_predict(support, context, query))

    def _decoded(self, files: np.ndarray) -> np.ndarray:
        height, width, channels = self._model.input_shape
        decode = decoder((height, width), channels)
        images = [scale(decode(content)) for content in files]
        return tf.stack(images).numpy() if images else np.zeros((0, height, width, channels), np.float32)

    def _compiled(self, function: Any) -> Any:
        """A function of a task, with the values of the model's variables as its first argument."""
        initial = self._model.rule.initial(self._model.learner)
        return tf.function(functools.partial(function, initial), autograph=False, reduce_retracing=True)

    def _task_of(self, initial: Any, support: Examples, context: Any, query: tf.Tensor) -> Any:
        rule = self._model.rule
        return rule.adapt(self._model.learner, initial, support, context, query if rule.uses_query_inputs else None)

    @cached_property
    def _adapt(self) -> Any:
        model = self._model

        def adapt(initial: Any, support: Examples, context: Any, query: tf.Tensor) -> tuple[tf.Tensor, ...]:
            unadapted = model.rule.unadapted(model.learner, initial, support, context)
            task = self._task_of(initial, support, context, query)
            state = model.pack(model.adapted(task, support)) if model.packs else tf.zeros([0])
            return state, model.support_loss(unadapted, support), model.support_loss(task, support)

        return self._compiled(adapt)

    @cached_property
    def _watched(self) -> Any:
        model, bounds = self._model, self._model.bounds
        assert bounds is not None

        def adapt(initial: Any, support: Examples, context: Any, steps: Any, rate: Any) -> tuple[tf.Tensor, Any]:
            pace = bounds.pace(model.rule, steps, rate)
            task, trace = model.rule.adapt_watched(model.learner, initial, support, context, pace)
            losses = {"support_loss_before": trace.losses[0], "support_loss_after": trace.losses[-1]}
            return model.pack(model.adapted(task, support)), {**losses, **bounds.told(trace)}

        return self._compiled(adapt)

    @cached_property
    def _adapt_and_predict(self) -> Any:
        model = self._model

        def answers(initial: Any, support: Examples, context: Any, query: tf.Tensor) -> dict[str, tf.Tensor]:
            return model.answers(model.adapted(self._task_of(initial, support, context, query), support), query)

        return self._compiled(answers)

    @cached_property
    def _initial(self) -> Any:
        model = self._model

        def state(initial: Any, support: Examples, context: Any) -> tf.Tensor:
            unadapted = model.rule.unadapted(model.learner, initial, support, context)
            return model.pack(model.adapted(unadapted, support))

        return self._compiled(state)

    @cached_property
    def _predict(self) -> Any:
        model = self._model

        def predict(initial: Any, state: tf.Tensor, query: tf.Tensor, context: Any) -> dict[str, tf.Tensor]:
            return model.answers(model.unpack(initial, state, context), query)

        return self._compiled(predict)


def _task_inputs(inputs: Mapping[str, np.ndarray], task: int) -> dict[str, Any]:
    return {name: array[task] for name, array in inputs.items()}
