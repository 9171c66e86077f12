"""What a sweep has found: a file with one JSON line a run.

A line has the run's name, source, seed and configuration, the machine that trained it, its scores, and those of every
further evaluation with what was asked of it; an evaluation that diverged has the reason instead of scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from ml_collections import ConfigDict

from cml_tf.experiments.configuration import config_from_json, config_to_json, flatten
from cml_tf.studies.sweeps import FurtherEvaluation, SweepError, SweepRun
from cml_tf.system.files import parsed_json, write_text
from cml_tf.system.machine import label
from cml_tf.training.evaluator import Evaluation

DIVERGED = "diverged"
# What a run hands over beside its line: why evaluations are not in it. The next start asks them again.
REFUSED = "refused"
_SCORED = {"metric": str, "mean": (int, float), "scores": list, "episodes": int, "manifest_hash": str}
_RUN = {"run": str, "source": str, "seed": int, "steps": int, "config": dict, "evaluations": dict, **_SCORED}


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The finished runs in a file of results, by name; empty if there is no file.

    Raises:
      SweepError: if there is no file but something else, a line is damaged, or a run is there twice.
    """
    results: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return results
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SweepError(f"the file of results {path} cannot be read ({error}): check the file.") from error
    for number, line in enumerate(lines, 1):
        try:
            result = _checked(parsed_json(line))
        except ValueError as error:
            raise SweepError(
                f"{path}, line {number}, must be the JSON object of a run ({error}): restore the file, or delete the "
                "line and repeat the run."
            ) from error
        if result["run"] in results:
            raise SweepError(f"{path}, line {number}: {result['run']} appears twice: delete the wrong line.")
        results[result["run"]] = result
    return results


def read_files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The finished runs of several files, each run once.

    Raises:
      SweepError: as `read_results`, if a file or all results are missing, or two files have one run.
    """
    results: dict[str, dict[str, Any]] = {}
    for path in paths:
        if not path.is_file():
            raise SweepError(f"the file {path} does not exist: write it with python -m cml_tf.sweep.")
        further = read_results(path)
        if repeated := sorted(results.keys() & further.keys()):
            raise SweepError(f"the run {repeated[0]} is in {path} and in another file: report these files separately.")
        results |= further
    if not results:
        raise SweepError(f"no results found in {', '.join(map(str, paths))}: run python -m cml_tf.sweep first.")
    return list(results.values())


def write_results(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Writes all results anew, atomically, sorted by name."""
    write_text(path, "".join(json.dumps(results[name], sort_keys=True) + "\n" for name in sorted(results)))


def scored_as(evaluation: Evaluation) -> dict[str, Any]:
    """What a line keeps of a score."""
    # Seven digits that count, as many as a float32 has: errors may be tiny.
    return {**evaluation.as_json(), "scores": [float(f"{value:.7g}") for value in evaluation.scores]}


def result_of(process: CompletedProcess[str]) -> tuple[dict[str, Any] | None, str]:
    """The line of a run whose process has ended, None if it has none, and what failed of it; empty if nothing did."""
    if process.returncode:
        last = process.stderr.strip().splitlines()[-1:] or ["no message"]
        return None, f"exit code {process.returncode}: {last[0]}"
    last = process.stdout.strip().splitlines()[-1:] or [""]
    try:
        result = parsed_json(last[0])
        refused = result.pop(REFUSED)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None, f"the last line of its output must be its result, received {last[0][:80]!r}"
    return result, "; ".join(f"evaluation {name!r}: {message}" for name, message in refused.items())


def asked_of(evaluation: FurtherEvaluation) -> dict[str, Any]:
    """What a further evaluation's result keeps of its question."""
    return {"asked": asdict(evaluation)}


def is_done(result: dict[str, Any] | None, run: SweepRun) -> bool:
    """Whether a run needs nothing more: it was scored, also in every further way, as the sweep has them now."""
    if result is None:
        return False
    found = {name: one.get("asked") for name, one in result["evaluations"].items()}
    # What could not be asked when a line was written had its default.
    usual = asdict(FurtherEvaluation())
    return all(found.get(name) and {**usual, **found[name]} == asdict(one) for name, one in run.evaluations.items())


def changed_keys(result: dict[str, Any], run: SweepRun) -> list[str]:
    """Dotted keys in which a result's configuration is not the run's; where the data lie makes no difference.

    Raises:
      ConfigurationError: if this version cannot read the result's configuration.
    """
    # Read as a run's own file is: keys that came after it was written have their defaults.
    stored = config_from_json(json.dumps(result["config"]))
    there, here = (dict(flatten(published(config))) for config in (stored, run.config))
    return [key for key in here if here[key] != there.get(key)]


def published(config: ConfigDict) -> dict[str, Any]:
    """The configuration as results keep it: without the place of the data on this machine."""
    plain = config_to_json(config)
    return {**plain, "dataset": {**plain["dataset"], "root": ""}}


def _checked(result: Any) -> dict[str, Any]:
    _check_fields("it", result, _RUN)
    for name, further in result["evaluations"].items():
        if not (isinstance(further, dict) and isinstance(further.get(DIVERGED), str)):
            _check_fields(f"evaluation {name!r}", further, _SCORED)
    if result.get("machine") is not None:
        try:
            label(result["machine"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("its machine is missing or invalid") from error
    checked: dict[str, Any] = result
    return checked


def _check_fields(what: str, value: Any, fields: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object")
    if wrong := [field for field, kind in fields.items() if not isinstance(value.get(field), kind)]:
        raise ValueError(f"{what} has missing or invalid fields: {', '.join(wrong)}")
    scores = value["scores"]
    finite = all(isinstance(score, int | float) and math.isfinite(score) for score in (value["mean"], *scores))
    if not finite or len(scores) < 2 or len(scores) != value["episodes"]:
        raise ValueError(f"{what} must have a finite mean and one finite score per episode, at least two")
