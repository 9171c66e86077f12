"""Makes a run's answers trustworthy: `python -m cml_tf.calibrate --workdir=DIR [--shots=1,5 --ways=5 ...]`.

Fits on validation episodes how sure the model may be, which classes belong into a prediction set, and when a query is
of none of the task's classes; measures all that on the classes of the test split. Writes `confidence.json` into the
run's directory for `python -m export.savedmodel --confidence=FILE`, prints a table, and one JSON object as the last
line.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from cml_tf.experiments.confident_runs import FittedRun, fit_run
from cml_tf.readouts.confidence import BEST, Asked
from cml_tf.registry import members
from cml_tf.studies.pictures.confidence import write_confidence
from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_json

CONFIDENCE = "confidence.json"
_NONE = "none"
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, f"File to write; {CONFIDENCE} in the run's directory by default.")
_SHOTS = flags.DEFINE_list(
    "shots", [], "Support examples a class to fit at, such as 1,5; those of training by default."
)
_WAYS = flags.DEFINE_integer(
    "ways",
    None,
    "Classes of a task to fit on, of a model that takes any number; the most that it takes by default. It is not known "
    "how well the fit holds for tasks of others.",
    2,
)
_CALIBRATION = flags.DEFINE_enum(
    "calibration", "temperature", list(members("calibration")), "How logits are calibrated."
)
_COVERAGE = flags.DEFINE_float("coverage", 0.95, "Share of queries whose prediction set is to hold their class.")
_OPEN_SET = flags.DEFINE_enum(
    "open_set",
    BEST,
    [BEST, *members("open_set"), _NONE],
    "Score that says whether a query is of a class of the task; best: what does it best on validation episodes.",
)
_FALSE_ACCEPT = flags.DEFINE_float("false_accept", 0.05, "Share of queries of other classes to be taken for known.")
_UNKNOWN = flags.DEFINE_integer(
    "unknown_classes", None, "Other classes in an episode, to fit and measure the score; as many as ways by default.", 1
)
_EPISODES = flags.DEFINE_integer("episodes", 400, "Validation episodes to fit on, for each number of shots.", 4)
_TEST_EPISODES = flags.DEFINE_integer("test_episodes", 400, "Test episodes to measure on.", 2)
_PICTURE = flags.DEFINE_string("picture", None, "PNG file: how often answers are right, and scores of queries.")
_STEPS = flags.DEFINE_integer("steps", None, "Inner steps; adaptation.eval_steps of the configuration by default.", 0)
_READOUT = flags.DEFINE_enum("readout", "learner", list(members("readout")), "What answers.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Checkpoint to fit for.")


def main(arguments: list[str]) -> None:
    """Fits and measures."""
    del arguments
    for flag in (_FALSE_ACCEPT, _UNKNOWN) if _OPEN_SET.value == _NONE else ():
        if flag.present:
            fail(f"--{flag.name} has no effect with --open_set={_NONE}: leave it out.")
    workdir = Path(_WORKDIR.value)
    asked = Asked(
        tuple(map(_number, _SHOTS.value)),
        _CALIBRATION.value,
        _COVERAGE.value,
        None if _OPEN_SET.value == _NONE else _OPEN_SET.value,
        _FALSE_ACCEPT.value,
        _UNKNOWN.value or 0,
        _EPISODES.value,
        _WAYS.value or 0,
    )
    fitted = fit_run(workdir, asked, _TEST_EPISODES.value, _CHECKPOINT.value, _READOUT.value, _STEPS.value)
    path = Path(_OUTPUT.value) if _OUTPUT.value else workdir / CONFIDENCE
    write_json(path, fitted.to_json())
    Console().print(_table(fitted))
    measures = {
        shots: {name: one for name, one in measured.items() if name != "histograms"}
        for shots, measured in fitted.measures.items()
    }
    print(json.dumps({"confidence": str(path), "measures": measures, **fitted.origin}))
    if _PICTURE.value:
        write_confidence(fitted.measures, fitted.confidence, Path(_PICTURE.value))


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        fail(f"--shots={','.join(_SHOTS.value)} must be whole numbers, received {text!r}.")


def _table(fitted: FittedRun) -> Table:
    origin = fitted.origin
    table = Table(
        title=f"test, {origin['ways']} ways, {origin['test_episodes']} episodes, seed {origin['seed']}, 95 % intervals "
        "over episodes"
    )
    for column in ("shots", "measure", "before", "after"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for shots, measures in fitted.measures.items():
        for name, after in measures["after"].items():
            before = measures["before"].get(name)
            table.add_row(shots, name, "" if before is None else _told(before), _told(after))
    return table


def _told(measure: dict[str, float]) -> str:
    return f"{measure['mean']:.4f} ± {measure['ci95']:.4f}"


if __name__ == "__main__":
    run(main)
