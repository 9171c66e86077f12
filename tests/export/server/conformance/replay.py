"""Sends recorded requests and compares what comes back with the record.

A record is one JSON line: `id`, `request`, `reply`, and `volatile` patterns for texts that differ between builds. A
reply may give the whole `body`, `details` and `message`, or with `has` a part of them. A request is one of

* REST: `method`, `path`, `headers`, and a `body` of text or a `json` document;
* bytes on the `wire` of HTTP;
* gRPC: `service`, `method`, and a `message` in JSON or its `bytes`.

Texts and bytes may be lists of parts: text, {"base64": ...}, {"times": number, "of": parts}, {"gzip": parts}. In
documents {"full": shape, "of": value} stands for nested lists of one value.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import math
import re
import socket
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
    model_management_pb2,
    predict_pb2,
)

_HERE = Path(__file__).resolve().parent
_TOLERANCE = 1e-4
_SECONDS = 60
# Where a method's messages are not called as it is.
_MESSAGES = {"HandleReloadConfigRequest": "ReloadConfig"}


def records(*names: str) -> dict[str, dict[str, Any]]:
    """Of the named files, by id."""
    lines = [line for name in names for line in (_HERE / f"{name}.jsonl").read_text().splitlines()]
    found = {record["id"]: record for record in map(json.loads, lines)}
    assert len(found) == len(lines), "every record must have an id of its own"
    return found


class Target:
    """A server, by its gRPC and REST addresses (host:port)."""

    def __init__(self, grpc_address: str, rest_address: str) -> None:
        self._rest = rest_address
        self._channel = grpc.insecure_channel(grpc_address)

    def close(self) -> None:
        self._channel.close()

    def send(self, record: dict[str, Any]) -> dict[str, Any]:
        request = record["request"]
        if "service" in request:
            return self._send_grpc(request)
        try:
            return self._send_wire(request) if "wire" in request else self._send_rest(request)
        except ConnectionError:
            # The server may hang up before its answer is read, since it leaves unread what comes after.
            if not record.get("cut_off"):
                raise
            return {"status": record["reply"]["status"], "body": record["reply"]["has"]}

    def _send_rest(self, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(_document(request["json"])) if "json" in request else _bytes(request.get("body", ""))
        connection = http.client.HTTPConnection(self._rest, timeout=_SECONDS)
        try:
            connection.request(request["method"], request["path"], body or None, request.get("headers", {}))
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def _send_wire(self, request: dict[str, Any]) -> dict[str, Any]:
        host, _, port = self._rest.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # It may have heard enough before the end.
                connection.sendall(_bytes(request["wire"]))
            response = http.client.HTTPResponse(connection)
            response.begin()
            return _answer(response)

    def _send_grpc(self, request: dict[str, Any]) -> dict[str, Any]:
        method, answer = request["method"], None
        if "message" in request:
            name = _MESSAGES.get(method, method)
            sent = json_format.ParseDict(_document(request["message"]), _message(f"{name}Request")())
            data, answer = sent.SerializeToString(), _message(f"{name}Response")
        else:
            data = _bytes(request["bytes"])
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{request['service']}/{method}",
            request_serializer=lambda message: message,
            response_deserializer=answer.FromString if answer else None,
        )
        try:
            response = call(data, timeout=_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
        return {"code": "OK", "details": "", "message": json_format.MessageToDict(response)}


def difference(record: dict[str, Any], actual: dict[str, Any]) -> str | None:
    """What is not alike, in words; None if nothing is."""
    expected = record["reply"]
    partly = "has" in expected
    for field in ("status", "code") if partly else ("status", "content_type", "code"):
        if expected.get(field) != actual.get(field):
            return f"{field}: expected {expected.get(field)}, received {str(actual)[:500]}"
    if partly:
        text = f"{actual.get('body', '')}{actual.get('details', '')}{_statuses(actual)}".replace('\\"', '"')
        return None if expected["has"] in text else f"expected {expected['has']!r}, received {text[:500]!r}"
    for field in ("body", "details", "message"):
        pair = [_readable(_without(record, values.get(field))) for values in (expected, actual)]
        if not _alike(*pair):
            return f"{field}: expected {pair[0]}, received {pair[1]}"
    return None


def _bytes(parts: Any) -> bytes:
    if isinstance(parts, str):
        return parts.encode()
    if isinstance(parts, list):
        return b"".join(map(_bytes, parts))
    if "base64" in parts:
        return base64.b64decode(parts["base64"])
    return gzip.compress(_bytes(parts["gzip"])) if "gzip" in parts else _bytes(parts["of"]) * parts["times"]


def _document(value: Any) -> Any:
    if isinstance(value, list):
        return [_document(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"full", "of"}:
        result = value["of"]
        for size in reversed(value["full"]):
            result = [result] * size
        return result
    return {name: _document(item) for name, item in value.items()}


def _answer(response: http.client.HTTPResponse) -> dict[str, Any]:
    text = response.read().decode("utf-8", "replace")
    return {"status": response.status, "content_type": response.getheader("content-type"), "body": text}


def _message(name: str) -> Any:
    return symbol_database.Default().GetSymbol(f"tensorflow.serving.{name}")


def _statuses(actual: dict[str, Any]) -> str:
    """Of the tasks that a message answers, as REST writes them."""
    tensor = actual.get("message", {}).get("outputs", {}).get("status")
    return f'"status": {_array(tensor).tolist()}' if tensor else ""


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
        close = math.isclose(expected, actual, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        return close or (math.isnan(expected) and math.isnan(actual))
    return type(expected) is type(actual) and expected == actual


def _array(tensor: dict[str, Any]) -> np.ndarray:
    return tf.make_ndarray(json_format.ParseDict(tensor, tensor_pb2.TensorProto()))


def _alike_tensors(expected: dict[str, Any], actual: dict[str, Any]) -> bool:
    # float_val and tensor_content say the same.
    one, other = _array(expected), _array(actual)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE))
    return bool(np.array_equal(one, other))
