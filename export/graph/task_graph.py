"""One served task: adaptation and prediction, with a status in the place of every error. No task axis in here.

The adaptation is the very `rule.adapt` that training and evaluation call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from cml_tf.adaptation import AdaptedTask, Initial
from cml_tf.adaptation.observed import Pace
from cml_tf.episodes import Examples
from export import status
from export.graph.answering import answers_of
from export.graph.bounds import RATE, STEPS
from export.graph.compact import CompactStates
from export.graph.exportable import Adapted, Exportable
from export.requests.boundary import any_of, finite, first_fault
from export.requests.form import Context, Faults, Tensors


class Sent(NamedTuple):
    """How much of a task was sent. Of files that are refused or damaged nothing is made, so `inputs` may hold less.

    Attributes:
      support: number of support examples, padding included.
      queries: number of queries, padding included.
      most_queries: how many queries there may be, padding not counted; None for any number.
      damaged: whether some of the files could not be decoded.
    """

    support: tf.Tensor
    queries: tf.Tensor
    most_queries: int | None
    damaged: tf.Tensor | bool = False


class _Adaptation(NamedTuple):
    """What adapting to a support set gave; only meaningful where `sound`, but for what is told of its steps."""

    adapted: Adapted
    sound: tf.Tensor
    losses: Tensors
    trace: Tensors = {}

    def told_if(self, sound: tf.Tensor) -> Tensors:
        """Losses, of a task that diverged zeros; its steps show where it did."""
        return {name: tf.where(sound, loss, 0.0) for name, loss in self.losses.items()} | self.trace


class TaskGraph:
    """Functions of one task, from inputs by name to outputs by name.

    Args:
      model: what is served.
      initial: values of its variables, as tensors.
      fingerprint: that adapted states of this model carry.
    """

    def __init__(self, model: Exportable, initial: Initial, fingerprint: int) -> None:
        self._model = model
        self._initial = initial
        self._fingerprint = fingerprint
        self._answer = model.answer_name
        self._target = model.target_name
        self._form = model.form

    def adapt_and_predict(self, inputs: Tensors, files: Sent | None = None) -> Tensors:
        """Adapts to the support examples and answers the queries, cut to `support_size` and `query_size` if given.

        Args:
          inputs: of the task.
          files: if its images were files, how many were sent; `inputs` holds those that were decoded.
        """
        received = self._form.received_context(inputs)
        sent = self._sent(inputs) if files is None else files
        support, support_faults = self._support(inputs, received, sent.support)
        query, query_faults, asked = self._queries(inputs, received, sent)
        damage = {status.NON_FINITE_INPUT: tf.convert_to_tensor(sent.damaged)}
        faults = any_of(support_faults, query_faults, damage, self._bound_faults(inputs))

        def healthy() -> Tensors:
            context = self._form.learner_context(received.content)
            adaptation = self._adapt(support, context, query, self._pace(inputs))
            answers = answers_of(self._model, adaptation.adapted, query)
            sound = adaptation.sound & finite(answers[self._answer])
            answers = tf.cond(sound, lambda: answers, lambda: self._unadapted_answers(support, context, query))
            return {**answers, "status": _ok_if(sound), **adaptation.told_if(sound)}

        def faulty(fault: tf.Tensor) -> Tensors:
            return {**self._model.blank(asked), "status": fault, **self._nothing_told(inputs)}

        return self._with_padding(_unless(first_fault(faults), healthy, faulty), sent.queries)

    def adapt(self, inputs: Tensors) -> Tensors:
        """Adapts to the support examples and gives the adapted state; nothing of a task that failed can be used on."""
        sent = tf.shape(inputs[self._form.support])[0]

        def healthy(adaptation: _Adaptation, state: tf.Tensor) -> Tensors:
            return {**self._state(state, adaptation.sound, sent), **adaptation.told_if(adaptation.sound)}

        return self._adapted(inputs, healthy, lambda fault: self._no_state(fault, sent))

    def adapt_compact(self, inputs: Tensors) -> Tensors:
        """The same, in the place of the state what differs in it from the initial one, in few bytes."""
        compact, origin = self._compact, self._model.origin(self._initial)

        def healthy(adaptation: _Adaptation, state: tf.Tensor) -> Tensors:
            sound = adaptation.sound & compact.encode(state - origin).finite
            made = compact.sent(compact.encode(tf.where(sound, state - origin, 0.0)))
            fingerprint = tf.where(sound, self._fingerprint, 0)
            return {**made, "model_fingerprint": fingerprint, "status": _ok_if(sound), **adaptation.told_if(sound)}

        def faulty(fault: tf.Tensor) -> Tensors:
            nothing = compact.sent(compact.encode(tf.zeros([compact.length])))
            return {**nothing, "model_fingerprint": tf.constant(0), "status": fault}

        return self._adapted(inputs, healthy, faulty)

    def _adapted(
        self,
        inputs: Tensors,
        healthy: Callable[[_Adaptation, tf.Tensor], Tensors],
        faulty: Callable[[tf.Tensor], Tensors],
    ) -> Tensors:
        """Of a task without fault what `healthy` makes of its adaptation and its state, else what `faulty` says."""
        received = self._form.received_context(inputs)
        support, faults = self._support(inputs, received, tf.shape(inputs[self._form.support])[0])

        def adapted() -> Tensors:
            context = self._form.learner_context(received.content)
            adaptation = self._adapt(support, context, pace=self._pace(inputs))
            return healthy(adaptation, self._model.pack(adaptation.adapted))

        fault = first_fault(any_of(faults, self._bound_faults(inputs)))
        return _unless(fault, adapted, lambda fault: {**faulty(fault), **self._nothing_told(inputs)})

    def initial_state(self, inputs: Tensors) -> Tensors:
        """What `adapt` would give if it made no inner step: `predict` with it shows what adaptation changes."""
        received = self._form.received_context(inputs)
        sent = tf.shape(inputs[self._form.support])[0]
        support, faults = self._support(inputs, received, sent)

        def healthy() -> Tensors:
            unadapted = self._unadapted(support, self._form.learner_context(received.content))
            state = self._model.pack(self._model.adapted(unadapted, support))
            return self._state(state, finite(state), sent)

        return _unless(first_fault(faults), healthy, lambda fault: self._no_state(fault, sent))

    def predict(self, inputs: Tensors) -> Tensors:
        """Answers the queries, cut to `query_size` if given, from an adapted state."""
        state = inputs["adapted_state"]
        received = self._form.received_context(inputs)
        sent = self._sent(inputs)
        query, query_faults, asked = self._queries(inputs, received, sent)
        ours = tf.equal(inputs["model_fingerprint"], self._fingerprint)
        used, fits = self._used(state, inputs)
        wrong = {
            status.STATE_OF_ANOTHER_MODEL: ~(ours & fits),
            status.NON_FINITE_INPUT: ~finite(state[:used]),
        }
        faults = any_of(wrong, received.faults, query_faults)

        def healthy() -> Tensors:
            # The slice keeps apart what the optimiser would join: it takes a shape that holds in one branch for a fact
            # everywhere, and would then leave out the comparison of lengths that leads to this branch.
            packed = tf.ensure_shape(state[:used], [None if self._model.state_grows else used])
            context = self._form.learner_context(received.content)
            answers = answers_of(self._model, self._model.unpack(self._initial, packed, context), query)
            sound = finite(answers[self._answer])
            # There is no support set here, and so no unadapted model to fall back on (its normalisation may need one).
            answers = tf.cond(sound, lambda: answers, lambda: self._model.blank(tf.shape(query)[0]))
            return {**answers, "status": _ok_if(sound)}

        def faulty(fault: tf.Tensor) -> Tensors:
            return {**self._model.blank(asked), "status": fault}

        return self._with_padding(_unless(first_fault(faults), healthy, faulty), sent.queries)

    def predict_compact(self, inputs: Tensors) -> Tensors:
        """The same from a compact state."""
        difference, whole = self._compact.decode(inputs)
        # A state of other lengths is one of another model.
        fingerprint = tf.where(whole, inputs["model_fingerprint"], 0)
        state = self._model.origin(self._initial) + difference
        return self.predict({**inputs, "adapted_state": state, "model_fingerprint": fingerprint})

    @property
    def _compact(self) -> CompactStates:
        assert self._model.compact is not None
        return self._model.compact

    def _bound_faults(self, inputs: Tensors) -> Faults:
        bounds = self._model.bounds
        return {} if bounds is None or STEPS not in inputs else bounds.faults(inputs)

    def _pace(self, inputs: Tensors) -> Pace | None:
        bounds = self._model.bounds
        if bounds is None or STEPS not in inputs:
            return None
        return bounds.pace(self._model.rule, inputs[STEPS], inputs[RATE])

    def _nothing_told(self, inputs: Tensors) -> Tensors:
        """What a task is told of its adaptation that had none."""
        losses = {"support_loss_before": tf.constant(0.0), "support_loss_after": tf.constant(0.0)}
        bounds = self._model.bounds
        if bounds is None or STEPS not in inputs:
            return losses
        return losses | {name: tf.zeros(spec.shape, spec.dtype) for name, spec in bounds.outputs.items()}

    def _sent(self, inputs: Tensors) -> Sent:
        """Of a request whose examples are all in `inputs`."""
        support, queries = (
            tf.shape(inputs[name])[0] if name in inputs else tf.constant(0)
            for name in (self._form.support, self._form.query)
        )
        return Sent(support, queries, self._model.limits.queries)

    def _support(self, inputs: Tensors, received: Context, rows: tf.Tensor) -> tuple[Examples, Faults]:
        """The support set, cut to its size, and what is wrong with it or its context; `rows` were sent."""
        examples, targets = inputs[self._form.support], inputs[self._target]
        size = inputs.get("support_size", rows)
        # Slices before anything else sees the tensors: what a layer never gets cannot change a statistic or a loss.
        cut = tf.clip_by_value(size, 0, rows)
        support = Examples(examples[:cut], targets[:cut])
        too_many = _more(cut, self._model.limits.support)
        wrong = {status.SIZE: (size < 1) | (size > rows) | tf.not_equal(tf.shape(targets)[0], rows) | too_many}
        if self._model.classification:
            outside = (support.targets < 0) | (support.targets >= self._model.problem.outputs)
            wrong[status.LABEL_OUT_OF_RANGE] = tf.reduce_any(outside)
        else:
            wrong[status.NON_FINITE_INPUT] = ~finite(support.targets)
        example_faults = self._form.example_faults(received.content, support.inputs)
        return support, any_of(received.faults, example_faults, wrong)

    def _queries(self, inputs: Tensors, received: Context, sent: Sent) -> tuple[tf.Tensor, Faults, tf.Tensor]:
        """The queries, cut to their size, what is wrong with them, and how many are asked.

        Of a size that was never sent, that is all of them.
        """
        rows = sent.queries
        size = inputs.get("query_size", rows)
        fits = (size >= 0) & (size <= rows)
        asked = tf.where(fits, size, rows)
        query = inputs[self._form.query][:asked]
        wrong = {status.SIZE: ~fits | _more(asked, sent.most_queries)}
        return query, any_of(self._form.example_faults(received.content, query), wrong), asked

    def _with_padding(self, outputs: Tensors, rows: tf.Tensor) -> Tensors:
        """Outputs whose answers have a row for each row of queries that was sent."""
        missing = rows - tf.shape(outputs[self._answer])[0]
        # Not tf.pad: it refuses what it is given when a fault has left nothing to pad.
        padded = {
            name: tf.concat([outputs[name], tf.zeros([missing, *spec.shape[1:]], spec.dtype)], 0)
            for name, spec in self._model.query_outputs.items()
        }
        return {**outputs, **padded}

    def _used(self, state: tf.Tensor, inputs: Tensors) -> tuple[int | tf.Tensor, tf.Tensor]:
        """How much of a state that was sent is no padding, and whether this model has states of that length."""
        received = tf.shape(state)[0]
        if not self._model.state_grows:
            size = self._model.state_size(0)
            return size, tf.equal(received, size)
        length = inputs["adapted_length"]
        known = (length >= self._model.state_size(1)) & (length <= received)
        by_example = self._model.state_size(1) - self._model.state_size(0)
        whole = tf.equal((length - self._model.state_size(0)) % by_example, 0)
        return tf.clip_by_value(length, 0, received), known & whole

    def _state(self, state: tf.Tensor, sound: tf.Tensor, sent: tf.Tensor) -> Tensors:
        """An adapted state; one that grows is padded to the length after as many support examples as were sent."""
        fingerprint = tf.where(sound, self._fingerprint, 0)
        state = tf.where(sound, state, 0.0)
        outputs = {"adapted_state": state, "model_fingerprint": fingerprint, "status": _ok_if(sound)}
        if not self._model.state_grows:
            return outputs
        length = tf.shape(state)[0]
        padding = tf.zeros([tf.cast(self._model.state_size(sent), tf.int32) - length])
        return {
            **outputs,
            "adapted_state": tf.concat([state, padding], 0),
            "adapted_length": tf.where(sound, length, 0),
        }

    def _no_state(self, fault: tf.Tensor, sent: tf.Tensor) -> Tensors:
        nothing = {"model_fingerprint": tf.constant(0), "status": fault}
        if not self._model.state_grows:
            return {**nothing, "adapted_state": tf.zeros([self._model.state_size(0)])}
        return {**nothing, "adapted_state": tf.zeros([self._model.state_size(sent)]), "adapted_length": tf.constant(0)}

    def _adapt(
        self, support: Examples, context: Any, query: tf.Tensor | None = None, pace: Pace | None = None
    ) -> _Adaptation:
        model = self._model
        if pace is not None:
            return self._adapt_watched(support, context, pace)
        query_inputs = None
        if model.rule.uses_query_inputs and query is not None:
            # Nobody asks anything of a task without queries, and layers are never called without examples.
            query_inputs = tf.cond(tf.shape(query)[0] > 0, lambda: query, lambda: support.inputs[:1])
        task = model.rule.adapt(model.learner, self._initial, support, context, query_inputs)
        adapted = model.adapted(task, support)
        losses = {
            "support_loss_before": model.support_loss(self._unadapted(support, context), support),
            "support_loss_after": model.support_loss(task, support),
        }
        sound = finite(tf.stack(list(losses.values())))
        return _Adaptation(adapted, sound & finite(model.pack(adapted)) if model.packs else sound, losses)

    def _adapt_watched(self, support: Examples, context: Any, pace: Pace) -> _Adaptation:
        model = self._model
        assert model.bounds is not None
        task, trace = model.rule.adapt_watched(model.learner, self._initial, support, context, pace)
        adapted = model.adapted(task, support)
        losses = {"support_loss_before": trace.losses[0], "support_loss_after": trace.losses[-1]}
        return _Adaptation(adapted, trace.finite & finite(model.pack(adapted)), losses, model.bounds.told(trace))

    def _unadapted(self, support: Examples, context: Any) -> AdaptedTask:
        model = self._model
        return model.rule.unadapted(model.learner, self._initial, support, context)

    def _unadapted_answers(self, support: Examples, context: Any, query: tf.Tensor) -> Tensors:
        """What the unadapted model answers; of how sure it is nothing is known."""
        unadapted = Adapted(self._unadapted(support, context), None)
        blank = self._model.blank(tf.shape(query)[0])
        answer = answers_of(self._model, unadapted, query)[self._answer]
        return {**blank, self._answer: tf.where(finite(answer), answer, blank[self._answer])}


def _more(count: tf.Tensor, most: int | None) -> tf.Tensor:
    return tf.constant(False) if most is None else count > most


def _ok_if(sound: tf.Tensor) -> tf.Tensor:
    return tf.where(sound, status.OK, status.DIVERGED)


def _unless(fault: tf.Tensor, healthy: Callable[[], Tensors], faulty: Callable[[tf.Tensor], Tensors]) -> Tensors:
    """What is at fault is not computed, so it can neither raise nor take time."""
    return tf.cond(tf.equal(fault, status.OK), healthy, lambda: faulty(fault))
