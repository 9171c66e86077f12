"""Load for minutes: `python -m benchmarks.serving.soak [--seconds=180 --clients=16 --pause=0 --output=FILE]`.

Starts the embedded server with a regression and a classifier of full size. Half of the clients use gRPC, half REST.
They call every signature in many shapes, and each answer must equal, bit for bit, the answer to the same request
alone. Prints a table, and one JSON object as the last line,
which the file has from the second minute on. Exits with 1 on any error, or if the server's memory grows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from absl import flags
from rich.console import Console

from benchmarks.serving.load import Load, alone, load
from benchmarks.serving.load_report import report, table
from benchmarks.serving.models import write_images, write_waves
from benchmarks.serving.questions import questions
from benchmarks.serving.server_process import serving
from cml_tf.system.command_line import run
from cml_tf.system.files import write_json

_SECONDS = flags.DEFINE_float("seconds", 180.0, "Duration of the load.", 1.0)
_CLIENTS = flags.DEFINE_integer("clients", 16, "Number of concurrent clients.", 1, 256)
_PAUSE = flags.DEFINE_float("pause", 0.0, "Seconds that a client waits after each answer.", 0.0)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block of the classifier.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")
_QUESTIONS = 60


def main(arguments: list[str]) -> None:
    """Loads a server and prints what came of it."""
    del arguments
    with tempfile.TemporaryDirectory() as directory:
        versions = [Path(directory) / name / "1" for name in ("waves", "images")]
        write_waves(versions[0])
        write_images(versions[1], _FILTERS.value)
        asked = [q for version in versions for q in questions(version.parent.name, version, _QUESTIONS, seed=0)]
        with serving(versions) as target:
            expected = alone(target, asked)
            done = load(target, asked, expected, _CLIENTS.value, _SECONDS.value, _PAUSE.value, _written)
            result = _written(done)
    Console().print(table(result))
    for error in result["errors"][:10]:
        print(f"error: {error}", file=sys.stderr)
    print(json.dumps(result))
    if result["errors"] or result["memory_grows"]:
        sys.exit(1)


def _written(done: Load) -> dict:
    result = report(done, _CLIENTS.value)
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result)
    return result


if __name__ == "__main__":
    run(main)
