"""Messages over gRPC that mean no good, as bytes, and what the server must say to each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
INVALID, UNIMPLEMENTED, NOT_FOUND = "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND"
INTERNAL = "INTERNAL"
OK = "OK"


class GrpcAttack(NamedTuple):
    """What is sent, and what must come back.

    Attributes:
      name: of the attack.
      method: that is called.
      sent: the message.
      code: of the answer; `OK` where a task's status tells what is wrong.
      message: part of the details; of an `OK`, the statuses of its tasks.
    """

    name: str
    method: str
    sent: bytes
    code: str
    message: str


def tensor(dtype: int = types_pb2.DT_FLOAT, shape: tuple[int, ...] = (), **content: Any) -> Any:
    """A TensorProto of whatever parts."""
    made = tf.make_tensor_proto(np.float32(0))
    made.Clear()
    made.dtype = dtype
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    for name, value in content.items():
        made.tensor_content = value if name == "tensor_content" else made.tensor_content
        if name != "tensor_content":
            getattr(made, name).extend(value)
    return made


def predict(model: str = "halver", signature: str = "", filters: tuple[str, ...] = (), **inputs: Any) -> bytes:
    """A PredictRequest with arrays or TensorProtos."""
    request = predict_pb2.PredictRequest(output_filter=filters)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value))
    return request.SerializeToString()


def wave(**changed: Any) -> bytes:
    """A request to the regression: one task of two support and one query examples."""
    inputs = {
        "support_inputs": np.float32([[[0.0], [1.0]]]),
        "support_targets": np.float32([[[0.5], [1.0]]]),
        "query_inputs": np.float32([[[2.0]]]),
    }
    return predict("waves", **{**inputs, **changed})


def spec(**fields: Any) -> model_pb2.ModelSpec:
    """A ModelSpec."""
    made = model_pb2.ModelSpec(name=fields.get("name", "halver"))
    if "version" in fields:
        made.version.value = fields["version"]
    if "label" in fields:
        made.version_label = fields["label"]
    return made


def _with_spec(**fields: Any) -> bytes:
    request = predict_pb2.PredictRequest(model_spec=spec(**fields))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    return request.SerializeToString()


def _reload(**fields: Any) -> bytes:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(**{"model_platform": "tensorflow", **fields})
    return request.SerializeToString()


def _metadata(*fields: str) -> bytes:
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec(), metadata_field=fields).SerializeToString()


_GOOD = predict(x=np.float32([1, 2, 3]))
_PARSE, _BAD = "the message cannot be parsed", "tensor parsing error: x"
_HUGE = "which takes more than the 4000000 bytes"
_UNREADABLE = [
    *((f"cut off after {size} of {len(_GOOD)} bytes", _GOOD[:size]) for size in range(1, len(_GOOD) - 1, 4)),
    ("zero bytes", b"\0" * 100),
    ("random bytes", np.random.default_rng(0).bytes(1000)),
    ("JSON", b'{"instances": [1]}'),
    ("a length beyond the end", b"\x0a\xff\xff\xff\xff\x0f"),
    ("a varint without end", b"\x08" + b"\xff" * 20),
    ("field number zero", b"\x02\x01\x01"),
    ("wire type 7", b"\x0f\x01"),
    ("a name that is no UTF-8", b"\x0a\x04\x0a\x02\xff\xfe"),
    ("groups nested deeply", b"\x0b" * 10_000),
]
_TENSORS: list[tuple[str, Any, str, str]] = [
    ("no tensor", tensor(0), INVALID, _BAD),
    ("an unknown dtype", tensor(999), INVALID, _BAD),
    ("a dtype below zero", tensor(-1), INVALID, _BAD),
    ("a resource", tensor(types_pb2.DT_RESOURCE, (1,)), INVALID, _BAD),
    ("a variant", tensor(types_pb2.DT_VARIANT, (1,)), INVALID, _BAD),
    ("a reference", tensor(types_pb2.DT_FLOAT_REF, (1,), float_val=[1]), INVALID, _BAD),
    ("double", np.array([1.0]), INVALID, "Expects arg[0] to be float but double is provided"),
    ("int64", np.array([1]), INVALID, "but int64 is provided"),
    ("half", np.float16([1]), INVALID, "but half is provided"),
    ("bool", np.array([True]), INVALID, "but bool is provided"),
    ("complex", np.complex64([1]), INVALID, "but complex64 is provided"),
    ("text", np.array([b"1"], object), INVALID, "but string is provided"),
    ("a size below zero", tensor(shape=(-1,), float_val=[1]), INVALID, _BAD),
    ("two sizes below zero", tensor(shape=(-2, -2), float_val=[1]), INVALID, _BAD),
    ("the smallest size there is", tensor(shape=(-(2**63),)), INVALID, _BAD),
    ("a huge size", tensor(shape=(10**12,), float_val=[1]), "RESOURCE_EXHAUSTED", _HUGE),
    ("the largest size there is", tensor(shape=(2**63 - 1,), float_val=[1]), "RESOURCE_EXHAUSTED", _HUGE),
    ("sizes whose product wraps to 0", tensor(shape=(2**32, 2**32), float_val=[1]), "RESOURCE_EXHAUSTED", _HUGE),
    ("sizes whose product wraps to 1", tensor(shape=(2**62, 4, 1), float_val=[1]), "RESOURCE_EXHAUSTED", _HUGE),
    ("a huge size of text", tensor(types_pb2.DT_STRING, (10**6,), string_val=[b"a"]), "RESOURCE_EXHAUSTED", _HUGE),
    ("a huge size beside none", tensor(shape=(0, 2**62), float_val=[]), INVALID, _BAD),
    ("content shorter than the shape", tensor(shape=(4,), tensor_content=b"\0" * 12), INVALID, _BAD),
    ("content longer than the shape", tensor(shape=(4,), tensor_content=b"\0" * 20), INVALID, _BAD),
    ("content of no whole number", tensor(shape=(4,), tensor_content=b"\0" * 15), INVALID, _BAD),
    ("300 axes", tensor(shape=(1,) * 300, float_val=[1]), INVALID, _BAD),
    ("100 axes", tensor(shape=(1,) * 100, float_val=[1]), INVALID, _BAD),
]
_FEW_SHOT: list[tuple[str, bytes, str, str]] = [
    ("NaN in the support set", wave(support_inputs=np.float32([[[np.nan], [1]]])), OK, "[3]"),
    ("NaN in the targets", wave(support_targets=np.float32([[[np.nan], [1]]])), OK, "[3]"),
    ("infinity in the query", wave(query_inputs=np.float32([[[np.inf]]])), OK, "[3]"),
    ("one bad task of two", predict(
        "waves",
        support_inputs=np.float32([[[0], [1]], [[np.nan], [1]]]),
        support_targets=np.float32([[[0], [1]]] * 2),
        query_inputs=np.float32([[[1]]] * 2),
    ), OK, "[0, 3]"),
    ("no support examples", wave(
        support_inputs=np.zeros((1, 0, 1), np.float32), support_targets=np.zeros((1, 0, 1), np.float32)
    ), OK, "[4]"),
    ("no tasks", predict(
        "waves",
        support_inputs=np.zeros((0, 2, 1), np.float32),
        support_targets=np.zeros((0, 2, 1), np.float32),
        query_inputs=np.zeros((0, 1, 1), np.float32),
    ), INVALID, "at least one task on axis 0"),
    ("no queries", wave(query_inputs=np.zeros((1, 0, 1), np.float32)), OK, "[0]"),
    ("more targets", wave(support_targets=np.zeros((1, 3, 1), np.float32)), OK, "[4]"),
    ("other numbers of tasks", wave(query_inputs=np.zeros((2, 1, 1), np.float32)), INVALID, "tasks"),
    ("a scalar", wave(query_inputs=np.float32(1)), INVALID, "not compatible with expected shape"),
    ("an axis too few", wave(query_inputs=np.float32([[1]])), INVALID, "not compatible with expected shape"),
    ("an axis too many", wave(query_inputs=np.zeros((1, 1, 1, 1), np.float32)), INVALID, "not compatible"),
    ("eight axes", wave(query_inputs=np.zeros((1,) * 8, np.float32)), INVALID, "not compatible"),
    ("examples of no width", wave(query_inputs=np.zeros((1, 1, 0), np.float32)), INVALID, "not compatible"),
    ("examples of width 2", wave(query_inputs=np.zeros((1, 1, 2), np.float32)), INVALID, "not compatible"),
    ("targets as integers", wave(support_targets=np.zeros((1, 2, 1), np.int32)), INVALID, "to be float but int32"),
    ("no targets", predict("waves", support_inputs=np.zeros((1, 1, 1), np.float32)), INVALID, "Missing but required"),
    ("a state of another length", predict(
        "waves", "predict",
        adapted_state=np.zeros((1, 5), np.float32), model_fingerprint=np.int32([1]),
        query_inputs=np.zeros((1, 1, 1), np.float32),
    ), OK, "[5]"),
    ("a state of no length", predict(
        "waves", "predict",
        adapted_state=np.zeros((1, 0), np.float32), model_fingerprint=np.int32([1]),
        query_inputs=np.zeros((1, 1, 1), np.float32),
    ), OK, "[5]"),
    ("a state without tasks axis", predict(
        "waves", "predict",
        adapted_state=np.zeros(97, np.float32), model_fingerprint=np.int32([1]),
        query_inputs=np.zeros((1, 1, 1), np.float32),
    ), INVALID, "not compatible"),
]  # fmt: skip
_CALLS: list[tuple[str, str, bytes, str, str]] = [
    ("no message", PREDICT, b"", INVALID, "Missing ModelSpec"),
    ("no name", PREDICT, predict(""), INVALID, "ModelSpec has no name specified"),
    ("an unknown model", PREDICT, predict("nope"), NOT_FOUND, "Latest(nope)"),
    ("a path as model", PREDICT, predict("../../etc/passwd"), NOT_FOUND, "Latest(../../etc/passwd)"),
    ("a name of a megabyte", PREDICT, predict("a" * 1_000_000), NOT_FOUND, "...TRUNCATED"),
    ("a name with line breaks", PREDICT, predict("a\r\nb: c"), NOT_FOUND, "Servable not found"),
    ("a version below zero", PREDICT, _with_spec(version=-1), NOT_FOUND, "Specific(halver, -1)"),
    ("the smallest version there is", PREDICT, _with_spec(version=-(2**63)), NOT_FOUND, "Servable not found"),
    ("an unknown label", PREDICT, _with_spec(label="x"), INVALID, "Unrecognized servable version label: x"),
    ("an empty label", PREDICT, _with_spec(label=""), INVALID, "Unrecognized servable version label"),
    ("an unknown signature", PREDICT, predict(signature="x"), "FAILED_PRECONDITION", 'key "x" not found'),
    ("the signature that initialises", PREDICT, predict(signature="__saved_model_init_op"), "OUT_OF_RANGE", "output 0"),
    ("no inputs", PREDICT, predict(), INVALID, "Missing but required: {x}"),
    ("an input too many", PREDICT, predict(x=np.float32([1]), y=np.float32([1])), INVALID, "Sent extra: {y}"),
    ("an input without name", PREDICT, predict(**{"": np.float32([1])}), INVALID, "not found in request"),
    ("an unknown output", PREDICT, predict(filters=("z",), x=np.float32([1])), INVALID, "alias not found"),
    ("an output twice", PREDICT, predict(filters=("y", "y"), x=np.float32([1])), INVALID, "duplicate output"),
    ("classify", "/tensorflow.serving.PredictionService/Classify", b"", UNIMPLEMENTED, "tf.Example"),
    ("an unknown method", "/tensorflow.serving.PredictionService/Pwn", _GOOD, UNIMPLEMENTED, ""),
    ("an unknown service", "/a.b/C", _GOOD, UNIMPLEMENTED, ""),
    ("metadata of nothing", METADATA, _metadata(), INVALID, "at least one metadata_field"),
    ("unknown metadata", METADATA, _metadata("x"), INVALID, "Metadata field x is not supported"),
    ("unreadable, for metadata", METADATA, b"\xff", INTERNAL, _PARSE),
    ("status of nothing", STATUS, get_model_status_pb2.GetModelStatusRequest().SerializeToString(), INVALID, "Missing"),
    ("unreadable, for the status", STATUS, b"\xff", INTERNAL, _PARSE),
    ("unreadable, as configuration", RELOAD, b"\xff", INTERNAL, _PARSE),
    (
        "a relative path as configuration",
        RELOAD,
        _reload(name="halver", base_path="../..", model_platform="tensorflow"),
        INVALID,
        "absolute path",
    ),
    (
        "a model without name as configuration",
        RELOAD,
        _reload(base_path="/", model_platform="tensorflow"),
        INVALID,
        "must have a name",
    ),
    ("no configuration", RELOAD, b"", INVALID, "Only ModelConfigList is currently supported"),
    (
        "a model without platform as configuration",
        RELOAD,
        _reload(name="halver", base_path="/x", model_platform=""),
        INVALID,
        "Illegal setting neither",
    ),
    (
        "another platform as configuration",
        RELOAD,
        _reload(name="halver", base_path="/x", model_platform="python"),
        INVALID,
        "Illegal to change a model's platform",
    ),
]

GRPC_ATTACKS: list[GrpcAttack] = [
    *(GrpcAttack(f"unreadable: {name}", PREDICT, sent, INTERNAL, _PARSE) for name, sent in _UNREADABLE),
    *(GrpcAttack(f"as x: {name}", PREDICT, predict(x=value), code, text) for name, value, code, text in _TENSORS),
    *(GrpcAttack(f"few-shot: {name}", PREDICT, sent, code, text) for name, sent, code, text in _FEW_SHOT),
    *(GrpcAttack(f"call: {name}", method, sent, code, text) for name, method, sent, code, text in _CALLS),
]
