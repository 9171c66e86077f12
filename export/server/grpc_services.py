"""PredictionService and ModelService over gRPC.

Bytes that are no message are INTERNAL, as in gRPC's C++ library; its library for Python would say UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import grpc
from absl import logging
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.server.calls import Calls
from export.server.errors import ServingError, invalid
from export.server.model_config import check_reload, from_message
from export.server.prediction import predict

_SIGNATURES = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the calls for tf.Example are UNIMPLEMENTED."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        return await _answered(context, partial(self._predict, request, context.time_remaining()))

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells the signatures."""
        return await _answered(context, partial(self._metadata, request))

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Refused."""
        await _answered(context, _refuse_examples)

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Refused."""
        await _answered(context, _refuse_examples)

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Refused."""
        await _answered(context, _refuse_examples)

    async def _predict(self, request: predict_pb2.PredictRequest, timeout: float | None) -> predict_pb2.PredictResponse:
        _check_has_spec(request)
        spec = request.model_spec
        with self._calls.counted(spec.name, "predict", "GRPC"):
            number, response = await self._calls.predict(
                spec, lambda servable, left: predict(servable, request, left, self._calls.largest), timeout
            )
        _tell_version(response.model_spec, spec, number)
        return response

    async def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _check_has_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        number, signatures = self._calls.metadata(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata[_SIGNATURES].Pack(signatures)
        _tell_version(response.model_spec, request.model_spec, number)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, calls: Calls) -> None:
        self._catalogue = calls.catalogue

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells the states of versions."""
        return await _answered(context, partial(self._status, request))

    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves other models, versions and labels."""
        return await _answered(context, partial(self._reload, request))

    async def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _check_has_spec(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, version in self._catalogue.table.status(request.model_spec):
            entry = response.model_version_status.add(version=number, state=int(version.state))
            entry.status.SetInParent()
            if version.error is not None:
                entry.status.error_code = version.error.grpc_code.value[0]
                entry.status.error_message = version.error.message
        return response

    async def _reload(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        check_reload(request.config)
        await self._catalogue.reload(from_message(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


class Health(health.aio.HealthServicer):
    """The health of the server as a whole, under the empty name."""

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Tells whether it serves."""
        if request.service:
            await context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return await super().Check(request, context)


async def _refuse_examples() -> NoReturn:
    raise ServingError("UNIMPLEMENTED", "this server has no calls for tf.Example: send Predict.")


def _check_has_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _tell_version(told: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, number: int) -> None:
    told.name = asked.name
    told.version.value = number


async def _answered(context: grpc.aio.ServicerContext, answer: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await answer()
    except ServingError as error:
        await _abort(context, error)
    except Exception as error:
        logging.exception("a request failed")
        await _abort(context, ServingError("INTERNAL", f"{type(error).__name__}: {error}"))


async def _abort(context: grpc.aio.ServicerContext, error: ServingError) -> NoReturn:
    await context.abort(error.grpc_code, error.details)
    raise AssertionError("abort raises")


@dataclass(frozen=True)
class _Unreadable:
    reason: str


class RefuseUnreadable(grpc.aio.ServerInterceptor):
    """Answers INTERNAL to requests that cannot be parsed, and logs nothing of them."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Wraps the parser and the answer of a method."""
        handler: Any = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _refusing(handler.unary_unary), _tolerant(handler.request_deserializer), handler.response_serializer
        )


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parsed(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError as error:
            return _Unreadable(str(error))

    return parsed


def _refusing(answer: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def answered(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if isinstance(request, _Unreadable):
            await context.abort(
                grpc.StatusCode.INTERNAL,
                f"the message cannot be parsed: {request.reason}. Check that it is complete and made for this method.",
            )
        return await answer(request, context)

    return answered
