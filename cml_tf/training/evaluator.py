"""Evaluation on fixed episodes: mean with 95 % interval over tasks, and paired comparison.

The means of an epoch so far are plain floats: a Keras metric would cost more than a small meta-step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
import tensorflow as tf

from cml_tf.datasets.base import EpisodeSource
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas


@dataclass(frozen=True)
class Evaluation:
    """What a method scored on a fixed list of episodes.

    Attributes:
      metric: name of the score, `accuracy` (share of queries, in [0, 1]) or `mse`.
      scores: one for each episode, `[episodes]`.
      seed: of the episodes.
      manifest_hash: SHA-256 of the dataset's fingerprint and all episode indices: equal hash, equal episodes.
      averages: means of all reported metrics by name (losses, co-learner metrics).
      nrmse: of a regression, each episode's root mean squared error over its queries, divided by the standard deviation
        of its query targets, `[episodes]`: 1 is what their mean would score. None where targets do not vary, and for
        classification.
    """

    metric: str
    scores: np.ndarray
    seed: int
    manifest_hash: str
    averages: dict[str, float]
    nrmse: np.ndarray | None = None

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """Mean score over episodes."""
        return float(self.scores.mean(dtype=np.float64))

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % confidence interval of the mean, over episodes."""
        return confidence_interval(self.scores)

    def as_json(self) -> dict[str, Any]:
        """The object that `evaluate` prints."""
        scored = {
            "metric": self.metric,
            "mean": self.mean,
            "ci95": self.ci95,
            "episodes": self.episodes,
            "seed": self.seed,
            "manifest_hash": self.manifest_hash,
        }
        if self.nrmse is None:
            return scored
        return {**scored, "nrmse": float(self.nrmse.mean()), "nrmse_ci95": confidence_interval(self.nrmse)}


@dataclass(frozen=True)
class PairedDifference:
    """Mean of the per-episode differences of two evaluations, with its 95 % half-width."""

    mean: float
    ci95: float
    episodes: int


class Diverged(UserError):
    """Adaptation diverged: a score is not finite."""


class Evaluator:
    """Scores a method; compiled once, so that training can call it again and again.

    Args:
      method: whose rule takes the evaluation's number of steps; its first term's metric is the score.
      metric: name of the metric to score by, as that term reports it. Where no term does, the query loss does.
      replicas: that share the tasks; one by default.
    """

    def __init__(self, method: Method, metric: str, replicas: Replicas | None = None) -> None:
        self.metric = metric
        self.replicas = replicas or ONE
        self._problems = [term.problem for term in method.terms if hasattr(term, "problem")]

        def metrics(episode: Episode) -> dict[str, tf.Tensor]:
            own = self.replicas.share(episode)
            found = evaluate_losses(method, own)[1]
            if metric not in found:
                found = _of_query_loss(method, own) | found
            if not found:
                raise self._unscored(method)
            return self.replicas.joined(found)

        self._compiled = tf.function(lambda e: self.replicas.one_of(self.replicas.run(metrics, e)), autograph=False)

    def metrics(self, batches: Iterable[Episode], episodes: int) -> dict[str, np.ndarray]:
        """Every reported metric on the first `episodes` tasks of an iterable of meta-batches, `[episodes]` each.

        Of each meta-batch it takes the tasks of this process (`Replicas.batches`).
        """
        collected: dict[str, list[np.ndarray]] = {}
        count = 0
        for batch in batches:
            results = {name: value.numpy() for name, value in self._compiled(batch).items()}
            for name, value in results.items():
                collected.setdefault(name, []).append(value)
            count += len(next(iter(results.values())))
            if count >= episodes:
                break
        if count < episodes:
            raise UserError(f"{episodes} episodes were requested, but the iterable ended after {count}.")
        return {name: np.concatenate(values)[:episodes] for name, values in collected.items()}

    def _unscored(self, method: Method) -> UserError:
        names = ", ".join(term.name for term in method.terms)
        return UserError(
            f"a term must report {self.metric!r}, received nothing from {names}: set reported = False on terms that "
            "report nothing, or add a QueryLoss."
        )

    def evaluate(self, source: EpisodeSource, episodes: int, seed: int, meta_batch: int = 4) -> Evaluation:
        """Scores the first episodes of a source.

        Args:
          source: made with `seed`.
          episodes: how many, at least 2.
          seed: recorded in the result.
          meta_batch: tasks a call; it changes speed only.

        Raises:
          UserError: for fewer than two episodes, or those of another problem.
          Diverged: when a score or its loss is not finite.
        """
        for problem in self._problems:
            if problem != source.problem:
                raise UserError(f"episodes must be for {problem}, received episodes for {source.problem}.")
        if episodes < 2:
            raise UserError(f"episodes must be at least 2 for a confidence interval, received {episodes}.")
        metrics = self.metrics(self.replicas.batches(source, 0, self.replicas.rounded_up(meta_batch)), episodes)
        # Of logits that are no numbers class 0 is the largest: an accuracy is finite whatever becomes of them.
        for name in (self.metric, self.metric.removesuffix(source.problem.metric) + "loss"):
            diverged = np.flatnonzero(~np.isfinite(metrics.get(name, metrics[self.metric])))
            if diverged.size:
                raise Diverged(
                    f"{name} is not finite in {diverged.size} of {episodes} episodes (the first is {diverged[0]}): "
                    "adaptation diverged there. Use fewer inner steps, or train with a lower inner rate."
                )
        averages = {name: float(values.mean(dtype=np.float64)) for name, values in metrics.items()}
        scores = metrics[self.metric]
        nrmse = normalised(scores, source) if isinstance(source.problem, Regression) else None
        return Evaluation(self.metric, scores, seed, manifest_hash(source, episodes), averages, nrmse)


def _of_query_loss(method: Method, episode: Episode) -> dict[str, tf.Tensor]:
    """What the query loss reports of a method whose terms do not; nothing if no part of it says what the problem is."""
    problem = next((one.problem for one in (*method.terms, method.rule) if hasattr(one, "problem")), None)
    if problem is None:
        return {}
    return evaluate_losses(replace(method, terms=(QueryLoss(problem, differentiated=False),)), episode)[1]


def normalised(squared_errors: np.ndarray, source: EpisodeSource) -> np.ndarray | None:
    """The nRMSE (`Evaluation`) of the first episodes of a regression.

    Args:
      squared_errors: mean of each over its queries, `[episodes]`.
      source: of the episodes.
    """
    targets = source.batch(0, len(squared_errors)).query.targets.numpy().astype(np.float64)
    # Over several outputs the squared error is a mean, and so is the variance.
    deviations = np.sqrt(targets.var(axis=1).mean(axis=-1))
    return np.sqrt(squared_errors.astype(np.float64)) / deviations if deviations.all() else None


def manifest_hash(source: EpisodeSource, episodes: int) -> str:
    """SHA-256 (hexadecimal) of the source's fingerprint and the indices of its first episodes."""
    digest = hashlib.sha256(source.fingerprint.encode())
    digest.update(np.ascontiguousarray(source.indices(0, episodes), np.int64).astype("<i8").tobytes())
    return digest.hexdigest()


def compare(first: Evaluation, second: Evaluation, *, normalised: bool = False) -> PairedDifference:
    """First minus second, episode by episode; of their nRMSE if `normalised`, which both must have.

    Raises:
      UserError: if the two were not scored on the same episodes by the same metric.
    """
    if (first.manifest_hash, first.metric) != (second.manifest_hash, second.metric):
        raise UserError(
            "a paired comparison needs the same episodes and metric, received manifests "
            f"{first.manifest_hash[:12]} and {second.manifest_hash[:12]}, metrics {first.metric} and {second.metric}. "
            "Compare runs with the same dataset, ways, shots and queries."
        )
    one, other = (np.asarray(scored.nrmse if normalised else scored.scores, np.float64) for scored in (first, second))
    differences = one - other
    return PairedDifference(float(differences.mean()), confidence_interval(differences), len(differences))


class RunningMeans:
    """Sums and counts by name, in float64; `state` is JSON and restores them bit for bit."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def update(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds the values of one step, `[tasks]` each."""
        for name, values in metrics.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(values.sum(dtype=np.float64)), count + values.size)

    def result(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / count for name, (total, count) in self._sums.items()}

    def reset(self) -> None:
        """Forgets everything."""
        self._sums = {}

    @property
    def state(self) -> dict[str, list[float]]:
        """Sums and counts as JSON."""
        return {name: [total, count] for name, (total, count) in self._sums.items()}

    @state.setter
    def state(self, value: Mapping[str, list[float]]) -> None:
        self._sums = {name: (float(total), int(count)) for name, (total, count) in value.items()}


def confidence_interval(samples: np.ndarray, level: float = 0.95) -> float:
    """Half-width of Student's confidence interval of the mean of independent samples `[n]`.

    Raises:
      ValueError: for fewer than two samples, which have no interval.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 1 or samples.size < 2:
        raise ValueError(f"a confidence interval needs at least two samples, received shape {samples.shape}.")
    quantile = scipy.stats.t.ppf(0.5 + level / 2, samples.size - 1)
    return float(quantile * samples.std(ddof=1) / np.sqrt(samples.size))
