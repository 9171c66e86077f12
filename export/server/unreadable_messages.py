"""Bytes that are no message are INTERNAL, as in gRPC's C++ library; its library for Python would say UNKNOWN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError


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
                f"the message cannot be parsed: {request.reason}. Was it cut off, or made for another method?",
            )
        return await answer(request, context)

    return answered
