"""Adapts and predicts on a server, with arrays or image files in and class names out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.client.adapted import Adapted
from export.client.answers import Answer, answer_of, no_answer, put_together
from export.client.connection import connect
from export.client.errors import OTHER_SHAPES, ClientError, OtherModelError, RequestError, TaskError
from export.client.graphs import Graph, as_graph, checked_nodes, graph_inputs
from export.client.inputs import are_files, as_examples, as_files, as_targets, count
from export.client.interface import Choice, Interface, Settings
from export.client.packing import (
    ADAPT,
    ADAPT_BOUNDED,
    ADAPT_COMPACT,
    FILES,
    PREDICT,
    PREDICT_COMPACT,
    WHOLE,
    WHOLE_BOUNDED,
    Call,
    Task,
    check_request,
    joined,
    of_bucket,
    pieces,
)
from export.client.trace import pace_inputs, read_trace
from export.status import LABEL_OUT_OF_RANGE, OK

# The second: a signature, such as that of a bucket, is not there; or a server that joins requests had other shapes.
_NOT_AS_EXPECTED = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
Outputs = dict[str, np.ndarray]


class FewShotClient:
    """Speaks of tasks; may be used from several threads over gRPC.

    Inputs are arrays `[examples, ...]` in the value range of the model card; for images also the bytes of PNG or JPEG
    files, one an example; for models on nodes of a graph the numbers of nodes `[examples]`. Targets are class names (or
    numbers) `[examples]`, or numbers `[examples, outputs]` for a regression. Classes are numbered by their sorted
    names; there may be fewer of them than the model's ways.

    Over REST it needs no TensorFlow, but for image files that are adapted to and asked about in requests of their own
    (`adapt`, `predict`): these are decoded here. `adapt_and_predict` leaves that to the server.

    Example:
      >>> with FewShotClient(address, "letters") as client:  # such as http://127.0.0.1:8501
      ...     answer = client.adapt_and_predict(images, names, questions)
      >>> answer.values.shape, answer.class_names
      ((4, 3), ('alpha', 'beta', 'gamma'))

    Args:
      address: `grpc://host:8500`, `http://host:8501`, or `grpcs` and `https` for the same over TLS.
      model: its name on the server.
      settings: timeout, attempts, certificates.
      version: that answers; the newest by default.
      version_label: instead, a label.

    Raises:
      ClientError: if one of these is no good. All methods raise it for inputs that cannot be sent, RequestError for
        requests that were not answered, TaskError for tasks that the server could not do.
    """

    def __init__(
        self,
        address: str,
        model: str,
        settings: Settings | None = None,
        *,
        version: int | None = None,
        version_label: str | None = None,
    ) -> None:
        self.model = model
        self._choice = Choice(version, version_label)
        self._settings = settings or Settings()
        self._connection = connect(address, model, self._settings)
        self._interfaces: dict[Choice, Interface] = {}

    def __enter__(self) -> FewShotClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def interface(self) -> Interface:
        """What the chosen version takes and gives now."""
        return self._interface(self._choice)

    def interface_of(self, version: int) -> Interface:
        """What a version takes and gives that has a number, such as that of an adapted task."""
        return self._interface(Choice(version))

    def adapt_and_predict(
        self,
        support_inputs: Any,
        support_targets: Any,
        query_inputs: Any,
        graph: Any = None,
        *,
        steps: int | None = None,
        rate: float | None = None,
    ) -> Answer:
        """Adapts to the support examples and answers the queries, in one request.

        Args:
          support_inputs: `[support, ...]`, or the bytes of files.
          support_targets: class names, or numbers `[support, outputs]`.
          query_inputs: `[queries, ...]`, or the bytes of files.
          graph: for models on nodes, `(features, edges)` as of `export.client.graphs.Graph`.
          steps: inner steps, of models that let requests set them; None for the model's own.
          rate: likewise.
        """
        task = Task(support_inputs, support_targets, query_inputs, graph, steps, rate)
        return self.adapt_and_predict_tasks([task])[0]

    def adapt_and_predict_tasks(self, tasks: Sequence[Task]) -> list[Answer]:
        """The same for many tasks, of any sizes, in as few requests as hold them; no tasks have no answers."""
        known = self._choice in self._interfaces
        try:
            return self._adapt_and_predict(tasks)
        except ClientError as error:
            if not (known and _may_be_of_another_version(error)):
                raise
            # The newest version, or that of a label, may be another one by now.
            self._interfaces.pop(self._choice, None)
            return self._adapt_and_predict(tasks)

    def _adapt_and_predict(self, tasks: Sequence[Task]) -> list[Answer]:
        if not tasks:
            return []
        interface = self._interface(self._choice)
        calls, names = zip(*(_whole_call(task, interface) for task in tasks), strict=True)
        asked = [call for call in calls if call is not None]
        try:
            outputs = iter(self._predict(self._choice, interface, asked))
        except TaskError as error:
            # Of tasks that were not asked nothing is wrong.
            statuses = iter(error.statuses)
            raise TaskError([OK if call is None else next(statuses) for call in calls]) from None
        return [
            no_answer(interface, classes) if call is None else answer_of(next(outputs), interface, classes)
            for call, classes in zip(calls, names, strict=True)
        ]

    def adapt(
        self,
        support_inputs: Any,
        support_targets: Any,
        graph: Any = None,
        *,
        steps: int | None = None,
        rate: float | None = None,
    ) -> Adapted:
        """Adapts to the support examples; see `adapt_and_predict`.

        What comes back belongs to one version of the model, so it asks that version by its number.
        """
        self._interfaces.pop(self._choice, None)
        interface = self._interface(self._choice)
        if not interface.adapts_first:
            raise ClientError(
                f"{self.model} adapts to the queries too, so it needs them to adapt: call adapt_and_predict with both."
            )
        targets, names = as_targets(support_targets, interface, count(support_inputs))
        checked = as_graph(graph, interface)
        support = {interface.support: _examples(support_inputs, interface, checked), interface.targets: targets}
        pace = pace_inputs(interface, steps, rate)
        signature = ADAPT_BOUNDED if pace else ADAPT_COMPACT if interface.compact else ADAPT
        call = signature, {**graph_inputs(checked), **support, **pace}
        (outputs,) = self._predict(Choice(interface.version), interface, [call])
        return Adapted(
            self.model,
            interface.version,
            names,
            _state(outputs, interface),
            int(outputs["model_fingerprint"]),
            float(outputs["support_loss_before"]),
            float(outputs["support_loss_after"]),
            outputs.get("compact_scales"),
            read_trace(outputs),
        )

    def predict(self, adapted: Adapted, query_inputs: Any, graph: Any = None) -> Answer:
        """Answers queries from what `adapt` gave; it asks the version that had adapted.

        Args:
          adapted: of this model.
          query_inputs: `[queries, ...]`, or the bytes of files.
          graph: for models on nodes, that of the queries; it need not be the one that was adapted on.
        """
        if adapted.model != self.model:
            raise ClientError(
                f"the task was adapted by the model {adapted.model}, but this client uses {self.model}: use a client "
                f"for {adapted.model}."
            )
        choice = Choice(adapted.version)
        if self._choice.version not in (None, adapted.version) or self._choice.label is not None:
            raise ClientError(
                f"the task was adapted by version {adapted.version}, which alone can answer, but this client uses "
                f"{self._choice}: leave out the version and the label, or adapt again."
            )
        try:
            interface = self._interface(choice)
            _check_fits(adapted, interface)
            checked = as_graph(graph, interface)
            if not count(query_inputs):
                return no_answer(interface, adapted.class_names)
            inputs = {
                **adapted.inputs(interface.state_grows),
                **graph_inputs(checked),
                interface.query: _examples(query_inputs, interface, checked),
            }
            signature = PREDICT_COMPACT if adapted.compact else PREDICT
            (outputs,) = self._predict(choice, interface, [(signature, inputs)])
        except RequestError as error:
            if error.code != "NOT_FOUND":
                raise
            raise RequestError(
                error.code,
                error.message,
                f"The task was adapted by version {adapted.version} of {adapted.model}, which is no longer served: "
                "adapt again.",
            ) from error
        return answer_of(outputs, interface, adapted.class_names)

    def _interface(self, choice: Choice) -> Interface:
        # Another thread may drop it at any time.
        interface = self._interfaces.get(choice)
        if interface is None:
            interface = self._interfaces[choice] = self._connection.interface(choice)
        return interface

    def _predict(self, choice: Choice, interface: Interface, calls: Sequence[Call]) -> list[Outputs]:
        """The outputs of each call, one task each, without task axis and padding."""
        parts = [pieces(interface, self._settings, *call) for call in calls]
        flat = [piece for part in parts for piece in part]
        rows: dict[int, Outputs] = {}
        for group in joined(flat, self._settings.tasks_per_request):
            inputs = {name: np.concatenate([flat[at].inputs[name] for at in group]) for name in flat[group[0]].inputs}
            outputs = self._ask(choice, interface, flat[group[0]].signature, inputs)
            rows |= {at: {name: array[row] for name, array in outputs.items()} for row, at in enumerate(group)}
        answered = iter(rows[at] for at in range(len(flat)))
        of_calls = [[(next(answered), piece.queries) for piece in part] for part in parts]
        statuses = [max(int(row["status"]) for row, _ in part) for part in of_calls]
        if any(statuses):
            raise TaskError(statuses)
        return [put_together(part, interface.answer) for part in of_calls]

    def _ask(self, choice: Choice, interface: Interface, signature: str, inputs: Outputs) -> Outputs:
        check_request(interface, signature, inputs)
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return self._connection.predict(choice, signature, inputs, interface.dtypes[signature])
            except RequestError as error:
                # Of a bucket ours has the right shape: the one that it was joined with had not.
                if OTHER_SHAPES not in error.message or not of_bucket(signature) or attempt == self._settings.attempts:
                    raise
        raise AssertionError("attempts are at least 1")


def _may_be_of_another_version(error: ClientError) -> bool:
    """Whether a version with other shapes or classes would have taken the same inputs."""
    # Labels are numbered here, by the classes that the version took when it was last asked what it takes.
    if isinstance(error, TaskError):
        return LABEL_OUT_OF_RANGE in error.statuses
    return type(error) in (ClientError, OtherModelError) or (
        isinstance(error, RequestError) and error.code in _NOT_AS_EXPECTED
    )


def _check_fits(adapted: Adapted, interface: Interface) -> None:
    classes = None if adapted.class_names is None else len(adapted.class_names)
    if (classes is not None) != interface.classification or (classes or 0) > interface.outputs:
        told = f"{interface.outputs} classes" if interface.classification else "no classes"
        raise OtherModelError(
            f"the task was adapted with {'no' if classes is None else classes} classes, but version "
            f"{interface.version} of {adapted.model} has {told}: adapt again."
        )
    if adapted.compact and not interface.compact:
        raise OtherModelError(
            f"the task has a compact state, but version {interface.version} of {adapted.model} does not use any: adapt "
            "again."
        )


def _state(outputs: Outputs, interface: Interface) -> np.ndarray:
    """The adapted state of one task; of a compact one its bytes."""
    if "compact_state_bytes" in outputs:
        return np.frombuffer(outputs["compact_state_bytes"], np.uint8)
    return outputs["adapted_state"][: outputs["adapted_length"] if interface.state_grows else None]


def _whole_call(task: Task, interface: Interface) -> tuple[Call | None, tuple[str, ...] | None]:
    """The call that answers a task, None if it has no queries, and the names of its classes."""
    targets, names = as_targets(task.support_targets, interface, count(task.support_inputs))
    checked = as_graph(task.graph, interface)
    if not count(task.query_inputs):
        return None, names
    both, pace = (task.support_inputs, task.query_inputs), pace_inputs(interface, task.steps, task.rate)
    # Over the wire files are a fraction of what their pixels are.
    if not pace and are_files(both[0]) and are_files(both[1]):
        support, query = (as_files(examples, interface) for examples in both)
        inputs = {"support_inputs_bytes": support, "query_inputs_bytes": query}
        return (FILES, {**inputs, interface.targets: targets}), names
    support, query = (_examples(examples, interface, checked) for examples in both)
    inputs = {**graph_inputs(checked), interface.support: support, interface.query: query, **pace}
    return (WHOLE_BOUNDED if pace else WHOLE, {**inputs, interface.targets: targets}), names


def _examples(examples: Any, interface: Interface, graph: Graph | None) -> np.ndarray:
    return as_examples(examples, interface) if graph is None else checked_nodes(examples, graph)[None]
