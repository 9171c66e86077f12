"""A server in a process of its own, and the simplest clients of it."""

import contextlib
import fcntl
import http.client
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.server.child import ServerFailed
from tests.helpers.forked_programs import Program

_PATIENCE = 300
_STARTED = re.compile(r"gRPC (\S+), REST https?://[^/]+:(\d+)/")


class Running:
    """A server that answers."""

    def __init__(self, pid: int, grpc_address: str, rest_port: int, log: Path, process: Program | None = None) -> None:
        self.pid, self.grpc_address, self.rest_port, self.log, self.process = pid, grpc_address, rest_port, log, process
        self.rest_address = f"127.0.0.1:{rest_port}"
        self.addresses = {"grpc": f"grpc://{grpc_address}", "http": f"http://{self.rest_address}"}
        self.channel = grpc.insecure_channel(grpc_address)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def rest(self, method: str, path: str, body: Any = None, headers=None):
        """Status, body (parsed where it is JSON) and headers."""
        data = json.dumps(body) if isinstance(body, dict) else body
        with contextlib.closing(http.client.HTTPConnection(self.rest_address, timeout=_PATIENCE)) as connection:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            text, sent = response.read().decode(), {name.lower(): value for name, value in response.getheaders()}
        is_json = sent.get("content-type") == "application/json" and text
        return response.status, json.loads(text) if is_json else text, sent

    def predict(self, model: str, signature: str = "", **inputs: Any) -> dict[str, Any]:
        """Over gRPC."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value)))
        response = self._prediction.Predict(request, timeout=_PATIENCE)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}

    def states(self, model: str) -> dict[int, tuple[str, str]]:
        """State and error message of each version that is known."""
        entries = self.rest("GET", f"/v1/models/{model}")[1].get("model_version_status", [])
        return {int(entry["version"]): (entry["state"], entry["status"]["error_message"]) for entry in entries}

    def wait_for_state(self, model: str, version: int, state: str) -> str:
        """Returns the error message of the version once it is in this state."""
        end = time.monotonic() + _PATIENCE
        while (states := self.states(model)).get(version, ("", ""))[0] != state:
            assert time.monotonic() < end, f"version {version} of {model} did not become {state}: {states}"
            time.sleep(0.02)  # The server looks at the disk on its own clock.
        return states[version][1]

    def stop(self) -> int:
        """Ends it as a supervisor does, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


@contextlib.contextmanager
def running(*flags: str, log: Path) -> Iterator[Running]:
    """Starts a server on free ports; its standard error goes to `log`."""
    out = log.with_name(f"{log.name}.out")
    process = Program(["export.serve", "--rest_port=0", "--grpc_port=0", *flags], out, log)
    try:
        end = time.monotonic() + _PATIENCE
        while (started := _STARTED.search(out.read_text() if out.exists() else "")) is None:
            if process.poll() is not None or time.monotonic() > end:
                raise ServerFailed(f"the server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        server = Running(process.pid, started[1], int(started[2]), log, process)
        yield server
        server.channel.close()
    finally:
        process.send_signal()  # What a test leaves running has nothing left to finish.


@contextlib.contextmanager
def running_once(root: Path, flags: Callable[[], Sequence[str]]) -> Iterator[Running]:
    """The server that the first of all processes starts, which waits for the others before it ends it.

    Its address is in `root`, which each process holds locked as long as it may ask.
    """
    root.mkdir(exist_ok=True)
    known = root / "known.json"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not known.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Another one may have been faster.
        if known.exists():
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield Running(*json.loads(known.read_text()), root / "log")
            return
        with running(*flags(), log=root / "log") as server:
            known.write_text(json.dumps([server.pid, server.grpc_address, server.rest_port]))
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield server
            fcntl.flock(lock, fcntl.LOCK_EX)
            known.unlink()
