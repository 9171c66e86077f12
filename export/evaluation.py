"""The figures of a model card: measured at export, or read from what `python -m cml_tf.evaluate` printed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cml_tf.evaluator import Evaluator
from cml_tf.experiments.experiment import Experiment
from cml_tf.files import parsed_json
from cml_tf.method import Method
from export.errors import ExportError

_NUMBERS = ("mean", "ci95", "episodes", "seed")


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
            f"{path} must hold what python -m cml_tf.evaluate printed, with a JSON object in its last line: {error}."
        ) from error
    scored = (value["metric"], value.get("readout", readout))
    if scored != (metric, readout):
        raise ExportError(
            f"{path} must score this model (metric {metric}, readout {readout}), received metric {scored[0]}, readout "
            f"{scored[1]}."
        )
    return value
