"""TensorFlow Serving's batching, as it was seen to join requests, on one version of a model.

One queue for each set of input and output tensors; axis 0 of every input is concatenated, the graph runs once, outputs
are cut on axis 0. If another axis differs, or the graph raises, all that were joined fail. A request of more tasks than
a batch may hold is refused; one of no tasks would wait for ever. It knows nothing of tasks, shapes or signatures.
"""

import functools
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from export.client.errors import RequestError
from export.client.interface import Choice, Interface, read_interface
from export.server.errors import ServingError
from export.server.servable import Servable

_servable = functools.cache(Servable)


class _Waiting:
    """A request in a queue, and what came of it."""

    def __init__(self, signature: str, inputs) -> None:
        self.signature, self.inputs, self.outcome = signature, inputs, None
        self.tasks = len(next(iter(inputs.values())))


class BatchingSession:
    """A server to `clients` threads: batches close when all of them wait, so what is joined is no matter of time.

    Each client must call `leave` at its end. `batches` tells the signature of each run of the graph, and how many
    requests it had joined.
    """

    def __init__(self, directory: Path, clients: int, max_batch_size: int = 16) -> None:
        self._servable, self._left, self._most = _servable(directory), clients, max_batch_size
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self.batches: list[tuple[str, int]] = []

    def interface(self, choice: Choice) -> Interface:
        """From the signatures, as its metadata would tell them."""
        signatures = self._servable.signatures.items()
        told = {name: json_format.MessageToDict(one, preserving_proto_field_name=True) for name, one in signatures}
        return read_interface(1, told)

    def predict(self, choice: Choice, signature: str, inputs, dtypes):
        """Waits until everybody does, and answers."""
        if signature not in self._servable.signatures:
            raise RequestError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
        request = _Waiting(signature, inputs)
        assert request.tasks, "without tasks it would wait for ever"
        if len({len(array) for array in inputs.values()}) > 1:
            raise RequestError("INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size")
        if request.tasks > self._most:
            text = f"Task size {request.tasks} is larger than maximum input batch size {self._most}"
            raise RequestError("INVALID_ARGUMENT", text)
        with self._changed:
            self._waiting.append(request)
            self._run_if_all_wait()
            self._changed.wait_for(lambda: request.outcome is not None)
        if isinstance(request.outcome, RequestError):
            raise request.outcome
        return request.outcome

    def leave(self) -> None:
        """A client has no more questions."""
        with self._changed:
            self._left -= 1
            self._run_if_all_wait()

    def close(self) -> None:
        """Nothing: other clients may still ask."""

    def _run_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < self._left:
            return
        queues = defaultdict(lambda: [[]])
        for request in self._waiting:
            definition = self._servable.signatures[request.signature]
            tensors = [(kind.name for kind in part.values()) for part in (definition.inputs, definition.outputs)]
            batches = queues[tuple(map(tuple, map(sorted, tensors)))]
            if sum(other.tasks for other in batches[-1]) + request.tasks > self._most:
                batches.append([])
            batches[-1].append(request)
        self._waiting = []
        for batch in (batch for batches in queues.values() for batch in batches):
            self._run(batch)
        self._changed.notify_all()

    def _run(self, batch: list[_Waiting]) -> None:
        signature, start = batch[0].signature, 0
        self.batches.append((signature, len(batch)))
        try:
            outputs = self._outputs(batch, signature)
        except RequestError as error:
            for request in batch:
                request.outcome = error
            return
        for request in batch:
            request.outcome = {name: array[start : start + request.tasks] for name, array in outputs.items()}
            start += request.tasks

    def _outputs(self, batch: list[_Waiting], signature: str):
        joined = {}
        for name in batch[0].inputs:
            arrays = [request.inputs[name] for request in batch]
            if len({array.shape[1:] for array in arrays}) > 1:
                text = "from different tasks have different shapes and padding is turned off. Set"
                text += " pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal"
                text = f"Tensors with name '{signature}_{name}:0' {text} dimensions."
                raise RequestError("FAILED_PRECONDITION", text)
            joined[name] = np.concatenate(arrays)
        try:
            return self._servable.run(signature, joined, sorted(self._servable.signatures[signature].outputs), 60)
        except ServingError as error:
            raise RequestError(error.code, str(error)) from error
