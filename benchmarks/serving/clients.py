"""A client on one thread over either protocol, with encoding, asking and decoding apart to be timed apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import grpc
import numpy as np
import requests
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc

from benchmarks.serving.questions import STATE, Arrays, Question
from export.client.grpc_connection import arrays_of, predict_request
from export.client.rest_connection import column_body
from export.graph.specifications import PREDICT

_SECONDS = 120.0
_DTYPES = {"status": np.int32, "model_fingerprint": np.int32}


class Client(Protocol):
    """One connection; raises whatever its library raises."""

    def encode(self, model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """A request as it is sent."""

    def send(self, model: str, message: Any) -> Any:
        """The answer as it came."""

    def decode(self, answer: Any) -> Arrays:
        """The arrays in it."""

    def close(self) -> None:
        """Ends the connection."""


class GrpcClient:
    """Over gRPC; `address` is host and port."""

    def __init__(self, address: str) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        # A channel that is not shared: otherwise gRPC gives all clients of a process one connection.
        self._channel = grpc.insecure_channel(address, options=[*options, ("grpc.use_local_subchannel_pool", 1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def encode(self, model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
        """A PredictRequest."""
        return predict_request(model_pb2.ModelSpec(name=model), signature, inputs)

    def send(self, model: str, message: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """A PredictResponse."""
        del model
        return self._stub.Predict(message, timeout=_SECONDS)

    def decode(self, answer: predict_pb2.PredictResponse) -> Arrays:
        """Its tensors."""
        return arrays_of(answer)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


class RestClient:
    """Over REST, in column form; `address` is host and port."""

    def __init__(self, address: str) -> None:
        self._base = f"http://{address}/v1/models"
        self._session = requests.Session()

    def encode(self, model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
        """A body."""
        del model
        return column_body(signature, inputs)

    def send(self, model: str, message: bytes) -> bytes:
        """A body."""
        response = self._session.post(f"{self._base}/{model}:predict", message, timeout=_SECONDS)
        if response.status_code != 200:
            raise RuntimeError(f"REST answered {response.status_code}: {response.text[:500]}")
        return response.content

    def decode(self, answer: bytes) -> Arrays:
        """Its outputs; few-shot exports answer float32 and int32."""
        outputs = json.loads(answer)["outputs"]
        return {name: np.array(value, _DTYPES.get(name, np.float32)) for name, value in outputs.items()}

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()


def ask(client: Client, question: Question) -> Arrays:
    """The answer to a question; of two calls, the outputs of both."""
    message = client.encode(question.model, question.signature, question.inputs)
    answer = client.decode(client.send(question.model, message))
    if question.query is None:
        return answer
    inputs = {**{name: answer[name] for name in STATE}, **question.query}
    second = client.decode(client.send(question.model, client.encode(question.model, PREDICT, inputs)))
    return answer | second


def differences(answer: Arrays, expected: Arrays) -> list[str]:
    """The names of outputs that are missing, superfluous or not bit for bit as expected."""
    common = answer.keys() & expected.keys()
    unequal = {name for name in common if not np.array_equal(answer[name], expected[name])}
    return sorted((answer.keys() ^ expected.keys()) | unequal)
