"""From nothing to a served model in minutes: `python -m export.quickstart --workdir=runs/quickstart [--steps=N ...]`.

Trains MAML and CML on letters and CML on sine waves, writes `report.html`, exports and serves both CML models, and
adapts one of them through the server to letters of a script that it has never seen. Finished parts are not repeated.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags
from rich.console import Console

from cml_tf.system.command_line import run
from export.quickstart.plan import IMAGE_OVERRIDES, WAVE_OVERRIDES, Plan
from export.quickstart.serving import export_and_serve
from export.quickstart.training import train_and_report

_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/quickstart", "Directory for the runs maml, cml and sinusoid, the report and the models."
)
_STEPS = flags.DEFINE_integer(
    "steps", IMAGE_OVERRIDES["train.steps"], "Meta-steps of each glyph run; you can start again with more.", 1
)
_WAVE_STEPS = flags.DEFINE_integer(
    "sinusoid_steps", WAVE_OVERRIDES["train.steps"], "Meta-steps of the sinusoid run.", 1
)
_EPISODES = flags.DEFINE_integer("episodes", 600, "Number of test episodes of each evaluation.", 2)
_VERBOSE = flags.DEFINE_integer(
    "verbose", 1, "0 for no progress bars, 1 for progress bars, 2 for one line per epoch.", 0, 2
)
_REST_PORT = flags.DEFINE_integer("rest_port", 0, "REST port of the server; 0 for any free port.", 0, 65535)
_KEEP = flags.DEFINE_bool("keep_serving", None, "Serve until Ctrl-C; by default only at a terminal.")


def main(arguments: list[str]) -> None:
    """Runs all stages and prints what comes of them."""
    del arguments
    plan = Plan(
        Path(_WORKDIR.value),
        _EPISODES.value,
        {**IMAGE_OVERRIDES, "train.steps": _STEPS.value},
        {**WAVE_OVERRIDES, "train.steps": _WAVE_STEPS.value},
    )
    console = Console()
    train_and_report(plan, console, _VERBOSE.value)
    keep = sys.stdout.isatty() if _KEEP.value is None else _KEEP.value
    export_and_serve(plan.workdir, console, _REST_PORT.value, keep)


if __name__ == "__main__":
    run(main)
