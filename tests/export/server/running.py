"""A server in a process of its own, and the simplest clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.server.child import ServerFailed
from tests.export.server.forked import Program

ROOT = Path(__file__).resolve().parents[3]
_PATIENCE = 120
_STARTED = re.compile(r"gRPC (\S+), REST https?://[^/]+:(\d+)/")


class Running:
    """A server that answers."""

    def __init__(self, process: Program, grpc_address: str, rest_port: int) -> None:
        self.process = process
        self.grpc_address = grpc_address
        self.rest_port = rest_port
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(grpc_address, options=unlimited)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def rest(
        self, method: str, path: str, body: bytes | str | dict | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (parsed where it is JSON) and headers."""
        data = json.dumps(body) if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=_PATIENCE)
        try:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            sent = {name.lower(): value for name, value in response.getheaders()}
            is_json = sent.get("content-type") == "application/json" and text
            return response.status, json.loads(text) if is_json else text, sent
        finally:
            connection.close()

    def predict(self, model: str, signature: str = "", timeout: float = _PATIENCE, **inputs: Any) -> dict[str, Any]:
        """Over gRPC."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
        response = self.prediction.Predict(request, timeout=timeout)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def states(self, model: str) -> dict[int, tuple[str, str]]:
        """State and error message of each version that is known."""
        _, body, _ = self.rest("GET", f"/v1/models/{model}")
        return {
            int(entry["version"]): (entry["state"], entry["status"]["error_message"])
            for entry in body.get("model_version_status", [])
        }

    def wait_for_state(self, model: str, version: int, state: str) -> str:
        """Returns the error message of the version once it is in this state."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            states = self.states(model)
            if states.get(version, ("", ""))[0] == state:
                return states[version][1]
            # The server looks at the disk on its own clock.
            time.sleep(0.02)
        raise AssertionError(f"version {version} of {model} did not become {state}: {self.states(model)}")

    def stop(self) -> int:
        """Ends it as a supervisor does, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


@contextlib.contextmanager
def running(*flags: str, log: Path) -> Iterator[Running]:
    """Starts a server on free ports; its standard error goes to `log`."""
    out = log.with_name(f"{log.name}.out")
    process = Program("export.serve", ["--rest_port=0", "--grpc_port=0", *flags], out, log)
    try:
        end = time.monotonic() + _PATIENCE
        while (started := _STARTED.search(out.read_text() if out.exists() else "")) is None:
            if process.poll() is not None or time.monotonic() > end:
                raise ServerFailed(f"the server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        server = Running(process, started[1], int(started[2]))
        yield server
        server.channel.close()
        # What a test leaves running has nothing left to finish.
    finally:
        process.kill()
