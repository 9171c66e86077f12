"""What padding to a shape bucket costs: `python -m benchmarks.serving.padding [--calls=15 --filters=64]`.

5 ways, 28x28, five inner steps. Tasks of several sizes are sent in their own size and padded like the client does, in
turns in one process, so that both meet the same load of the machine. Prints one line per size: the median in
milliseconds, the bytes of the request over gRPC, and the largest difference between the answers.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags
from google.protobuf import json_format
from tensorflow_serving.apis import model_pb2

from benchmarks.serving.models import WAYS, write_images
from cml_tf.system.command_line import run
from export.client.grpc_connection import predict_request
from export.client.interface import Settings, read_interface
from export.client.packing import WHOLE, pieces
from export.graph.buckets import Service
from export.server.servable import Servable

_CALLS = flags.DEFINE_integer("calls", 15, "Number of calls of each kind.", 3)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block.", 1)
# Numbers of support examples and of queries; the buckets are 25 + 75, 5 + 5 and 5 + 1.
_SIZES = ((5, 1), (5, 5), (3, 2), (5, 20), (10, 75), (15, 40), (25, 5), (25, 75))
_WARM_UP, _SECONDS = 2, 120.0
_OUTPUTS = ["probabilities", "status"]

Arrays = dict[str, np.ndarray]


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    with tempfile.TemporaryDirectory() as directory:
        version = Path(directory) / "images" / "1"
        write_images(version, _FILTERS.value, Service(batching=True))
        servable = Servable(version)
    signatures = {
        name: json_format.MessageToDict(definition, preserving_proto_field_name=True)
        for name, definition in servable.signatures.items()
    }
    interface = read_interface(1, signatures)
    generator = np.random.default_rng(0)
    print("size | bucket's signature | own, ms | padded, ms | own, KB | padded, KB | difference")
    for support, query in _SIZES:
        own = _inputs(support, query, generator)
        (piece,) = pieces(interface, Settings(padding="always"), WHOLE, own)
        calls = ((WHOLE, own), (piece.signature, dict(piece.inputs)))
        milliseconds, answers = _in_turns(servable, calls)
        sizes = [_kilobytes(*call) for call in calls]
        difference = np.abs(answers[0] - answers[1][:, :query]).max()
        times = f"{milliseconds[0]:.1f} | {milliseconds[1]:.1f} | {sizes[0]:.0f} | {sizes[1]:.0f}"
        print(f"{support} + {query} | {piece.signature} | {times} | {difference:.1e}", flush=True)


def _inputs(support: int, query: int, generator: np.random.Generator) -> Arrays:
    images = {"support_inputs": support, "query_inputs": query}
    drawn = {name: generator.random((1, count, 28, 28, 1), np.float32) for name, count in images.items()}
    return {**drawn, "support_labels": (np.arange(support, dtype=np.int32) % WAYS)[None]}


def _in_turns(servable: Servable, calls: tuple[tuple[str, Arrays], ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    seconds = np.zeros((_CALLS.value + _WARM_UP, len(calls)))
    answers: list[np.ndarray] = []
    for turn in seconds:
        answers = []
        for position, (signature, inputs) in enumerate(calls):
            start = time.perf_counter()
            answers.append(servable.run(signature, inputs, _OUTPUTS, _SECONDS)["probabilities"])
            turn[position] = time.perf_counter() - start
    return np.median(seconds[_WARM_UP:], axis=0) * 1e3, answers


def _kilobytes(signature: str, inputs: Arrays) -> float:
    return predict_request(model_pb2.ModelSpec(name="images"), signature, inputs).ByteSize() / 1e3


if __name__ == "__main__":
    run(main)
