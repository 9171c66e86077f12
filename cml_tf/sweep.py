"""Runs a sweep: `python -m cml_tf.sweep --spec=FILE.json --workdir=DIR --results=FILE.jsonl [--processes=2]`.

With --engine=ray[://HOST:PORT] the runs are tasks of a Ray cluster whose nodes see the same files (docs/SCALING.md).

Each run is trained and scored on the test split in its own process, and adds one line to the file of results when it
finishes. The same command continues an interrupted sweep, and does nothing if the sweep is complete. If you add or
change evaluations in the file of the sweep, finished runs are scored again, and trained again only if their directory
is missing. `train_seconds` in a line count only the last start of the run, without the part that it resumed; `machine`
is the machine of that start.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from cml_tf.boundary.arrays import one_line
from cml_tf.errors import UserError
from cml_tf.experiments.runs import evaluate_run, train_run, trained_on
from cml_tf.experiments.stored import RunError
from cml_tf.studies.ray_tasks import run_on_ray
from cml_tf.studies.results import (
    DIVERGED,
    REFUSED,
    asked_of,
    changed_keys,
    is_done,
    published,
    read_results,
    result_of,
    scored_as,
    write_results,
)
from cml_tf.studies.sweeps import FurtherEvaluation, SweepRun, read_sweep
from cml_tf.system.command_line import PLUGINS, fail, run
from cml_tf.system.files import Held, clear_leftovers, locked
from cml_tf.system.processes import end_with_parent, run_side_by_side
from cml_tf.training.evaluator import Diverged

_SPEC = flags.DEFINE_string("spec", None, "JSON file that describes the sweep (cml_tf.studies.sweeps).", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory for the runs, each in its own subdirectory.", required=True)
_RESULTS = flags.DEFINE_string("results", None, "File for the results, one JSON line per run.", required=True)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Number of runs at a time.", 1)
_ENGINE = flags.DEFINE_string(
    "engine",
    "local",
    "What runs the runs: local (--processes), ray, or ray://HOST:PORT for a cluster (docs/SCALING.md).",
)
_CPUS = flags.DEFINE_float("cpus", 1.0, "CPUs of a run, with Ray.", 0.0)
_GPUS = flags.DEFINE_float("gpus", 0.0, "GPUs of a run, with Ray; may be a fraction.", 0.0)
_ROOT = flags.DEFINE_string("root", "", "Folder with the files of the dataset (dataset.root of every run).")
_RUN = flags.DEFINE_string("run", "", "Name of a single run to do in this process; prints its result as one JSON line.")


def main(arguments: list[str]) -> None:
    """Does what is not done yet."""
    del arguments
    if _ENGINE.value not in ("local", "ray") and not _ENGINE.value.startswith("ray://"):
        fail(f"--engine must be one of local, ray, ray://HOST:PORT, received {_ENGINE.value!r}.")
    for flag in (_CPUS, _GPUS) if _ENGINE.value == "local" else (_PROCESSES,):
        if flag.present:
            fail(f"--{flag.name} has no effect with --engine={_ENGINE.value}: leave it out.")
    try:
        runs = {r.name: r for r in read_sweep(Path(_SPEC.value), {"dataset.root": _ROOT.value} if _ROOT.value else {})}
        if _RUN.value:
            if _RUN.value not in runs:
                fail(f"the sweep has no run {_RUN.value!r}: check --run.")
            end_with_parent()
            print(json.dumps(_train_and_score(runs[_RUN.value])))
            return
        path = Path(_RESULTS.value)
        with locked(path):
            clear_leftovers(path.parent, re.escape(path.name))
            _run_all(runs)
    except Held:
        fail(f"another sweep is writing {_RESULTS.value}: wait until it ends, or choose another file with --results.")


def _run_all(runs: dict[str, SweepRun]) -> None:
    results = read_results(Path(_RESULTS.value))
    for name, found in runs.items():
        if name in results and (changed := changed_keys(results[name], found)):
            fail(
                f"{_RESULTS.value} has results of another configuration for {name}, which differs in "
                f"{', '.join(changed)}: choose another file with --results."
            )
    # A run whose sweep got another evaluation since is not trained again where its directory is still there.
    left = [name for name, found in runs.items() if not is_done(results.get(name), found)]
    if failed := _work_off(left, results):
        raise RunError(f"{len(failed)} of {len(left)} runs failed, first {failed[0].rstrip('.')}.")


def _train_and_score(chosen: SweepRun) -> dict[str, Any]:
    workdir = Path(_WORKDIR.value) / chosen.name
    started = time.monotonic()
    trainer = train_run(chosen.config, workdir, verbose=0).trainer
    seconds = time.monotonic() - started
    try:
        own = scored_as(evaluate_run(workdir, strict=True))
    except Diverged as error:
        raise RunError(f"{workdir}: {error}") from error
    evaluations, refused = {}, {}
    for name, one in chosen.evaluations.items():
        try:
            evaluations[name] = _further(workdir, one)
        except UserError as error:  # What was trained and scored is worth its line nevertheless.
            refused[name] = one_line(error)
    return {
        "run": chosen.name,
        "source": chosen.source,
        "seed": chosen.seed,
        **own,
        "evaluations": evaluations,
        REFUSED: refused,
        "steps": trainer.step,
        "train_seconds": round(seconds, 1),
        "machine": trained_on(workdir),
        "config": published(chosen.config),
    }


def _further(workdir: Path, evaluation: FurtherEvaluation) -> dict[str, Any]:
    """A run is worth its line even where one way to read it, such as many inner steps, diverges: that is a result."""
    try:
        scored = scored_as(evaluate_run(workdir, **asdict(evaluation), strict=True))
    except Diverged as error:
        scored = {DIVERGED: str(error)}
    return {**asked_of(evaluation), **scored}


def _work_off(names: list[str], results: dict[str, dict[str, Any]]) -> list[str]:
    """Runs what is left, writes every result as it comes; returns what failed, with the reason."""
    console, failed = Console(), []
    console.print(f"{len(results)} results found, {len(names)} runs left.")
    commands = {name: _command(name) for name in names}
    if _ENGINE.value == "local":
        running = run_side_by_side(commands, _PROCESSES.value)
    else:
        running = run_on_ray(commands, _ENGINE.value, _CPUS.value, _GPUS.value)
    with closing(running) as ended:
        for number, (name, process) in enumerate(ended, 1):
            result, reason = result_of(process)
            if reason:
                failed.append(f"{name}: {reason}")
                console.print(f"{number}/{len(names)} {name} failed: {reason}", style="red", markup=False)
            if result is None:
                continue
            # A run that was only scored again was not trained: what its training took is known from before.
            earlier = results.get(name, {}).get("train_seconds", 0.0)
            results[name] = {**result, "train_seconds": max(result["train_seconds"], earlier)}
            write_results(Path(_RESULTS.value), results)
            score = f"{result['metric']} {result['mean']:.4f} ± {result['ci95']:.4f}"
            console.print(f"{number}/{len(names)} {name}: {score}", markup=False)
    return failed


def _command(name: str) -> list[str]:
    own = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("spec", "workdir", "results", "root")]
    own.append(f"--plugins={','.join(PLUGINS.value)}")
    return [sys.executable, "-m", "cml_tf.sweep", *own, f"--run={name}"]


if __name__ == "__main__":
    run(main)
