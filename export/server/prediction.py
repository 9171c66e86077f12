"""A call of a signature, checked before the session sees it: from a client over gRPC, or from the warm-up file.

An export carries the requests of that file, so that no client pays for the first run of a shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.server.errors import ServingError, from_tensorflow, invalid
from export.server.servable import DEFAULT_SIGNATURE, Servable

_PLAIN = {tf.as_dtype(name).as_datatype_enum: np.dtype(name) for name in ("float32", "float64", "int32", "int64")}
_MOST_AXES = 64
# The names that TensorFlow Serving tells.
_DTYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}
REQUESTS = "tf_serving_warmup_requests"
_MOST = 1000
# The limits that clients have are not for these: they come with the model, and the first run of a shape takes longest.
_SECONDS = 600.0
_LARGEST = 2**31


def predict(
    servable: Servable, request: predict_pb2.PredictRequest, timeout: float, largest: int
) -> predict_pb2.PredictResponse:
    """Answers a request; the caller fills in name and version of the model.

    Args:
      servable: that the request asks for.
      request: as it came.
      timeout: seconds.
      largest: bytes that an input may take once it is unpacked; a few bytes can declare any size.

    Raises:
      ServingError: for a request that does not fit the signature, or whatever the graph says against it.
    """
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    definition = servable.signatures.get(signature)
    if definition is None:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
    for output in definition.outputs.values():
        if output.dtype == types_pb2.DT_INVALID:
            # The signature that initialises a loaded model is an operation without outputs.
            raise ServingError(
                "OUT_OF_RANGE", f"Node '{output.name}' (type: 'NoOp', num of outputs: 0) does not have output 0"
            )
    _check_names(definition, request.inputs)
    outputs = _chosen_outputs(definition, request.output_filter)
    inputs = {name: _decoded(name, tensor, largest) for name, tensor in request.inputs.items()}
    _check_dtypes(definition, request.inputs)
    answer = servable.run(signature, inputs, outputs, timeout)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = signature
    for name, array in answer.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
    return response


def dtype_name(dtype: int) -> str:
    """A DataType as TensorFlow Serving names it."""
    name = tf.as_dtype(dtype).name
    return _DTYPE_NAMES.get(name, name)


def _check_names(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]) -> None:
    wanted, sent = sorted(definition.inputs), sorted(inputs)
    if len(wanted) != len(sent):
        extra = [name for name in sent if name not in definition.inputs]
        missing = [name for name in wanted if name not in inputs]
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != len({_set(wanted)})."
            f" Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    for name in wanted:
        if name not in inputs:
            raise invalid(
                f"Signature input alias: {name}(feed name: {definition.inputs[name].name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_set(sent)}, or default input alias "
                "set: "
            )


def _check_dtypes(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]) -> None:
    for index, name in enumerate(sorted(inputs)):
        wanted, sent = definition.inputs[name].dtype, inputs[name].dtype
        if wanted != sent:
            raise invalid(f"Expects arg[{index}] to be {dtype_name(wanted)} but {dtype_name(sent)} is provided")


def _chosen_outputs(definition: meta_graph_pb2.SignatureDef, chosen: Iterable[str]) -> list[str]:
    outputs: list[str] = []
    for name in chosen:
        if name not in definition.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_set(sorted(definition.outputs))}."
            )
        if name in outputs:
            raise invalid(f"duplicate output tensor alias: {name}")
        outputs.append(name)
    return outputs or sorted(definition.outputs)


def _decoded(name: str, tensor: tensor_pb2.TensorProto, largest: int) -> np.ndarray:
    try:
        size = tf.as_dtype(tensor.dtype).size or 1
        # The bytes of a string cannot be declared, but each element takes a pointer and an object.
        size = 32 if tensor.dtype == tf.string.as_datatype_enum else size
    except TypeError as error:
        raise invalid(f"tensor parsing error: {name}") from error
    dimensions = [dimension.size for dimension in tensor.tensor_shape.dim]
    if min(dimensions, default=0) < 0:
        raise invalid(f"tensor parsing error: {name}")
    if math.prod(dimensions) * size > largest:
        raise ServingError(
            "RESOURCE_EXHAUSTED",
            f"input {name} declares the shape {dimensions}, which takes more than the {largest} bytes that a message "
            "may have. Send fewer examples at a time, or start the server with a larger --max_message_bytes.",
        )
    plain = tensor.dtype in _PLAIN and len(dimensions) <= _MOST_AXES
    if plain and len(tensor.tensor_content) == math.prod(dimensions) * size > 0:
        # Without a copy; all other forms are TensorFlow's to read.
        return np.frombuffer(tensor.tensor_content, _PLAIN[tensor.dtype]).reshape(dimensions)
    try:
        value = _parser(tf.as_dtype(tensor.dtype))(tensor.SerializeToString())
    except (tf.errors.OpError, ValueError, TypeError, NotImplementedError) as error:
        raise invalid(f"tensor parsing error: {name}") from error
    # A string without axes comes as bytes.
    return np.asarray(value, object if isinstance(value, bytes) else None)


@functools.cache
def _parser(dtype: tf.DType) -> Callable[[bytes], np.ndarray]:
    """Reads a serialised TensorProto of a dtype.

    In a session: each operation that fails outside of one keeps a kilobyte for good.
    """
    with tf.Graph().as_default() as graph:
        content = tf.compat.v1.placeholder(tf.string, [])
        value = tf.io.parse_tensor(content, dtype)
    return tf.compat.v1.Session(graph=graph).make_callable(value, [content])


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(names) + "}"


def warm_up(servable: Servable, directory: Path) -> int:
    """Replays `assets.extra/tf_serving_warmup_requests` of a version, if it is there.

    Args:
      servable: the loaded version.
      directory: of the version.

    Returns:
      The number of requests.

    Raises:
      ServingError: for the first record that is no request or that the model does not answer.
    """
    path = directory / "assets.extra" / REQUESTS
    if not path.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if count == _MOST:
                raise invalid(f"Number of warmup records exceeds the maximum ({_MOST}) at {path}")
            _replay(servable, record)
            count += 1
    except tf.errors.OpError as error:
        raise ServingError(
            from_tensorflow(error).code,
            f"{error.message}. Please verify your warmup data is in TFRecord format.",
        ) from error
    return count


def _replay(servable: Servable, record: bytes) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid(f"Failed to parse warmup record: {error}") from error
    if not log.HasField("predict_log"):
        raise ServingError("UNIMPLEMENTED", "Unsupported log_type for warmup: only predict_log is replayed.")
    predict(servable, log.predict_log.request, _SECONDS, _LARGEST)
