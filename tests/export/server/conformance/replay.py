"""Sends recorded requests and compares what comes back with the record."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format, symbol_database
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (  # noqa: F401  (makes the messages known by name)
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

_HERE = Path(__file__).resolve().parent
_TOLERANCE = 1e-4
_SECONDS = 60


def records() -> list[dict[str, Any]]:
    """Of both files; `id`, `request`, `reply` and, for texts that differ between builds, `volatile` patterns."""
    lines = [line for name in ("rest.jsonl", "grpc.jsonl") for line in (_HERE / name).read_text().splitlines()]
    return [json.loads(line) for line in lines]


class Target:
    """A server, by its gRPC and REST addresses (host:port)."""

    def __init__(self, grpc_address: str, rest_address: str) -> None:
        self._rest = rest_address
        self._channel = grpc.insecure_channel(grpc_address)

    def close(self) -> None:
        self._channel.close()

    def send(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._send_grpc(request) if "service" in request else self._send_rest(request)

    def _send_rest(self, request: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._rest, timeout=_SECONDS)
        try:
            connection.request(request["method"], request["path"], request.get("body"))
            response = connection.getresponse()
            text = response.read().decode()
            return {"status": response.status, "content_type": response.getheader("content-type"), "body": text}
        finally:
            connection.close()

    def _send_grpc(self, request: dict[str, Any]) -> dict[str, Any]:
        method = request["method"]
        ask, answer = (_message(f"{method}{kind}") for kind in ("Request", "Response"))
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{request['service']}/{method}",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            response = call(json_format.ParseDict(request["message"], ask()), timeout=_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
        return {"code": "OK", "details": "", "message": json_format.MessageToDict(response)}


def difference(record: dict[str, Any], actual: dict[str, Any]) -> str | None:
    """What is not alike, in words; None if nothing is."""
    expected = record["reply"]
    for field in ("status", "content_type", "code"):
        if expected.get(field) != actual.get(field):
            return f"{field}: expected {expected.get(field)}, received {actual}"
    for field in ("body", "details", "message"):
        pair = [_readable(_without(record, values.get(field))) for values in (expected, actual)]
        if not _alike(*pair):
            return f"{field}: expected {pair[0]}, received {pair[1]}"
    return None


def _message(name: str) -> Any:
    return symbol_database.Default().GetSymbol(f"tensorflow.serving.{name}")


def _without(record: dict[str, Any], value: Any) -> Any:
    if isinstance(value, dict):
        return json.loads(_without(record, json.dumps(value)))
    for pattern in record.get("volatile", []) if value else []:
        value = re.sub(pattern, "", value, flags=re.DOTALL)
    return value


def _readable(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _alike(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        # In metadata the same fields come with a name, and no values.
        if {"dtype", "tensorShape"} <= expected.keys() & actual.keys() and "name" not in expected:
            return _alike_tensors(expected, actual)
        return expected.keys() == actual.keys() and all(_alike(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_alike, expected, actual))
    if isinstance(expected, float) and isinstance(actual, float):
        return abs(expected - actual) <= _TOLERANCE * max(1.0, abs(expected))
    return type(expected) is type(actual) and expected == actual


def _alike_tensors(expected: dict[str, Any], actual: dict[str, Any]) -> bool:
    # float_val and tensor_content say the same.
    arrays = [tf.make_ndarray(json_format.ParseDict(tensor, tensor_pb2.TensorProto())) for tensor in (expected, actual)]
    if arrays[0].dtype != arrays[1].dtype or arrays[0].shape != arrays[1].shape:
        return False
    if arrays[0].dtype.kind == "f":
        return bool(np.allclose(arrays[0], arrays[1], rtol=_TOLERANCE, atol=_TOLERANCE))
    return bool(np.array_equal(arrays[0], arrays[1]))
