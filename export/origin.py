"""Where a served model comes from, for its card: a run, or training from Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cml_tf.experiments.configuration import config_to_json
from cml_tf.experiments.experiment import Experiment
from cml_tf.method import Method
from cml_tf.models.few_shot_model import FewShotModel
from export.exportable import Exportable

_PARTITIONS = {(True, True): "all", (False, True): "anil", (True, False): "boil"}


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
    config = config_to_json(experiment.config)
    return Origin(
        experiment.trainer.method,
        {key: config["adaptation"][key] for key in ("rule", "partition")},
        {**config["dataset"], "fingerprint": experiment.data.fingerprint},
        {"checkpoint": checkpoint, "steps": experiment.trainer.step},
        config,
    )


def of_model(model: FewShotModel, served: Exportable, shots: int, queries: int) -> Origin:
    """The origin of a model that was trained from Python."""
    rule = served.rule.update_rule
    moved = rule.moved(served.variables.parameters)
    partition = _PARTITIONS.get((bool(moved.extractor), bool(moved.head)), "nothing")
    adaptation = {"rule": type(rule).__name__, "partition": partition}
    return Origin(model.trained, adaptation, {"shots": shots, "queries": queries}, {}, None)
