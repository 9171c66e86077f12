"""Runs a sweep: `python -m cml_tf.sweep --spec=FILE.json --workdir=DIR --results=FILE.jsonl [--processes=2]`.

Every run trains and is scored on the test split in a process of its own. The results' file gets a line a run as it
finishes; the same command goes on where it stopped, and does nothing when all is done. When the file of the sweep got
further evaluations since, finished runs are scored again, and trained again only if their directory is gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from cml_tf.command_line import fail, run
from cml_tf.evaluator import Evaluation
from cml_tf.experiments.runs import RunError, evaluate_run, train_run
from cml_tf.experiments.sweeps import (
    SweepError,
    SweepRun,
    is_result_of,
    published,
    read_results,
    read_sweep,
    write_results,
)
from cml_tf.files import locked

_SPEC = flags.DEFINE_string("spec", None, "File of the sweep, JSON (cml_tf.experiments.sweeps).", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory that gets one directory a run.", required=True)
_RESULTS = flags.DEFINE_string("results", None, "File that gets one JSON line a run.", required=True)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Runs at a time.", 1)
_ROOT = flags.DEFINE_string("root", "", "Folder with the files of the dataset (dataset.root of every run).")
_RUN = flags.DEFINE_string("run", "", "Only this run, in this process; prints its result as one JSON line.")


def main(arguments: list[str]) -> None:
    """Does what is not done yet."""
    del arguments
    try:
        runs = {r.name: r for r in read_sweep(Path(_SPEC.value), {"dataset.root": _ROOT.value} if _ROOT.value else {})}
        if _RUN.value:
            if _RUN.value not in runs:
                fail(f"the sweep has no run {_RUN.value!r}.")
            print(json.dumps(_train_and_score(runs[_RUN.value])))
            return
        with locked(Path(_RESULTS.value)):
            _run_all(runs)
    except SweepError as error:
        fail(str(error))
    except BlockingIOError:
        fail(f"another sweep writes {_RESULTS.value}: wait for its end, or give this one a file of its own.")


def _run_all(runs: dict[str, SweepRun]) -> None:
    results = read_results(Path(_RESULTS.value))
    changed = [name for name, found in runs.items() if name in results and not is_result_of(results[name], found)]
    if changed:
        fail(f"{_RESULTS.value} has results of another configuration for {changed[0]}: take another file.")
    failed = _work_off([name for name, found in runs.items() if not _is_done(results.get(name), found)], results)
    if failed:
        raise RunError(f"{len(failed)} runs failed, the first: {failed[0]}. The others are done.")


def _is_done(result: dict[str, Any] | None, asked: SweepRun) -> bool:
    # A run whose sweep got another evaluation since is not trained again where its directory is still there.
    return result is not None and set(asked.evaluations) <= set(result.get("evaluations", {}))


def _train_and_score(chosen: SweepRun) -> dict[str, Any]:
    workdir = Path(_WORKDIR.value) / chosen.name
    started = time.monotonic()
    trainer = train_run(chosen.config, workdir, verbose=0).trainer
    seconds = time.monotonic() - started
    further = {
        name: _scored(evaluate_run(workdir, readout=evaluation.readout, steps=evaluation.steps))
        for name, evaluation in chosen.evaluations.items()
    }
    return {
        "run": chosen.name,
        "source": chosen.source,
        "seed": chosen.seed,
        **_scored(evaluate_run(workdir)),
        "evaluations": further,
        "steps": trainer.step,
        "train_seconds": round(seconds, 1),
        "config": published(chosen.config),
    }


def _scored(evaluation: Evaluation) -> dict[str, Any]:
    return {**evaluation.as_json(), "scores": [round(float(value), 6) for value in evaluation.scores]}


def _work_off(names: list[str], results: dict[str, dict[str, Any]]) -> list[str]:
    """Runs what is left, writes every result as it comes; returns what failed, with the reason."""
    console, failed = Console(), []
    console.print(f"{len(results)} results are there, {len(names)} runs to do.")
    for number, (name, result, reason) in enumerate(_finished(names), 1):
        if result is None:
            failed.append(f"{name}: {reason}")
            console.print(f"{number}/{len(names)} {name} failed: {reason}", style="red", markup=False)
            continue
        # A run that was only scored again was not trained: what its training took is known from before.
        earlier = results.get(name, {}).get("train_seconds", 0.0)
        results[name] = {**result, "train_seconds": max(result["train_seconds"], earlier)}
        write_results(Path(_RESULTS.value), results)
        console.print(f"{number}/{len(names)} {name}: {result['metric']} {result['mean']:.4f} ± {result['ci95']:.4f}")
    return failed


def _finished(names: list[str]) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    with ThreadPoolExecutor(_PROCESSES.value) as pool:
        pending = {pool.submit(_in_a_process, name): name for name in names}
        try:
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), *future.result()
        finally:
            for future in pending:
                future.cancel()


def _in_a_process(name: str) -> tuple[dict[str, Any] | None, str]:
    own = [f"--{flag}={flags.FLAGS[flag].value}" for flag in ("spec", "workdir", "results", "root")]
    command = [sys.executable, "-m", "cml_tf.sweep", *own, f"--run={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return None, f"exit code {done.returncode}: {last[0]}"
    return json.loads(done.stdout.strip().splitlines()[-1]), ""


if __name__ == "__main__":
    run(main)
