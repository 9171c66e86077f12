"""Many clients of a server beside one caller in process, in tasks a second: `python -m benchmarks.serving.throughput`.

A classifier (5 ways, 5 shots, 28x28, 75 queries, five inner steps) and sine waves, each asked to adapt and predict, one
task a request, over gRPC. Callers and server have the same cores, and both ways take turns. Prints a table, and one
JSON object as the last line. With `--output=FILE` the JSON is written there too.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.serving.answer_rates import rate, report, table
from benchmarks.serving.clients import GrpcClient
from benchmarks.serving.models import write_images, write_waves
from benchmarks.serving.paired_latency import in_process, through
from benchmarks.serving.server_process import Target, serving
from benchmarks.told import tell
from cml_tf.system.command_line import run
from export.exporter import EXTRA, WARM_UP
from export.graph.specifications import DEFAULT
from export.requests.files import read_requests
from export.server.servable import Servable

_CLIENTS = flags.DEFINE_integer("clients", 16, "Number of concurrent clients.", 1, 256)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Duration of each turn.", 0.1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How many turns each way has.", 1)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block of the classifier.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    with tempfile.TemporaryDirectory() as directory:
        images, waves = (Path(directory) / name / "1" for name in ("images", "waves"))
        write_images(images, _FILTERS.value)
        write_waves(waves)
        with serving([images, waves]) as target:
            rates = {version.parent.name: _rates(version, target) for version in (images, waves)}
    result = report(rates) | {"clients": _CLIENTS.value, "filters": _FILTERS.value}
    tell(table(result), result, _OUTPUT.value)


def _rates(version: Path, target: Target) -> np.ndarray:
    """Of each round the answers a second in process and served, `[rounds, 2]`."""
    servable, name = Servable(version), version.parent.name
    whole = next(dict(inputs) for signature, inputs in read_requests(version / EXTRA / WARM_UP) if signature == DEFAULT)
    alone = in_process(servable, DEFAULT, whole)
    with contextlib.ExitStack() as open_clients:
        served = []
        for _ in range(_CLIENTS.value):
            client = GrpcClient(target.grpc)
            open_clients.callback(client.close)
            served.append(through(client, name, DEFAULT, whole))
        for call in (alone, *served):
            call()
        return np.array([[rate(way, _SECONDS.value) for way in ([alone], served)] for _ in range(_ROUNDS.value)])


if __name__ == "__main__":
    run(main)
