"""Replays the requests that an export carries, so that no client pays for the first run of a shape."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from export.server.errors import ServingError, from_tensorflow, invalid
from export.server.prediction import predict
from export.server.servable import Servable

REQUESTS = "tf_serving_warmup_requests"
_MOST = 1000
# The limits that clients have are not for these: they come with the model, and the first run of a shape takes longest.
_SECONDS = 600.0
_LARGEST = 2**31


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
