"""Measures of confidence, with intervals over episodes: an episode's queries are not independent of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

from cml_tf.readouts.confidence.collection import UNKNOWN, Collected
from cml_tf.readouts.confidence.confidence import KNOWN, PREDICTION_SET, SCORE, Confidence
from cml_tf.training.evaluator import confidence_interval

BINS = 15
_SCORE_BINS = 30
_RESAMPLES, _SEED = 200, 20240607
Measure = dict[str, float]


class Measured(NamedTuple):
    """What `measured` found.

    Example:
      >>> found = Measured({"accuracy": {"mean": 0.5, "ci95": 0.1}}, histograms={})
      >>> found.measures["accuracy"]["ci95"]
      0.1

    Attributes:
      measures: by name.
      histograms: for pictures: `reliability` of the probabilities, and `scores` of known and of unknown queries.
    """

    measures: dict[str, Measure]
    histograms: dict[str, dict[str, list[float]]]


def measured(confidence: Confidence, known: Collected, mixed: Collected | None = None) -> Measured:
    """Mean and half-width of the 95 % interval of each measure, by name.

    `nll` (nats), `brier` (from 0 to 2), `ece` (15 bins, Guo et al. 2017) and `accuracy` of the calibrated
    probabilities; `coverage` and `set_size` of the prediction sets; with queries of unknown classes also `auroc`,
    `fpr95` (the share of unknown queries that is taken for known where 95 % of the known are), `false_accept` and
    `true_accept` (at the threshold).

    Args:
      confidence: that is measured.
      known: episodes with queries of known classes only.
      mixed: episodes with both.
    """
    answers = known.answers(confidence)
    logs = answers["log_probabilities"].astype(np.float64)
    found = {
        "accuracy": _over_episodes(logs.argmax(-1) == known.labels),
        "nll": _over_episodes(-_of_labels(logs, known.labels)),
        "brier": _over_episodes(brier(np.exp(logs), known.labels)),
        "ece": _resampled(calibration_error, np.exp(logs), known.labels),
        "coverage": _over_episodes(_of_labels(answers[PREDICTION_SET], known.labels)),
        "set_size": _over_episodes(answers[PREDICTION_SET].sum(-1)),
    }
    bins = zip(("queries", "probability", "right"), reliability(np.exp(logs), known.labels), strict=True)
    pictured = {"reliability": {name: array.tolist() for name, array in bins}}
    if mixed is None or confidence.score is None:
        return Measured(found, pictured)
    answers, are_known = mixed.answers(confidence), mixed.labels != UNKNOWN
    pictured["scores"] = _histogram(answers[SCORE], are_known)
    decided = {
        **_discrimination(answers[SCORE], are_known),
        "false_accept": _over_episodes(_share(answers[KNOWN], ~are_known)),
        "true_accept": _over_episodes(_share(answers[KNOWN], are_known)),
    }
    return Measured(found | decided, pictured)


def discrimination(confidence: Confidence, mixed: Collected) -> dict[str, Measure]:
    """`auroc` and `fpr95` of the score of a confidence (`measured`)."""
    return _discrimination(mixed.answers(confidence)[SCORE], mixed.labels != UNKNOWN)


def _discrimination(scores: np.ndarray, known: np.ndarray) -> dict[str, Measure]:
    measures = {"auroc": area_under_curve, "fpr95": false_positives}
    return {name: _resampled(measure, scores, known) for name, measure in measures.items()}


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error of the most probable class, in [0, 1]: 15 bins of equal width.

    Example:
      >>> calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
      0.0

    Args:
      probabilities: `[..., ways]`.
      labels: `[...]`.
    """
    counts, sure, right = reliability(probabilities, labels)
    return float(np.abs(sure - right).sum() / counts.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of 15 bins of the largest probability: how many queries, the sum of it over them, how many are right."""
    sure = probabilities.max(-1).ravel()
    right = (probabilities.argmax(-1) == labels).ravel()
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return np.bincount(bins, minlength=BINS), np.bincount(bins, sure, BINS), np.bincount(bins, right, BINS)


def _histogram(scores: np.ndarray, known: np.ndarray) -> dict[str, list[float]]:
    edges = np.histogram_bin_edges(scores, _SCORE_BINS)
    shares = {"known": scores[known], "unknown": scores[~known]}
    counted = {name: (np.histogram(part, edges)[0] / len(part)).tolist() for name, part in shares.items()}
    return {"edges": edges.tolist(), **counted}


def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance from the one-hot label, `[...]`, in [0, 2] (Brier 1950)."""
    return ((probabilities - np.eye(probabilities.shape[-1])[labels]) ** 2).sum(-1)


def area_under_curve(scores: np.ndarray, known: np.ndarray) -> float:
    """The chance that a known query has a higher score than an unknown one; ties count one half.

    Example:
      >>> area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
      0.75
    """
    ranks = scipy.stats.rankdata(scores.ravel())
    positive = int(known.sum())
    negative = known.size - positive
    return float((ranks[known.ravel()].sum() - positive * (positive + 1) / 2) / (positive * negative))


def false_positives(scores: np.ndarray, known: np.ndarray) -> float:
    """The share of unknown queries whose score reaches what 95 % of the known ones reach."""
    least = np.quantile(scores[known], 0.05, method="lower")
    return float((scores[~known] >= least).mean())


def _of_labels(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, labels[..., None], -1)[..., 0]


def _share(decisions: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The share of 1 among some queries, by episode."""
    return (decisions * among).sum(1) / among.sum(1)


def _over_episodes(values: np.ndarray) -> Measure:
    values = values.astype(np.float64)
    of_episodes = values.reshape(len(values), -1).mean(1)
    return {"mean": float(of_episodes.mean()), "ci95": confidence_interval(of_episodes)}


def _resampled(measure: Callable[[np.ndarray, np.ndarray], float], *arrays: np.ndarray) -> Measure:
    """A measure of all queries at once; its interval by drawing episodes again and again (the bootstrap)."""
    generator, episodes = np.random.default_rng(_SEED), len(arrays[0])
    draws = (generator.integers(0, episodes, episodes) for _ in range(_RESAMPLES))
    values = [measure(*(array[rows] for array in arrays)) for rows in draws]
    return {"mean": measure(*arrays), "ci95": float(1.96 * np.std(values, ddof=1))}
