"""Servers that refuse, wait, or answer, and count."""

import contextlib
import http.server
import threading
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

METADATA = b'{"model_spec": {"version": "1"}, "metadata": {"signature_def": {"signature_def": {}}}}'


@dataclass
class Counting:
    """Of so many `times` requests fail; those of a server that waits are left without an answer until the end."""

    times: int
    waits: bool
    address: str = ""
    calls: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def fails(self) -> bool:
        """Whether the request that just came is refused."""
        self.calls += 1
        failing = self.calls <= self.times
        if failing and self.waits:
            self.release.wait(60)
        return failing and not self.waits


@contextlib.contextmanager
def failing_grpc(code, times: int):
    """Answers the metadata call with `code` so many times (None: with nothing, until released), then as it should."""
    state = Counting(times, code is None)

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):
            if state.fails():
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
def failing_http(status, times: int, headers=None):
    """The same over REST."""
    state = Counting(times, status is None)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            failing = state.fails()
            body = b'{"error": "on purpose"}' if failing else METADATA
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status if failing else 200)
                for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
