"""Fits the confidence of a run on its validation episodes, and measures it on the classes of its test split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cml_tf.datasets import EpisodeSource
from cml_tf.errors import UserError
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import evaluation_method, load_run
from cml_tf.problems import Classification
from cml_tf.readouts.confidence import Asked, Confidence, Knot, belonging_to, collect, discrimination, fit, measured
from cml_tf.training.evaluator import manifest_hash
from cml_tf.training.method import Method


@dataclass(frozen=True)
class FittedRun:
    """What `fit_run` found.

    Attributes:
      confidence: fitted.
      measures: by shots, each `before` and `after` with the measures by name (`cml_tf.readouts.confidence.measured`),
        `scores`: `auroc` and `fpr95` of every score that there was to choose from, and `histograms` for the picture.
      areas: by score, the area under the curve on validation episodes, mean over shots.
      origin: of the episodes, as JSON.
    """

    confidence: Confidence
    measures: dict[str, dict[str, Any]]
    areas: dict[str, float]
    origin: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The content of a confidence file."""
        found = {"measures": self.measures, "validation_areas": self.areas, "origin": self.origin}
        return {"confidence": self.confidence.to_json(), **found}


def fit_run(
    workdir: Path,
    asked: Asked,
    test_episodes: int,
    checkpoint: str = "best",
    readout: str = "learner",
    steps: int | None = None,
) -> FittedRun:
    """Fits on validation episodes, measures on test episodes.

    Args:
      workdir: of the run.
      asked: what to fit; without shots those of training, without ways the most that the model takes, with 0 unknown
        classes as many as ways.
      test_episodes: for each number of shots, at least 2.
      checkpoint: `best` or `latest`.
      readout: what answers.
      steps: inner steps; the configuration's `adaptation.eval_steps` by default.

    Raises:
      UserError: for a run without probabilities, ways that the model does not take, or a dataset without enough
        classes or examples.
    """
    if test_episodes < 2:
        raise UserError(f"test_episodes must be at least 2 for an interval, received {test_episodes}.")
    experiment = load_run(workdir, checkpoint)
    problem = experiment.problem
    if not isinstance(problem, Classification):
        raise UserError(f"{workdir} is a regression, which has no probabilities: fit a classification.")
    method = evaluation_method(experiment, steps, readout)
    episodes = partial(_episodes, experiment)
    classes = min(len(experiment.dataset.class_names(split)) for split in ("validation", "test"))
    asked = replace(asked, shots=asked.shots or (experiment.config.dataset.shots,)).within(problem.ways, classes)
    confidence, areas = fit(method, problem, partial(episodes, "validation"), asked)
    confidence = replace(belonging_to(confidence, method), readout=readout)
    test = partial(episodes, "test")
    measures = {
        str(knot.shots): _measures(method, test, confidence, knot, asked, test_episodes) for knot in confidence.knots
    }
    return FittedRun(confidence, measures, areas, _origin(experiment, checkpoint, asked, test_episodes, test))


def _episodes(experiment: Experiment, split: str, ways: int, shots: int) -> EpisodeSource:
    return experiment.dataset.episodes(split, ways=ways, shots=shots, **experiment.sampled(split))


def _measures(
    method: Method,
    sources: Callable[[int, int], EpisodeSource],
    confidence: Confidence,
    knot: Knot,
    asked: Asked,
    episodes: int,
) -> dict[str, Any]:
    # Tasks of the size that was fitted on: what holds for others is not known.
    confidence = confidence.as_fitted
    ways, bare = confidence.ways, asked.unfitted(confidence.ways)
    known = collect(method, sources(ways, knot.shots), episodes, bare)
    mixed = None
    if asked.candidates:
        mixed = collect(method, sources(ways + asked.unknown, knot.shots), episodes, bare)
    unfitted = replace(bare, open_set=confidence.open_set)
    before, after = (measured(state, known, mixed) for state in (unfitted, confidence))
    # Without a fit there are no decisions to be measured.
    decided = ("coverage", "set_size", "false_accept", "true_accept")
    pictured = {"before": before.histograms, "after": after.histograms}
    undecided = {name: one for name, one in before.measures.items() if name not in decided}
    found = {"before": undecided, "after": after.measures, "histograms": pictured}
    if mixed is None:
        return found
    scores = {name: discrimination(replace(confidence, open_set=name), mixed) for name in asked.candidates}
    return {**found, "scores": scores}


def _origin(
    experiment: Experiment, checkpoint: str, asked: Asked, test_episodes: int, test: Callable[..., EpisodeSource]
) -> dict[str, Any]:
    ways = asked.own_ways(experiment.problem.outputs)
    first = test(ways, min(asked.shots))
    return {
        "dataset": experiment.config.dataset.name,
        "checkpoint": checkpoint,
        "ways": ways,
        "validation_episodes": asked.episodes,
        "test_episodes": test_episodes,
        "unknown_classes": asked.unknown if asked.open_set else 0,
        "seed": experiment.config.eval.seed,
        "manifest_hash": manifest_hash(first, test_episodes),
    }
