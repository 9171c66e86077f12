"""Writes a run for a device: `python -m export.device --workdir=DIR --model=FILE.tflite [--shots=N --queries=N ...]`.

The LiteRT file contains the adaptation: an interpreter learns from the examples it is given, with no server. Prints the
name of the file as the last line.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from cml_tf.readouts import through_head
from cml_tf.system.command_line import run
from export.device.exporting import DeviceOptions, export_to_device

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_MODEL = flags.DEFINE_string("model", None, "File to write, NAME.tflite; NAME.json goes beside it.", required=True)
_SHOTS = flags.DEFINE_integer(
    "shots", None, "Support examples a class of every task (regression: in all); those of training by default.", 1
)
_QUERIES = flags.DEFINE_integer(
    "queries", None, "Queries of every question, all classes together; those of an evaluation by default.", 1
)
_STEPS = flags.DEFINE_integer("steps", None, "Inner steps; adaptation.eval_steps of the configuration by default.", 0)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Checkpoint to export.")
_READOUT = flags.DEFINE_string("readout", "learner", f"What answers: one of {through_head()}.")


def main(arguments: list[str]) -> None:
    """Exports one run."""
    del arguments
    options = DeviceOptions(_SHOTS.value, _QUERIES.value, _STEPS.value, _CHECKPOINT.value, _READOUT.value)
    print(export_to_device(Path(_WORKDIR.value), Path(_MODEL.value), options))


if __name__ == "__main__":
    run(main)
