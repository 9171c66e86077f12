"""Adapts and predicts on a server, with arrays or image files in and class names out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.client.adapted import Adapted
from export.client.answers import Answer, among
from export.client.connection import connect
from export.client.errors import ClientError, RequestError, TaskError
from export.client.graphs import Graph, as_graph, checked_nodes, graph_inputs
from export.client.inputs import are_files, as_examples, as_files, as_targets, count
from export.client.interface import Interface
from export.client.settings import Choice, Settings

_WHOLE, _FILES, _ADAPT, _PREDICT = "serving_default", "adapt_and_predict_bytes", "adapt", "predict"


class FewShotClient:
    """Speaks of one task at a time; may be used from several threads over gRPC.

    Inputs are arrays `[examples, ...]` in the value range of the model card; for images also the bytes of PNG or JPEG
    files, one an example; for models on nodes of a graph the numbers of nodes `[examples]`. Targets are class names (or
    numbers) `[examples]`, or numbers `[examples, outputs]` for a regression. Classes are numbered by their sorted
    names; there may be fewer of them than the model's ways.

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
        self._connection = connect(address, model, settings or Settings())
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

    def adapt_and_predict(
        self, support_inputs: Any, support_targets: Any, query_inputs: Any, graph: Any = None
    ) -> Answer:
        """Adapts to the support examples and answers the queries, in one request.

        Args:
          support_inputs: `[support, ...]`, or the bytes of files.
          support_targets: class names, or numbers `[support, outputs]`.
          query_inputs: `[queries, ...]`, or the bytes of files.
          graph: for models on nodes, `(features, edges)` as of `export.client.graphs.Graph`.
        """
        given = support_inputs, support_targets, query_inputs, graph
        known = self._choice in self._interfaces
        try:
            return self._adapt_and_predict(*given)
        except ClientError as error:
            if not (known and _may_be_of_another_version(error)):
                raise
            # The newest version, or that of a label, may be another one by now.
            del self._interfaces[self._choice]
            return self._adapt_and_predict(*given)

    def _adapt_and_predict(self, support_inputs: Any, support_targets: Any, query_inputs: Any, graph: Any) -> Answer:
        interface = self._interface(self._choice)
        targets, names = as_targets(support_targets, interface, count(support_inputs))
        checked = as_graph(graph, interface)
        if not count(query_inputs):
            return _no_answer(interface, names)
        # Over the wire files are a fraction of what their pixels are.
        signature = _FILES if are_files(support_inputs) and are_files(query_inputs) else _WHOLE
        if signature == _FILES:
            support, query = (as_files(examples, interface) for examples in (support_inputs, query_inputs))
            inputs = {"support_inputs_bytes": support, "query_inputs_bytes": query}
        else:
            support, query = (_examples(examples, interface, checked) for examples in (support_inputs, query_inputs))
            inputs = {**graph_inputs(checked), interface.support: support, interface.query: query}
        outputs = self._predict(self._choice, interface, signature, {**inputs, interface.targets: targets})
        return _answer(outputs, interface, names)

    def adapt(self, support_inputs: Any, support_targets: Any, graph: Any = None) -> Adapted:
        """Adapts to the support examples; see `adapt_and_predict`.

        What comes back belongs to one version of the model, so it asks that version by its number.
        """
        self._interfaces.pop(self._choice, None)
        interface = self._interface(self._choice)
        targets, names = as_targets(support_targets, interface, count(support_inputs))
        checked = as_graph(graph, interface)
        support = {interface.support: _examples(support_inputs, interface, checked), interface.targets: targets}
        outputs = self._predict(Choice(interface.version), interface, _ADAPT, {**graph_inputs(checked), **support})
        return Adapted(
            self.model,
            interface.version,
            names,
            outputs["adapted_state"][0],
            int(outputs["model_fingerprint"][0]),
            float(outputs["support_loss_before"][0]),
            float(outputs["support_loss_after"][0]),
        )

    def predict(self, adapted: Adapted, query_inputs: Any, graph: Any = None) -> Answer:
        """Answers queries from what `adapt` gave; it asks the version that had adapted.

        Args:
          adapted: of this model.
          query_inputs: `[queries, ...]`, or the bytes of files.
          graph: for models on nodes, that of the queries; it need not be the one that was adapted on.
        """
        if adapted.model != self.model:
            raise ClientError(f"the task was adapted by the model {adapted.model}, not by {self.model}: ask that one.")
        choice = Choice(adapted.version)
        if self._choice.version not in (None, adapted.version) or self._choice.label is not None:
            raise ClientError(
                f"the task was adapted by version {adapted.version}, which alone can answer, and this client asks "
                f"{self._choice}: leave the version and the label away, or adapt again."
            )
        try:
            interface = self._interface(choice)
            _check_fits(adapted, interface)
            checked = as_graph(graph, interface)
            if not count(query_inputs):
                return _no_answer(interface, adapted.class_names)
            inputs = {
                "adapted_state": adapted.state[None],
                "model_fingerprint": np.array([adapted.fingerprint], np.int32),
                **graph_inputs(checked),
                interface.query: _examples(query_inputs, interface, checked),
            }
            outputs = self._predict(choice, interface, _PREDICT, inputs)
        except RequestError as error:
            if error.code != "NOT_FOUND":
                raise
            raise RequestError(
                error.code,
                error.message,
                f"The task was adapted by version {adapted.version} of {adapted.model}, which is not served any more: "
                "adapt again.",
            ) from error
        return _answer(outputs, interface, adapted.class_names)

    def _interface(self, choice: Choice) -> Interface:
        if choice not in self._interfaces:
            self._interfaces[choice] = self._connection.interface(choice)
        return self._interfaces[choice]

    def _predict(
        self, choice: Choice, interface: Interface, signature: str, inputs: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        outputs = self._connection.predict(choice, signature, inputs, interface.dtypes[signature])
        statuses: Sequence[int] = outputs["status"].tolist()
        if any(statuses):
            raise TaskError(statuses)
        return outputs


def _may_be_of_another_version(error: ClientError) -> bool:
    """Whether a version with other shapes or classes would have taken the same inputs."""
    return type(error) is ClientError or (isinstance(error, RequestError) and error.code == "INVALID_ARGUMENT")


def _check_fits(adapted: Adapted, interface: Interface) -> None:
    classes = None if adapted.class_names is None else len(adapted.class_names)
    if (classes is not None) != interface.classification or (classes or 0) > interface.outputs:
        told = f"{interface.outputs} classes" if interface.classification else "no classes"
        raise ClientError(
            f"the task was adapted with {'no' if classes is None else classes} classes, and version "
            f"{interface.version} of {adapted.model} tells {told} apart: adapt again."
        )


def _examples(examples: Any, interface: Interface, graph: Graph | None) -> np.ndarray:
    return as_examples(examples, interface) if graph is None else checked_nodes(examples, graph)[None]


def _no_answer(interface: Interface, names: tuple[str, ...] | None) -> Answer:
    # JSON cannot say which shape an array of nothing has, so it is not sent.
    return Answer(np.zeros((0, interface.outputs if names is None else len(names)), np.float32), names)


def _answer(outputs: dict[str, np.ndarray], interface: Interface, names: tuple[str, ...] | None) -> Answer:
    values = outputs[interface.answer][0]
    # Ways without an example are answers to nothing.
    return Answer(values if names is None else among(values, len(names)), names)
