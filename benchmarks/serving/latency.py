"""Cost of a call through the server compared with the same call in process: `python -m benchmarks.serving.latency`.

5 ways, 5 shots, 28x28, 64 filters, 75 queries, five inner steps. The calls take turns in one run, so whatever the
machine does meanwhile happens to all of them. Prints a table, and one JSON object as the last line. With
`--output=FILE` the JSON is written there too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from benchmarks.serving.models import write_images
from benchmarks.serving.paired_latency import measure, paired_calls, report, table
from benchmarks.serving.server_process import serving
from benchmarks.told import tell
from cml_tf.system.command_line import run

_CALLS = flags.DEFINE_integer("calls", 50, "Number of calls of each kind.", 3)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block of the conv net.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    with tempfile.TemporaryDirectory() as directory:
        version = Path(directory) / "images" / "1"
        write_images(version, _FILTERS.value)
        with serving([version]) as target:
            times = measure(paired_calls(version, target), _CALLS.value)
    result = report(times) | {"filters": _FILTERS.value}
    tell(table(result), result, _OUTPUT.value)


if __name__ == "__main__":
    run(main)
