"""Requests to the embedded server, broken at random, as bytes and as the structure that they say.

Sound requests are broken and handed to a decoder. Each must be answered, or refused with a status that blames the
request. A stand-in takes the place of a model.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving.memory import Sample, figures, resident_bytes
from export.server import json_predict, prediction
from export.server.errors import ServingError

BLAMES = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "FAILED_PRECONDITION"}
_DTYPES = ("float32", "int32", "int64", "uint8", "bool", "string", "uint64")
_LARGEST = 100_000
_TOKENS = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"1e999",
    b"-0",
    b"NaN",
    b"\\ud800",
    b'"b64"',
    b"null",
    b"\xff",
    b"9" * 40,
]
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    -(2**64),
    1e308,
    float("nan"),
    "",
    "a",
    {"b64": "AA=="},
    {"b64": "*"},
    [],
    [[]],
    {},
)
_TOLERATED_MIB_PER_MINUTE = 2.0


class Recording:
    """Stands in for a loaded model that takes an input of every dtype in each of its signatures."""

    def __init__(self) -> None:
        self.signatures = {}
        for dtype in (*_DTYPES, "all"):
            definition = tf.compat.v1.saved_model.signature_def_utils.build_signature_def()
            for name in _DTYPES if dtype == "all" else (dtype,):
                definition.inputs[name].dtype = tf.as_dtype(name).as_datatype_enum
            definition.outputs["y"].dtype = types_pb2.DT_FLOAT
            self.signatures[dtype] = definition

    def run(self, signature: str, inputs: dict, outputs: list[str], timeout: float) -> dict[str, np.ndarray]:
        """Zeros, as many as the first input has rows."""
        rows = min(len(np.atleast_1d(array)) for array in inputs.values())
        return {name: np.zeros([rows], np.float32) for name in outputs}


_SERVABLE: Any = Recording()


def decode(decoder: str, content: bytes) -> str:
    """OK, or the code that a request is refused with.

    Raises:
      AssertionError: if it is refused with a code that blames the server.
      Exception: whatever should not have been raised.
    """
    try:
        if decoder == "rest":
            json_predict.predict(_SERVABLE, content, 1.0)
        else:
            prediction.predict(_SERVABLE, predict_pb2.PredictRequest.FromString(content), 1.0, _LARGEST)
    except DecodeError:
        return "DecodeError"  # gRPC's own refusal, in front of the server's.
    except ServingError as error:
        assert error.code in BLAMES, error.code
        return error.code
    return "OK"


def sound(decoder: str) -> list[bytes]:
    """Requests for every signature that are answered."""
    arrays = {name: np.array([[1, 0], [0, 1]]).astype(bytes if name == "string" else name) for name in _DTYPES}
    requests = []
    for signature in _SERVABLE.signatures:
        inputs = arrays if signature == "all" else {signature: arrays[signature]}
        if decoder == "rest":
            plain = {
                name: np.array(array, str if name == "string" else None).tolist() for name, array in inputs.items()
            }
            rows = [{name: value[row] for name, value in plain.items()} for row in range(2)]
            for body in ({"inputs": plain}, {"instances": rows}):
                requests.append(json.dumps({"signature_name": signature, **body}).encode())
            continue
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        requests.append(request.SerializeToString())
    return requests


def broken(decoder: str, chance: random.Random, requests: list[bytes]) -> bytes:
    """One of the requests, broken in one to four places."""
    content = chance.choice(requests)
    change = _of_bytes if chance.random() < 0.5 else _of_json if decoder == "rest" else _of_message
    for _ in range(chance.randint(1, 4)):
        content = change(chance, content)
    return content


def _of_bytes(chance: random.Random, content: bytes) -> bytes:
    place, length = chance.randint(0, len(content)), chance.choice((0, 0, 1, 1, 4, 40))
    new = chance.choice((b"", chance.choice(_TOKENS), chance.randbytes(length), content[place : place + 9] * 3))
    return content[:place] + new + content[place + length :]


def _of_json(chance: random.Random, content: bytes) -> bytes:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return json.dumps(_replaced(chance, document)).encode()


def _replaced(chance: random.Random, value: Any) -> Any:
    if not value or not isinstance(value, dict | list) or chance.random() < 0.2:
        return chance.choice((*_VALUES, [value], [value, value], {"b64": value}))
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    value[key] = _replaced(chance, value[key])
    return value


def _of_message(chance: random.Random, content: bytes) -> bytes:
    try:
        request = predict_pb2.PredictRequest.FromString(content)
    except DecodeError:
        return content
    tensor = request.inputs[chance.choice(sorted(request.inputs) or ["x"])]
    what = chance.randrange(5)
    if what == 0:
        tensor.dtype = chance.choice((*types_pb2.DataType.values(), -1, 99))
    elif what == 1:
        tensor.tensor_shape.dim.add().size = chance.choice((-1, 0, 1, 2, 2**31, 2**62, -(2**63)))
    elif what == 2:
        tensor.tensor_content = chance.randbytes(chance.choice((0, 1, 7, 16, 4096)))
    elif what == 3:
        tensor.float_val.append(chance.choice((0.0, 1e38, float("nan"))))
        tensor.int_val.append(chance.choice((-1, 2**31 - 1)))
        tensor.string_val.append(chance.randbytes(3))
    else:
        request.output_filter.append(chance.choice(("y", "z", "")))
    return request.SerializeToString()


def fuzz(decoder: str, seconds: float, seed: int, most: int | None = None) -> dict:
    """Breaks requests for a time, or so many, and returns the figures."""
    chance, requests = random.Random(seed), sound(decoder)
    codes: collections.Counter[str] = collections.Counter(decode(decoder, request) for request in requests)
    assert set(codes) == {"OK"}, codes
    start, samples = time.monotonic(), [Sample(0.0, resident_bytes(os.getpid()))]
    while (elapsed := time.monotonic() - start) < seconds and sum(codes.values()) != most:
        content = broken(decoder, chance, requests)
        codes[tried(decoder, content)] += 1
        if elapsed > samples[-1].seconds + 1:
            samples.append(Sample(elapsed, resident_bytes(os.getpid())))
    return {"decoder": decoder, "requests": sum(codes.values()), "codes": dict(codes)} | figures(
        samples, _TOLERATED_MIB_PER_MINUTE
    )


def tried(decoder: str, content: bytes) -> str:
    """As `decode`, and prints a request that breaks it."""
    try:
        return decode(decoder, content)
    except BaseException:
        print(f"broke the decoder {decoder}: {content!r}", file=sys.stderr)
        raise
