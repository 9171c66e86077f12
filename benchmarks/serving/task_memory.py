"""Peak memory of one task: `python -m benchmarks.serving.task_memory [--filters=64]`.

5 ways, 28x28, five inner steps. Each request is answered in a process of its own, from exports with and without limits.
Prints a line for each: rows, status, peak resident memory, and what of it was there before the request.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.serving.models import WAYS, write_images
from cml_tf.system.command_line import run
from export.graph.buckets import Service
from export.server.servable import Servable

_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block.", 1)
_SIZES = flags.DEFINE_list("sizes", ["25_75", "1337_75", "4000_75", "25_4000"], "SUPPORT_QUERIES of the tasks.")
_VERSION = flags.DEFINE_string("version", None, "Internal: the version that one process calls.")
_SECONDS = 600.0
_KINDS = {
    "without limits, batch_transductive": (None, "batch_transductive"),
    "with limits, batch_transductive": (Service(), "batch_transductive"),
    "without limits, support": (None, "support"),
    "with limits, support": (Service(), "support"),
}


def main(arguments: list[str]) -> None:
    """Measures and prints; with --version, answers one request."""
    del arguments
    if _VERSION.value:
        _ask(Path(_VERSION.value), *map(int, _SIZES.value[0].split("_")))
        return
    print("export | support + queries | status | peak, MiB | before, MiB")
    with tempfile.TemporaryDirectory() as directory:
        for number, (kind, (service, normalisation)) in enumerate(_KINDS.items()):
            version = Path(directory) / str(number) / "1"
            write_images(version, _FILTERS.value, service, normalisation)
            for size in _SIZES.value:
                program = [sys.executable, "-m", "benchmarks.serving.task_memory"]
                done = subprocess.run(
                    [*program, f"--version={version}", f"--sizes={size}"], stdout=subprocess.PIPE, text=True, check=True
                )
                print(f"{kind} | {done.stdout.strip().splitlines()[-1]}", flush=True)


def _ask(version: Path, support: int, query: int) -> None:
    servable = Servable(version)
    generator = np.random.default_rng(0)
    images = {"support_inputs": support, "query_inputs": query}
    drawn = {name: generator.random((1, count, 28, 28, 1), np.float32) for name, count in images.items()}
    inputs = {**drawn, "support_labels": (np.arange(support, dtype=np.int32) % WAYS)[None]}
    before = _peak()
    status = servable.run("serving_default", inputs, ["status", "probabilities"], _SECONDS)["status"][0]
    print(f"{support} + {query} | {status} | {_peak()} | {before}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    run(main)
