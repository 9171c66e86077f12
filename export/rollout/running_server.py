"""A server, TensorFlow Serving or the embedded one, as far as a rollout talks to it: over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from export.rollout.errors import RolloutError

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.END
# Of one call; a reload returns when the embedded server has loaded the version.
_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class VersionStatus:
    """Of one version: the number of its state, and the error that it ended with, if any."""

    state: int
    error: str

    def __str__(self) -> str:
        name = get_model_status_pb2.ModelVersionStatus.State.Name(self.state)
        return f"{name} ({self.error})" if self.error else name


class RunningServer:
    """One server.

    Args:
      address: host and gRPC port.
      credentials: that encrypt; None for plain text.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.address = address
        self._channel = (
            grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def versions(self, model: str) -> dict[int, VersionStatus]:
        """What the server knows of the versions of a model; empty if it does not know the model.

        Raises:
          RolloutError: if it does not answer.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            answer = self._models.GetModelStatus(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise self._failed("does not report its versions", error) from error
        return {
            entry.version: VersionStatus(entry.state, entry.status.error_message if entry.status.error_code else "")
            for entry in answer.model_version_status
        }

    def reload(self, config: model_server_config_pb2.ModelServerConfig, seconds: float) -> None:
        """Makes the server serve exactly this.

        Raises:
          RolloutError: if it refuses or takes longer.
        """
        request = model_management_pb2.ReloadConfigRequest(config=config)
        answer = self._call("refuses the configuration", self._models.HandleReloadConfigRequest, request, seconds)
        if answer.status.error_code:
            raise RolloutError(f"{self.address} refuses the configuration: {answer.status.error_message}")

    def labelled(self, model: str, label: str) -> int:
        """The version that answers under a label.

        Raises:
          RolloutError: if none does.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        request.model_spec.version_label = label
        answer = self._call(f"does not answer under {label}", self._prediction.GetModelMetadata, request, _CALL_SECONDS)
        return int(answer.model_spec.version.value)

    def _call(self, doing: str, method: Callable[..., Any], request: Any, seconds: float) -> Any:
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise self._failed(doing, error) from error

    def _failed(self, doing: str, error: grpc.RpcError) -> RolloutError:
        return RolloutError(f"{self.address} {doing}: {error.code().name}: {error.details()}")
