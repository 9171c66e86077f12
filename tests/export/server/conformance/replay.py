"""Sends recorded requests and compares what comes back with the record.

A record is one JSON line: `id`, `request`, `reply`, and `volatile` patterns for texts that differ between builds. A
reply may give the whole `body`, `details` and `message`, or with `has` a part of them. A request is one of

* REST: `method`, `path`, `headers`, and a `body` of text or a `json` document;
* bytes on the `wire` of HTTP;
* gRPC: `service`, `method`, and a `message` in JSON or its `bytes`.

Texts and bytes may be lists of parts: text, {"base64": ...}, {"times": number, "of": parts}, {"gzip": parts}. In
documents {"full": shape, "of": value} stands for nested lists of one value, {"joined": lists} for one list of all.
"""

import base64
import contextlib
import gzip
import http.client
import json
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

_CLOSE = {"rtol": 1e-4, "atol": 1e-4}
_SECONDS = 60
# Where a method's messages are not called as it is.
_MESSAGES = {"HandleReloadConfigRequest": "ReloadConfig"}
Record = dict[str, Any]


def records(*names: str) -> dict[str, Record]:
    """Of the named files, by id."""
    here = Path(__file__).resolve().parent
    lines = [line for name in names for line in (here / f"{name}.jsonl").read_text().splitlines()]
    found = {record["id"]: record for record in map(json.loads, lines)}
    assert len(found) == len(lines), "every record must have an id of its own"
    return found


class Target:
    """A server, by its gRPC and REST addresses (host:port)."""

    def __init__(self, grpc_address: str, rest_address: str) -> None:
        self._rest, self._channel = rest_address, grpc.insecure_channel(grpc_address)

    def close(self) -> None:
        self._channel.close()

    def send(self, record: Record) -> Record:
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

    def _send_rest(self, request: Record) -> Record:
        body = json.dumps(_document(request["json"])) if "json" in request else _bytes(request.get("body", ""))
        with contextlib.closing(http.client.HTTPConnection(self._rest, timeout=_SECONDS)) as connection:
            connection.request(request["method"], request["path"], body or None, request.get("headers", {}))
            return _answer(connection.getresponse())

    def _send_wire(self, request: Record) -> Record:
        host, _, port = self._rest.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # It may have heard enough before the end.
                connection.sendall(_bytes(request["wire"]))
            response = http.client.HTTPResponse(connection)
            response.begin()
            return _answer(response)

    def _send_grpc(self, request: Record) -> Record:
        method, answer = request["method"], None
        if "message" in request:
            name = _MESSAGES.get(method, method)
            data = json_format.ParseDict(
                _document(request["message"]), _message(f"{name}Request")()
            ).SerializeToString()
            answer = _message(f"{name}Response").FromString
        else:
            data = _bytes(request["bytes"])
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{request['service']}/{method}", lambda message: message, answer
        )
        try:
            response = call(data, timeout=_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
        return {"code": "OK", "details": "", "message": json_format.MessageToDict(response)}


def difference(record: Record, actual: Record) -> str | None:
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
        pair = [_readable(record, values.get(field)) for values in (expected, actual)]
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
        return np.full(value["full"], value["of"], object).tolist()
    if value.keys() == {"joined"}:
        return [item for part in value["joined"] for item in _document(part)]
    return {name: _document(item) for name, item in value.items()}


def _answer(response: http.client.HTTPResponse) -> Record:
    text = response.read().decode("utf-8", "replace")
    return {"status": response.status, "content_type": response.getheader("content-type"), "body": text}


def _message(name: str) -> Any:
    return symbol_database.Default().GetSymbol(f"tensorflow.serving.{name}")


def _statuses(actual: Record) -> str:
    """Of the tasks that a message answers, as REST writes them."""
    tensor = actual.get("message", {}).get("outputs", {}).get("status")
    return f'"status": {_array(tensor).tolist()}' if tensor else ""


def _readable(record: Record, value: Any) -> Any:
    """Parsed where it is JSON, without what differs between builds."""
    text = value if isinstance(value, str) else json.dumps(value)
    for pattern in record.get("volatile", []):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(text)
    return text


def _alike(expected: Any, actual: Any) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        # In metadata the same fields come with a name, and no values.
        if {"dtype", "tensorShape"} <= expected.keys() & actual.keys() and "name" not in expected:
            # float_val and tensor_content say the same.
            return _equal(_array(expected), _array(actual))
        return expected.keys() == actual.keys() and all(_alike(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_alike, expected, actual))
    return type(expected) is type(actual) and (expected == actual or _equal(np.array(expected), np.array(actual)))


def _array(tensor: Record) -> np.ndarray:
    return tf.make_ndarray(json_format.ParseDict(tensor, tensor_pb2.TensorProto()))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind != "f" or one.dtype != other.dtype or one.shape != other.shape:
        return one.dtype == other.dtype and np.array_equal(one, other)
    return np.allclose(one, other, **_CLOSE, equal_nan=True)
