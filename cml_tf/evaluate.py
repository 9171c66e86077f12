"""Scores a run: `python -m cml_tf.evaluate --workdir=DIR [--episodes=600 --steps=S --readout=... --compare=OTHER]`.

--ways=N and --shots=K score on episodes of another size (docs/FREE_WAYS.md).
With --dataset=NAME [--root=DIR] the run is scored on another dataset. Prints a table, and one JSON object as the last
line.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cml_tf.errors import UserError
from cml_tf.experiments.runs import evaluate_run
from cml_tf.experiments.stored import RunError
from cml_tf.experiments.strategies import chosen_replicas
from cml_tf.registry import members
from cml_tf.system.command_line import run
from cml_tf.training.evaluator import Evaluation, PairedDifference, compare
from cml_tf.training.replicas import Replicas

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Split of classes to score on.")
_EPISODES = flags.DEFINE_integer(
    "episodes", None, "Number of episodes; eval.episodes of the configuration by default.", 2
)
_STEPS = flags.DEFINE_integer("steps", None, "Inner steps; adaptation.eval_steps of the configuration by default.", 0)
_READOUT = flags.DEFINE_string("readout", "learner", f"What answers: one of {', '.join(members('readout'))}.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Checkpoint to score.")
_COMPARE = flags.DEFINE_string(
    "compare", None, "Directory of another run to score on the same episodes, for the paired difference."
)
_SINGLE_QUERIES = flags.DEFINE_bool(
    "single_queries", False, "Predict each query alone, as for a client that sends one example."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    "",
    "Another dataset of images, or of numbers, to score on, with ways and shots of the run; by default its own.",
)
_WAYS = flags.DEFINE_integer("ways", None, "Classes per episode; dataset.ways of the configuration by default.", 2)
_SHOTS = flags.DEFINE_integer(
    "shots", None, "Support examples per class; dataset.shots of the configuration by default.", 1
)
_STRICT = flags.DEFINE_bool("strict", False, "Refuse a damaged checkpoint even if there is another one.")
_ROOT = flags.DEFINE_string("root", "", "Folder with the files of --dataset.")


def main(arguments: list[str]) -> None:
    """Evaluates one run, or two on the same episodes."""
    del arguments
    runs = [Path(path) for path in (_WORKDIR.value, _COMPARE.value) if path]
    with chosen_replicas() as replicas:
        results = [_evaluate(path, replicas) for path in runs]
    if not replicas.is_chief:
        return
    difference = None
    if len(results) == 2:
        difference = compare(results[0], results[1])
    Console().print(_table(runs, results, difference))
    print(json.dumps(_summary(results, difference)))


def _evaluate(workdir: Path, replicas: Replicas) -> Evaluation:
    try:
        return evaluate_run(
            workdir,
            _SPLIT.value,
            _EPISODES.value,
            _STEPS.value,
            _READOUT.value,
            _CHECKPOINT.value,
            _SINGLE_QUERIES.value,
            _DATASET.value,
            _ROOT.value,
            _WAYS.value,
            _SHOTS.value,
            replicas,
            _STRICT.value,
        )
    except UserError as error:
        # Of two runs that are compared, the line names the one at fault, once.
        if str(workdir) in str(error):
            raise
        raise RunError(f"{workdir}: {error}") from error


def _summary(results: list[Evaluation], difference: PairedDifference | None) -> dict[str, object]:
    summary: dict[str, object] = {**results[0].as_json(), "split": _SPLIT.value, "readout": _READOUT.value}
    summary["single_queries"] = _SINGLE_QUERIES.value
    if _DATASET.value:
        summary["dataset"] = _DATASET.value
    summary |= {name: flag.value for name, flag in (("ways", _WAYS), ("shots", _SHOTS)) if flag.value is not None}
    if difference is not None:
        summary["compared"] = results[1].as_json()
        told = {"mean": difference.mean, "ci95": difference.ci95, "episodes": difference.episodes}
        if results[0].nrmse is not None:
            normalised = compare(results[0], results[1], normalised=True)
            told |= {"nrmse": normalised.mean, "nrmse_ci95": normalised.ci95}
        summary["difference"] = told
    return summary


def _table(runs: list[Path], results: list[Evaluation], difference: PairedDifference | None) -> Table:
    first = results[0]
    of_dataset = f" of {_DATASET.value}" if _DATASET.value else ""
    table = Table(
        title=f"{_SPLIT.value}{of_dataset}, {first.episodes} episodes, seed {first.seed}, readout {_READOUT.value}"
    )
    table.add_column("run", overflow="fold")
    table.add_column(f"{first.metric}", justify="right")
    table.add_column("95 % interval over episodes", justify="right")
    if first.nrmse is not None:
        table.add_column("nRMSE", justify="right")
    for path, result in zip(runs, results, strict=True):
        normalised = [] if result.nrmse is None else [f"{result.nrmse.mean():.4f}"]
        table.add_row(Text(str(path)), f"{result.mean:.4f}", f"± {result.ci95:.4f}", *normalised)
    if difference is not None:
        table.add_row("paired difference", f"{difference.mean:+.4f}", f"± {difference.ci95:.4f}")
    return table


if __name__ == "__main__":
    run(main)
