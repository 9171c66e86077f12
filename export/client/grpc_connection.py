"""Over gRPC."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.client.errors import ClientError, RequestError
from export.client.interface import Choice, Interface, Settings, read_interface

# Adapting changes nothing on the server, so a request may be sent again.
_RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_RETRY_BUFFER = 1 << 30
# A message of protocol buffers has less than 2 GiB; names and shapes are part of it, as is the length of every file.
_LARGEST, _OF_LENGTH = (1 << 31) - (1 << 16), 6


class GrpcConnection:
    """See `Connection`.

    Args:
      target: host and port.
      model: its name.
      secure: whether to use TLS.
      settings: how to talk.
    """

    def __init__(self, target: str, model: str, secure: bool, settings: Settings) -> None:
        self._model = model
        self._timeout = settings.timeout
        options = _options(settings.attempts)
        if secure:
            self._channel = grpc.secure_channel(target, _credentials(settings), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def interface(self, choice: Choice) -> Interface:
        """What the chosen version takes and gives."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(choice), metadata_field=["signature_def"]
        )
        response = self._call(self._stub.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(signatures):
            raise ClientError(
                "the metadata of the server contain no signatures: check that it is TensorFlow Serving or export.serve."
            )
        document = json_format.MessageToDict(signatures, preserving_proto_field_name=True)
        return read_interface(response.model_spec.version.value, document.get("signature_def", {}))

    def predict(
        self, choice: Choice, signature: str, inputs: Mapping[str, np.ndarray], dtypes: Mapping[str, str]
    ) -> dict[str, np.ndarray]:
        """Runs a signature; the answer brings its own dtypes."""
        del dtypes
        return arrays_of(self._call(self._stub.Predict, predict_request(self._spec(choice), signature, inputs)))

    def close(self) -> None:
        """Ends it."""
        self._channel.close()

    def _spec(self, choice: Choice) -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._model)
        if choice.version is not None:
            spec.version.value = choice.version
        elif choice.label is not None:
            spec.version_label = choice.label
        return spec

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise RequestError(error.code().name, error.details() or "no message") from error


def predict_request(
    spec: model_pb2.ModelSpec, signature: str, inputs: Mapping[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    """A request to a signature of the model that `spec` names.

    Raises:
      ClientError: if it is too large to be sent.
    """
    _check_size(inputs)
    request = predict_pb2.PredictRequest(model_spec=spec)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def _check_size(inputs: Mapping[str, np.ndarray]) -> None:
    size = sum(map(_bytes, inputs.values()))
    if size > _LARGEST:
        raise ClientError(
            f"a request over gRPC must hold less than 2 GiB, received {size / 2**30:.2f} GiB: pass fewer examples, set "
            "fewer tasks per request (--tasks_per_request), or pass only a part of a graph (--neighbourhood)."
        )


def _bytes(array: np.ndarray) -> int:
    """How many bytes of a message an array takes."""
    if array.dtype != object:
        return array.nbytes
    return sum(len(content) + _OF_LENGTH for content in array.flat)


def arrays_of(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    """The outputs by name."""
    return {name: _array(tensor) for name, tensor in response.outputs.items()}


def _array(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    if tensor.dtype != types_pb2.DT_STRING or not tensor.tensor_content:
        return tf.make_ndarray(tensor)
    # TensorFlow Serving with --enable_serialization_as_tensor_content: all lengths as varints, then all contents.
    content, at, lengths = tensor.tensor_content, 0, []
    for _ in range(math.prod(axis.size for axis in tensor.tensor_shape.dim)):
        length = shift = 0
        while content[at] & 0x80:
            length, shift, at = length | (content[at] & 0x7F) << shift, shift + 7, at + 1
        lengths.append(length | content[at] << shift)
        at += 1
    ends = at + np.cumsum([0, *lengths])
    found = np.empty(len(lengths), object)
    found[:] = [content[start:end] for start, end in itertools.pairwise(ends)]
    return found.reshape([axis.size for axis in tensor.tensor_shape.dim])


def _options(attempts: int) -> list[tuple[str, Any]]:
    policy = {
        "maxAttempts": attempts,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": list(_RETRYABLE),
    }
    config = {"methodConfig": [{"name": [{}], **({"retryPolicy": policy} if attempts > 1 else {})}]}
    return [
        # 4 MiB by default: the adapted states of a few tasks are more.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.service_config", json.dumps(config)),
        # What does not fit is sent once and never again; 256 KiB by default.
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER),
    ]


def _credentials(settings: Settings) -> grpc.ChannelCredentials:
    contents = [path.read_bytes() if path else None for path in _files(settings)]
    return grpc.ssl_channel_credentials(*contents)


def _files(settings: Settings) -> tuple:
    return settings.ca_certificate, settings.key, settings.certificate
