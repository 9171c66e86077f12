"""What a card tells of a model's past: what it was trained from, with which code, and how good it was found to be."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cml_tf.experiments.configuration import config_to_json
from cml_tf.experiments.experiment import Experiment
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.system.files import parsed_json
from cml_tf.training.evaluator import Evaluator
from cml_tf.training.method import Method
from export.errors import ExportError
from export.graph.exportable import Exportable

_PARTITIONS = {"extractor, head": "all", "head": "anil", "extractor": "boil", "": "nothing"}
_LIBRARIES = ("cml_tf", "tensorflow", "keras", "numpy", "tensorflow-serving-api")
_PROJECT = Path(__file__).resolve().parents[2]
_NUMBERS = ("mean", "ci95", "episodes", "seed")


@dataclass(frozen=True)
class Origin:
    """What the card tells of a model's past.

    Attributes:
      trained: the method with all that was trained along.
      adaptation: `rule` and `partition`.
      data: `shots` and `queries` of an episode, and where it came from a run the dataset's settings and fingerprint.
      training: of a run: its outer steps and the checkpoint.
      config: the run's configuration; None for a model that was trained from Python.
    """

    trained: Method
    adaptation: dict[str, str]
    data: dict[str, Any]
    training: dict[str, Any]
    config: dict[str, Any] | None


def of_run(experiment: Experiment, checkpoint: str) -> Origin:
    """The origin of what a run trained."""
    config, method = config_to_json(experiment.config), experiment.trainer.method
    chosen = config["adaptation"]
    return Origin(
        method,
        {"rule": chosen.get("update", chosen["rule"]), "partition": _partition(method)},
        {**config["dataset"], "fingerprint": experiment.data.fingerprint},
        {"checkpoint": checkpoint, "steps": experiment.trainer.step},
        config,
    )


def of_model(model: FewShotModel, served: Exportable, shots: int, queries: int) -> Origin:
    """The origin of a model that was trained from Python."""
    adaptation = {"rule": served.rule.name, "partition": _partition(served)}
    return Origin(model.trained, adaptation, {"shots": shots, "queries": queries}, {}, None)


def _partition(adapting: Method | Exportable) -> str:
    return _PARTITIONS[", ".join(sorted(adapting.rule.adapts(adapting.learner)))]


def git_commit() -> str | None:
    """The commit of this checkout, with `+changes` behind it if files differ from it; None outside a checkout."""
    if not (_PROJECT / ".git").exists():
        # Installed: a repository further up would be somebody else's.
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def library_versions() -> dict[str, str]:
    """Versions by name; `not installed` for this project when it runs from a checkout."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_PROJECT), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def measured(experiment: Experiment, method: Method, episodes: int) -> dict[str, Any]:
    """Scores a readout on the first episodes of the test split; the dataset must be there.

    Raises:
      ExportError: if a score is not finite.
    """
    evaluator = Evaluator(method, experiment.problem.metric)
    seed = experiment.config.eval.seed
    try:
        result = evaluator.evaluate(experiment.episodes("test"), episodes, seed)
    except ValueError as error:
        raise ExportError(f"the model cannot be evaluated: {error}") from error
    return {**result.as_json(), "split": "test"}


def read_evaluation(path: Path, metric: str, readout: str) -> dict[str, Any]:
    """Reads the JSON object that `evaluate` prints as its last line; all of its output may be in the file.

    Args:
      path: the file.
      metric: that this model is scored by.
      readout: that is exported.

    Raises:
      ExportError: if it is no such object, or scores something else.
    """
    try:
        # The table above the last line is in the encoding of the terminal that it was made for.
        value = parsed_json(path.read_text("utf-8-sig", "replace").strip().splitlines()[-1])
        missing = [key for key in (*_NUMBERS, "metric", "manifest_hash") if key not in value]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        if not all(math.isfinite(value[key]) for key in _NUMBERS):
            raise ValueError("its figures must be finite")
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise ExportError(
            f"{path} must contain the output of python -m cml_tf.evaluate, with a JSON object in its last line: "
            f"{error}."
        ) from error
    expected = {"metric": metric, "readout": readout, "split": "test", "single_queries": False}
    wrong = [f"{key} {value[key]}" for key, one in expected.items() if value.get(key, one) != one]
    # Told only where they are not the run's own.
    wrong += [f"{key} {value[key]}" for key in ("dataset", "ways", "shots") if key in value]
    if wrong:
        raise ExportError(
            f"{path} must score this model on its own test split (metric {metric}, readout {readout}), received "
            f"{', '.join(wrong)}: evaluate the run again without such flags."
        )
    return value
