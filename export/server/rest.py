"""The REST paths, as one ASGI application."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from absl import logging
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from tensorflow_serving.apis import model_pb2

from export.playground.site import Site
from export.server.calls import Calls
from export.server.errors import ServingError, deadline_exceeded, invalid
from export.server.json_predict import predict
from export.server.json_text import error_text
from export.server.versions_table import Version

_ROOT = "/v1/"
_MODEL = r"(?i:/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?)"
# Paths are taken in either case, verbs in lower case only.
_PREDICT = re.compile(_MODEL + ":predict")
_EXAMPLES = re.compile(_MODEL + ":(?:classify|regress)")
_METADATA = re.compile(_MODEL + "(?i:/metadata)")
_STATUS = re.compile(_MODEL)
_LARGEST_VERSION = 2**63 - 1
# Bodies that are read at once have as many bytes as so many of the largest, whoever sends them and how slowly.
_BODIES_AT_ONCE = 16
_NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_HTML = "text/html; charset=ISO-8859-1"
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


class RestApi:
    """Answers every path and method.

    Args:
      calls: the server behind it.
      metrics_path: where Prometheus reads; empty for nowhere.
      cors: whether pages of any origin may read the answers.
      site: the playground, or None if it is not served.
    """

    def __init__(self, calls: Calls, metrics_path: str, cors: bool, site: Site | None = None) -> None:
        self._calls = calls
        self._metrics_path = metrics_path
        self._cors = cors
        self._site = site
        self._reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI endpoint."""
        request = Request(scope, receive)
        response = await self._answered(request)
        if self._cors and _path(scope).lower().startswith(_ROOT):
            response.headers.update(_CORS)
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._answer(request, _path(request.scope))
        except ServingError as error:
            return _json(error_text(error).encode("utf-8", "replace"), error.http_status)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            logging.exception("a request failed")
            return _json(error_text(ServingError("INTERNAL", f"{type(error).__name__}: {error}")).encode(), 500)

    async def _answer(self, request: Request, path: str) -> Response:
        method = request.method
        if self._metrics_path and path == self._metrics_path and method in ("GET", "POST"):
            return Response(self._calls.metrics.page(), headers={"content-type": "text/plain"})
        if not path.lower().startswith(_ROOT):
            page = self._site.answer(method, path) if self._site else None
            return page or Response(_NOT_FOUND, 404, {"content-type": "text/html"})
        if method == "OPTIONS":
            return Response(status_code=200 if "origin" in request.headers else 400, headers={"content-type": _HTML})
        routes: list[tuple[str, re.Pattern[str], Callable[[Request, model_pb2.ModelSpec], Awaitable[Response]]]] = [
            ("POST", _PREDICT, self._predict),
            ("POST", _EXAMPLES, _refuse_examples),
            ("GET", _METADATA, self._metadata),
            ("GET", _STATUS, self._status),
        ]
        for wanted, pattern, answer in routes:
            match = pattern.fullmatch(path)
            if method == wanted and match:
                if _is_too_large(match["version"] or ""):
                    return _json(b"", 400)
                return await answer(request, _spec(match))
        if method == "GET" and path.lower() == "/v1/models":
            raise invalid("Missing model name in request.")
        raise invalid(f"Malformed request: {method} {path}")

    async def _predict(self, request: Request, spec: model_pb2.ModelSpec) -> Response:
        with self._calls.counted(spec.name, "predict", "REST"):
            end = time.monotonic() + self._calls.timeout
            try:
                body = await asyncio.wait_for(self._body(request), self._calls.timeout)
            except TimeoutError as error:
                raise deadline_exceeded() from error
            left = max(0.0, end - time.monotonic())
            _, answer = await self._calls.predict(spec, lambda servable, left: predict(servable, body, left), left)
        return _json(answer)

    async def _metadata(self, request: Request, spec: model_pb2.ModelSpec) -> Response:
        del request
        number, signatures = self._calls.metadata(spec)
        document = {
            "model_spec": {"name": spec.name, "version": str(number), "signature_name": ""},
            "metadata": {
                "signature_def": json_format.MessageToDict(
                    signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                )
            },
        }
        for definition in document["metadata"]["signature_def"]["signature_def"].values():
            definition.setdefault("defaults", {})
        return _json(json.dumps(document, indent=1).encode())

    async def _status(self, request: Request, spec: model_pb2.ModelSpec) -> Response:
        del request
        entries = [_status_entry(number, version) for number, version in self._calls.catalogue.table.status(spec)]
        return _json((json.dumps({"model_version_status": entries}, indent=1) + "\n").encode())

    async def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                self._reading += len(part)
                if size > self._calls.largest:
                    raise self._too_large()
                if self._reading > _BODIES_AT_ONCE * self._calls.largest:
                    raise ServingError(
                        "RESOURCE_EXHAUSTED",
                        f"the server is full: the requests that it is reading have {self._reading} bytes. Try again "
                        "later.",
                    )
                parts.append(part)
            body = b"".join(parts)
        finally:
            self._reading -= size
        if request.headers.get("content-encoding") == "gzip":
            return self._inflated(body)
        return body

    def _inflated(self, body: bytes) -> bytes:
        inflater = zlib.decompressobj(wbits=31)
        try:
            inflated = inflater.decompress(body, self._calls.largest + 1)
        except zlib.error:
            return b""  # The document is empty, says the parser then; TensorFlow Serving says so too.
        if len(inflated) > self._calls.largest:
            raise self._too_large()
        return inflated if inflater.eof else b""

    def _too_large(self) -> ServingError:
        return _TooLargeError(
            "RESOURCE_EXHAUSTED",
            f"the body must have at most {self._calls.largest} bytes, also uncompressed, but has more. Send fewer "
            "examples at a time, or start the server with a larger --max_message_bytes.",
        )


def application(api: RestApi) -> Starlette:
    """The application that an ASGI server runs."""
    register_url_convertor("any_path", _AnyPath())
    return Starlette(routes=[Route("/{path:any_path}", api)])


class _AnyPath(PathConvertor):
    # Starlette's own ends at a line feed, and what follows would be answered by its page for unknown paths.
    regex = "(?s:.*)"


class _TooLargeError(ServingError):
    # With 429 a client would try again, in vain.
    http_status = 413


async def _refuse_examples(request: Request, spec: model_pb2.ModelSpec) -> Response:
    raise ServingError(
        "UNIMPLEMENTED", f"this server has no classify and regress for tf.Example: send {spec.name}:predict."
    )


def _path(scope: Scope) -> str:
    """As it was sent, with the query: to TensorFlow Serving that is part of the path. Only names are decoded."""
    raw = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{raw}?{query}" if query else raw


def _is_too_large(version: str) -> bool:
    # Python refuses to read numbers of thousands of digits.
    digits = version.lstrip("0")
    return len(digits) > len(str(_LARGEST_VERSION)) or int(digits or "0") > _LARGEST_VERSION


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = unquote(match["label"])
    return spec


def _status_entry(number: int, version: Version) -> dict[str, object]:
    code, message = (version.error.code, version.error.message) if version.error else ("OK", "")
    return {
        "version": str(number),
        "state": version.state.name,
        "status": {"error_code": code, "error_message": message},
    }


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"content-type": "application/json"})
