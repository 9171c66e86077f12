"""Runs side by side: loaded, checked to be comparable, and measured on the same fixed test episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.adaptation import AdaptationRule, AdaptedTask
from cml_tf.datasets import EpisodeSource
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import load_run
from cml_tf.experiments.stored import RunError
from cml_tf.studies.analyses.gradients import LayerParameters, parameter_layers
from cml_tf.studies.pictures.style import colours
from cml_tf.training.evaluator import confidence_interval, manifest_hash
from cml_tf.training.method import Method
from cml_tf.training.schedule import Moment
from cml_tf.training.task_mapping import map_tasks

_META_BATCH = 4


@dataclass(frozen=True, eq=False)
class Run:
    """A run with the variables of a checkpoint.

    Attributes:
      name: what figures call it; runs of one name are trainings of one method with different seeds.
      workdir: its directory.
      experiment: everything that it is made of.
      colour: of the run in all figures.
    """

    name: str
    workdir: Path
    experiment: Experiment
    colour: str

    @property
    def seed(self) -> int:
        """Of its initial weights and training episodes."""
        return int(self.experiment.config.seed)

    @cached_property
    def source(self) -> EpisodeSource:
        """Its fixed test episodes, those of `cml_tf.evaluate`."""
        return self.experiment.episodes("test")

    @property
    def method(self) -> Method:
        """What was trained, with the inner loop of training."""
        return self.experiment.trainer.method

    @property
    def layers(self) -> tuple[LayerParameters, ...]:
        """The layers of the extractor."""
        return parameter_layers(self.method.learner)

    @property
    def last_moment(self) -> Moment:
        """How the last outer step was made that the checkpoint saw."""
        trainer = self.experiment.trainer
        return trainer.schedule(max(trainer.step - 1, 0), trainer.method.terms)

    def at_its_end(self) -> Method:
        """The method as its last outer step used it.

        MAML++ anneals the order of derivatives: the method has that of the last step that the checkpoint saw.
        """
        trainer = self.experiment.trainer
        return trainer.method.of_first_order() if self.last_moment.first_order else trainer.method

    def evaluation_rule(self) -> Any:
        """The adaptation rule with as many inner steps as evaluation takes."""
        return self.experiment.evaluation_rule(self.method.rule)

    def measured(
        self, function: Callable[[Episode], Any], episodes: int, finish: Callable[[Any], Any] = lambda result: result
    ) -> np.ndarray:
        """A function of one task on the first test episodes, `[episodes, ...]`.

        Args:
          function: takes a task without task axis, returns a structure of tensors.
          episodes: how many.
          finish: what is kept of each task's results (a structure of NumPy arrays).

        Raises:
          RunError: if a result is not finite.
        """
        compiled: Any = None
        kept: list[Any] = []
        for batch in self.source.batches(0, _META_BATCH):
            if compiled is None:
                whole = tf.function(lambda episode: map_tasks(function, episode), autograph=False)
                compiled = whole.get_concrete_function(batch)
            results = tf.nest.map_structure(lambda tensor: tensor.numpy(), compiled(batch))
            for i in range(min(len(tf.nest.flatten(results)[0]), episodes - len(kept))):
                of_task = tf.nest.map_structure(lambda array, i=i: array[i], results)
                if not all(np.isfinite(array).all() for array in tf.nest.flatten(of_task)):
                    raise RunError(
                        f"{self.name}: a result of test episode {len(kept)} is not finite, since adaptation diverged. "
                        "Train with a lower inner rate."
                    )
                kept.append(finish(of_task))
            if len(kept) == episodes:
                break
        return np.stack(kept)


def open_runs(workdirs: Sequence[Path], names: Sequence[str] = (), checkpoint: str = "best") -> list[Run]:
    """Loads runs.

    Args:
      workdirs: of the runs.
      names: one for each; the directories' own names when empty. Runs of one name are seeds of one method.
      checkpoint: `best` or `latest`.

    Raises:
      RunError: without runs, for names that do not fit, where there is no run, or for one seed twice under one name.
      CheckpointError: if a checkpoint is missing or damaged.
    """
    names = tuple(names) or tuple(path.resolve().name for path in workdirs)
    if not workdirs or len(names) != len(workdirs):
        raise RunError(
            f"each run needs a name, received the names {list(names)} for {len(workdirs)} directories: pass one name "
            "per directory with --names."
        )
    colour_of = colours(names)
    runs = [
        Run(name, path, load_run(path, checkpoint), colour_of[name]) for name, path in zip(names, workdirs, strict=True)
    ]
    seen: dict[tuple[str, int], Path] = {}
    for run in runs:
        if (other := seen.setdefault((run.name, run.seed), run.workdir)) is not run.workdir:
            raise RunError(
                f"runs with the same name must be seeds of one method, received seed {run.seed} twice for "
                f"{run.name!r} ({other} and {run.workdir}): give each method its own name with --names."
            )
    return runs


def manifests(runs: Sequence[Run], episodes: int) -> list[str]:
    """The manifest hash of each run's first test episodes (`cml_tf.training.evaluator`).

    All names must have the same: a run a name the same one, several seeds a name together the same ones.

    Raises:
      RunError: if two names have other test episodes, so that no figure can hold both.
    """
    hashes = [manifest_hash(run.source, episodes) for run in runs]
    of_name: dict[str, set[str]] = {}
    for run, own in zip(runs, hashes, strict=True):
        of_name.setdefault(run.name, set()).add(own)
    (first, expected), *others = of_name.items()
    for name, received in others:
        if received != expected:
            raise RunError(
                f"runs must have the same test episodes, but {first!r} and {name!r} have different ones. Choose "
                "runs with the same dataset, ways, shots, queries and eval.seed, and the same seeds of each method."
            )
    return hashes


class Summary(NamedTuple):
    """A mean over episodes.

    Attributes:
      mean: over the episodes in which the number is defined; NaN if there is none.
      ci95: half-width of its 95 % interval; NaN for fewer than two episodes.
      episodes: in how many it is defined.
    """

    mean: float
    ci95: float
    episodes: int


def path_of(rule: AdaptationRule, method: Method, task: Episode) -> Sequence[AdaptedTask]:
    """The predictors of a task before the first inner step and after each one.

    Raises:
      UserError: if the rule leaves no path.
    """
    path = rule.adapt(method.learner, rule.initial(method.learner), task.support, task.context).path
    if path is None:
        raise UserError(
            f"{type(rule).__name__} takes no inner steps that could be analysed: choose other analyses "
            "(--analyses) or another run."
        )
    return path


def summarise(values: np.ndarray) -> Summary:
    """Mean and interval of `[episodes]` numbers; NaN stands for undefined ones, which are left out and not counted."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Summary(math.nan, math.nan, 0)
    return Summary(float(defined.mean()), confidence_interval(defined) if len(defined) > 1 else math.nan, len(defined))
