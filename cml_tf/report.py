"""Prints the table of a sweep: `python -m cml_tf.report --results=FILE.jsonl`.

Markdown: scores with their interval over seeds, and CML's paired difference from MAML on the same episodes.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from cml_tf.command_line import fail, run
from cml_tf.experiments.sweeps import SweepError, read_results
from cml_tf.reporting.sweep_table import markdown

_RESULTS = flags.DEFINE_string("results", None, "File that cml_tf.sweep wrote.", required=True)


def main(arguments: list[str]) -> None:
    """Prints the table."""
    del arguments
    path = Path(_RESULTS.value)
    if not path.is_file():
        fail(f"there is no file {path}: python -m cml_tf.sweep writes one.")
    try:
        print(markdown(read_results(path).values()))
    except (SweepError, ValueError) as error:
        fail(f"{path}: {error}")


if __name__ == "__main__":
    run(main)
