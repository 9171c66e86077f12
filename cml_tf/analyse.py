"""The paper's analyses of trained runs: `python -m cml_tf.analyse --workdirs=DIR,DIR --output=DIR`.

Accuracy curves, the cosine similarity of the learner's and the co-learner's gradients, gradient norms, linear CKA and
t-SNE of query features (Figures 3 and 4), on the first test episodes, which are the same for all methods. Runs with
the same name in `--names` are seeds of one method: figures show their mean with its interval over seeds. Writes a CSV
table and a picture (PNG and SVG) of each analysis, and index.json, which lists them, with those that an earlier start
made of the same runs and episodes. See docs/ANALYSES.md.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from cml_tf.experiments.stored import RunError
from cml_tf.studies.analyses.figures import ANALYSES, Analysis, Made
from cml_tf.studies.analyses.index import INDEX, earlier_entries
from cml_tf.studies.analyses.runs import Run, manifests, open_runs
from cml_tf.studies.pictures.style import write_png, write_svg
from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_json, write_text
from cml_tf.system.stages import Stages

_NAMES = [analysis.name for analysis in ANALYSES]
_WORKDIRS = flags.DEFINE_list("workdirs", None, "Comma-separated directories of runs.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Directory for the tables, pictures and index.json.", required=True)
_LABELS = flags.DEFINE_list(
    "names",
    [],
    "Names of the runs in figures, the same for all seeds of a method; the names of the directories by default.",
)
_EPISODES = flags.DEFINE_integer(
    "episodes", None, "Number of test episodes; eval.episodes of the first run by default.", 2
)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Checkpoint to analyse.")
_ANALYSES = flags.DEFINE_list(
    "analyses", [], f"Comma-separated analyses among {', '.join(_NAMES)}; all that fit the runs by default."
)


def main(arguments: list[str]) -> None:
    """Makes what was asked for."""
    del arguments
    if unknown := [name for name in _ANALYSES.value if name not in _NAMES]:
        fail(f"--analyses must be among {', '.join(_NAMES)}, received {unknown[0]!r}.")
    output = Path(_OUTPUT.value)
    if output.exists() and not output.is_dir():
        fail(f"--output must be a directory, received the file {output}.")
    runs = open_runs([Path(path) for path in _WORKDIRS.value], _LABELS.value, _CHECKPOINT.value)
    episodes = _EPISODES.value or runs[0].experiment.config.eval.episodes
    hashes = manifests(runs, episodes)
    wanted = [analysis for analysis in ANALYSES if not _ANALYSES.value or analysis.name in _ANALYSES.value]
    _check_wanted(runs, wanted)
    console = Console()
    for one in runs:
        asked = one.experiment.config.train.steps
        reached = f"checkpoint after {one.experiment.trainer.step} of {asked} outer steps"
        console.print(f"{one.name}, seed {one.seed}: {reached}", markup=False)
    stages = Stages(console, len(wanted))
    made: dict[str, Any] = {
        "runs": [_described(one, manifest) for one, manifest in zip(runs, hashes, strict=True)],
        "episodes": episodes,
        "checkpoint": _CHECKPOINT.value,
    }
    entries = earlier_entries(output, made)
    for analysis in wanted:
        with stages.stage(analysis.name):
            entries[analysis.name] = _entry(analysis, runs, episodes, output, console)
            # After each: what is made is not lost when a later one fails.
            told = [entries[name] for name in _NAMES if name in entries]
            write_json(output / INDEX, {**made, "analyses": told})
    console.print(f"{output / INDEX}", soft_wrap=True, markup=False)


def _described(one: Run, manifest: str) -> dict[str, Any]:
    return {
        "name": one.name,
        "seed": one.seed,
        "workdir": str(one.workdir),
        "step": one.experiment.trainer.step,
        "train_steps": one.experiment.config.train.steps,
        "eval_seed": one.source.seed,
        "manifest_hash": manifest,
    }


def _check_wanted(runs: Sequence[Run], wanted: Sequence[Analysis]) -> None:
    """What was asked for by name must be had of one run at least."""
    for analysis in wanted if _ANALYSES.value else ():
        faults = {one.name: analysis.fault(one) for one in runs}
        if all(faults.values()):
            reasons = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
            raise RunError(f"{analysis.name} does not fit any of the runs ({reasons}).")


def _entry(analysis: Analysis, runs: Sequence[Run], episodes: int, output: Path, console: Console) -> dict[str, Any]:
    """Makes one analysis of the runs that it is defined for, and says which are left out and why."""
    left_out = {one.name: fault for one in runs if (fault := analysis.fault(one))}
    for name, fault in left_out.items():
        console.print(f"     skipped {name}: {fault}", style="yellow", markup=False)
    fitting = [one for one in runs if one.name not in left_out]
    entry: dict[str, Any] = {"name": analysis.name, "figure": analysis.paper, "left_out": left_out, "files": {}}
    if not fitting:
        return entry
    made = analysis.make(fitting, episodes)
    files = {kind: f"{made.name}.{kind}" for kind in ("csv", "png", "svg")}
    write_text(output / files["csv"], _table(made))
    write_png(made.figure, output / files["png"])
    write_svg(made.figure, output / files["svg"])
    return {**entry, "title": made.title, "caption": made.caption, "files": files}


def _table(made: Made) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(made.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([{key: _cell(value) for key, value in row.items()} for row in made.rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Floats with seven digits; what is not defined stays empty."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.7g}"


if __name__ == "__main__":
    run(main)
