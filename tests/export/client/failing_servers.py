"""Servers that refuse, wait, or answer, and count."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

METADATA = b'{"model_spec": {"version": "1"}, "metadata": {"signature_def": {"signature_def": {}}}}'


class Counting:
    """What all of them have.

    Attributes:
      address: for the client.
      calls: requests that arrived.
      release: set when those that wait may go on.
    """

    def __init__(self) -> None:
        self.address = ""
        self.calls = 0
        self.release = threading.Event()


@contextlib.contextmanager
def failing_grpc(code: grpc.StatusCode | None, times: int) -> Iterator[Counting]:
    """Answers the metadata call with `code` so many times (None: with nothing, until released), then as it should."""
    state = Counting()

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):
            state.calls += 1
            if state.calls <= times:
                if code is None:
                    state.release.wait(60)
                else:
                    context.abort(code, "on purpose")
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
            return response

    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    state.address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield state
    finally:
        state.release.set()
        server.stop(None).wait()


@contextlib.contextmanager
def failing_http(status: int | None, times: int, headers: Mapping[str, str] | None = None) -> Iterator[Counting]:
    """The same over REST."""
    state = Counting()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            state.calls += 1
            failing = state.calls <= times
            if failing and status is None:
                state.release.wait(60)
                failing = False
            body = b'{"error": "on purpose"}' if failing else METADATA
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status if failing else 200)
                self.send_header("Content-Length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
