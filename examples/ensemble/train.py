"""An ensemble against its members: `python -m examples.ensemble.train --workdir=DIR --results=FILE.jsonl`.

Trains conv nets of four sizes for each seed, as MetaDelta trains its encoders: all training classes told apart. Each
answers by class means that ten rounds of the queries refine; what combines their answers is fitted on validation
episodes (`cml_tf.Ensemble`). Ensemble and members are then scored on the same test episodes. A seed that the file of
results has is not repeated, and nothing that is trained is trained again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import flags

import cml_tf
from cml_tf.errors import UserError
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import evaluation_method, load_run, train_run
from cml_tf.models.ensemble import Evaluations
from cml_tf.studies.sweeps import SweepRun, read_sweep
from cml_tf.system.command_line import run
from cml_tf.system.files import locked, parsed_json, write_text
from examples.ensemble.comparison import SIZES, table

_SPEC = flags.DEFINE_string("spec", "configs/sweeps/meta_delta_glyphs.json", "Sweep whose settings the members have.")
_METHOD = flags.DEFINE_string("method", "maml-meta_delta-no_rotation", "Which of its methods, as its runs are called.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory for the runs.", required=True)
_RESULTS = flags.DEFINE_string("results", None, "File with a JSON line for each seed.", required=True)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "How often the queries refine the class means.", 0)
_FIT = flags.DEFINE_integer("fit_episodes", 100, "Validation episodes that choose what combines.", 4)
_EPISODES = flags.DEFINE_integer("episodes", 200, "Test episodes.", 2)


def main(arguments: list[str]) -> None:
    """Does what the file of results has not yet, then prints a table of all."""
    del arguments
    path = Path(_RESULTS.value)
    members = [_runs(size) for size in SIZES]
    with locked(path):
        found = _read(path)
        for line in found:
            _check_alike(path, line)
        for runs in zip(*members, strict=True):
            if runs[0].seed not in [line["seed"] for line in found]:
                found.append(_of_seed(runs))
                write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in found))
    print(table(found))


def _runs(size: dict[str, int]) -> list[SweepRun]:
    overrides = {f"learner.{key}": value for key, value in size.items()}
    there = read_sweep(Path(_SPEC.value), overrides)
    if found := [one for one in there if f"_{_METHOD.value}-seed" in one.name]:
        return found
    names = dict.fromkeys(one.name.rpartition("-seed")[0] for one in there)
    raise UserError(
        f"--method must be the end, behind a '_', of one of {', '.join(names)}, received {_METHOD.value!r}."
    )


def _read(path: Path) -> list[dict[str, Any]]:
    return [parsed_json(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _asked() -> dict[str, Any]:
    """What a line depends on beside its seed."""
    options = (_SPEC, _METHOD, _ROUNDS, _FIT, _EPISODES)
    return {flag.name: flag.value for flag in options}


def _check_alike(path: Path, line: dict[str, Any]) -> None:
    """A table averages over seeds, so that all lines must answer one question."""
    asked, there = _asked(), line.get("asked", {})
    if different := [name for name in asked if asked[name] != there.get(name)]:
        told = ", ".join(f"--{name}={there.get(name)}" for name in different)
        raise UserError(
            f"--results must hold runs of the options asked for, found seed {line.get('seed')} in {path} with {told}: "
            "choose another file, or ask for the same."
        )


def _of_seed(runs: Sequence[SweepRun]) -> dict[str, Any]:
    for size, one in zip(SIZES, runs, strict=True):
        print(f"{one.name}, {size}", flush=True)
        train_run(one.config, _directory(size, one), verbose=0)
        keras.backend.clear_session()
    experiments = [load_run(_directory(size, one)) for size, one in zip(SIZES, runs, strict=True)]
    ensemble = cml_tf.Ensemble([_model(experiment) for experiment in experiments])
    validation, test = (experiments[0].episodes(split) for split in ("validation", "test"))
    candidates = ensemble.fit(validation, _FIT.value)
    known = ensemble.evaluate(validation, _FIT.value)
    chosen = {"seed": runs[0].seed, "asked": _asked(), "combiner": ensemble.combiner, "candidates": candidates}
    return chosen | _line(known, ensemble.evaluate(test, _EPISODES.value))


def _directory(size: dict[str, int], one: SweepRun) -> Path:
    return Path(_WORKDIR.value) / "_".join(f"{key}{value}" for key, value in size.items()) / one.name


def _model(experiment: Experiment) -> cml_tf.FewShotModel:
    method = evaluation_method(experiment, _ROUNDS.value)
    return cml_tf.FewShotModel(method, experiment.problem, experiment.data.value_range)


def _line(known: Evaluations, scored: Evaluations) -> dict[str, Any]:
    members = [
        {"size": size, "validation": before.mean, "scores": _rounded(after.scores)}
        for size, before, after in zip(SIZES, known.members, scored.members, strict=True)
    ]
    own = {"validation": known.ensemble.mean, "scores": _rounded(scored.ensemble.scores)}
    return {"ensemble": own, "members": members, "manifest_hash": scored.ensemble.manifest_hash}


def _rounded(scores: np.ndarray) -> list[float]:
    return [round(float(score), 6) for score in scores]


if __name__ == "__main__":
    run(main)
