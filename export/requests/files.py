"""Requests in the form that TensorFlow Serving's warm-up reads: a TFRecord file of PredictionLog messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


class Request(NamedTuple):
    """A call of a signature.

    Attributes:
      signature: its name.
      inputs: arrays by name, with task axis; bytes as arrays of objects.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]


def write_requests(path: Path, requests: Iterable[Request], model_name: str) -> None:
    """Writes a TFRecord file; `model_name` is what the requests ask for."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(_log(request, model_name).SerializeToString())


def read_requests(path: Path) -> list[Request]:
    """Reads such a file."""
    requests = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        requests.append(Request(request.model_spec.signature_name, inputs))
    return requests


def _log(request: Request, model_name: str) -> Any:
    log = prediction_log_pb2.PredictionLog()
    message = log.predict_log.request
    message.model_spec.name = model_name
    message.model_spec.signature_name = request.signature
    for name, array in request.inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return log
