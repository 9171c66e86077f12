"""Fits a confidence on validation episodes: a calibrator, then a quantile and a threshold on episodes it has not seen.

The prediction sets are those of split conformal prediction with the score 1 - probability (Sadinle et al. 2019,
arXiv 1609.00451; Vovk et al. 2005): of n validation queries, the ceil((n + 1) * coverage)-th smallest score is the
quantile. Its promise is for queries that are drawn as these were. Classes of a test are other classes, and queries of
one episode hang together, so it is a coverage to be measured, and not a guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cml_tf.datasets.base import EpisodeSource
from cml_tf.errors import UserError
from cml_tf.problems import Classification, Problem
from cml_tf.readouts.confidence.collection import UNKNOWN, Collected, collect
from cml_tf.readouts.confidence.confidence import CALIBRATED, SCORE, Confidence, Knot
from cml_tf.registry import Given, member
from cml_tf.training.method import Method

Sources = Callable[[int, int], EpisodeSource]
"""Episodes of a split, from ways and shots."""


@dataclass(frozen=True)
class Asked:
    """What is to be fitted.

    Attributes:
      shots: support examples a class to fit at, at least one number.
      calibration: a member of that axis.
      coverage: of the prediction sets, in (0, 1).
      open_set: a member of that axis, or None.
      false_accept: at the threshold, in (0, 1).
      unknown: classes a task does not know, whose queries are asked with the others, to fit the threshold; positive.
      episodes: for each number of shots, and again for the threshold; at least 4.
    """

    shots: tuple[int, ...]
    calibration: str = "temperature"
    coverage: float = 0.95
    open_set: str | None = "energy"
    false_accept: float = 0.05
    unknown: int = 1
    episodes: int = 400

    def __post_init__(self) -> None:
        if self.episodes < 4 or self.unknown < 1 or not self.shots:
            raise UserError(
                "a confidence needs at least 4 episodes, 1 unknown class and 1 number of shots, received "
                f"{self.episodes} episodes, {self.unknown} unknown classes and shots {list(self.shots)}."
            )

    def unfitted(self, ways: int) -> Confidence:
        """The confidence of the probabilities as they are, with sets that hold every class."""
        threshold = None if self.open_set is None else 0.0
        calibrator = member("calibration", self.calibration).make(Given(Classification(ways), {}))
        numbers = tuple(map(float, calibrator.identity(ways)))
        knots = tuple(Knot(shots, numbers, 1.0, threshold) for shots in sorted(set(self.shots)))
        return Confidence(ways, self.calibration, knots, self.coverage, self.open_set, self.false_accept)


def fit(method: Method, problem: Problem, sources: Sources, asked: Asked) -> Confidence:
    """Fits a confidence for a model.

    Args:
      method: a readout: what answers.
      problem: a classification.
      sources: validation episodes.
      asked: what to fit.

    Raises:
      UserError: for a regression, or a dataset without enough classes or examples.
    """
    if not isinstance(problem, Classification):
        raise UserError(f"only classifications have probabilities to calibrate, received {problem}.")
    confidence = asked.unfitted(problem.ways)
    knots = [_knot(method, sources, confidence, knot, asked) for knot in confidence.knots]
    return replace(confidence, knots=tuple(knots))


def _knot(method: Method, sources: Sources, confidence: Confidence, knot: Knot, asked: Asked) -> Knot:
    known = collect(method, sources(confidence.ways, knot.shots), asked.episodes, confidence)
    half = asked.episodes // 2
    seen, unseen = known.part(slice(half)), known.part(slice(half, None))
    logits = seen.logits.reshape(-1, confidence.ways)
    numbers = tuple(map(float, confidence.calibrator.fit(logits, seen.labels.ravel())))
    fitted = replace(knot, numbers=numbers)
    alone = replace(confidence, knots=(fitted,))
    fitted = replace(fitted, quantile=_quantile(unseen, alone))
    if confidence.score is None:
        return fitted
    mixed = collect(method, sources(confidence.ways + asked.unknown, knot.shots), asked.episodes, confidence)
    return replace(fitted, threshold=_threshold(mixed, alone))


def _quantile(known: Collected, confidence: Confidence) -> float:
    probabilities = known.answers(confidence)[CALIBRATED]
    misfit = np.sort(1 - np.take_along_axis(probabilities, known.labels[..., None], -1).ravel())
    place = math.ceil((len(misfit) + 1) * confidence.coverage)
    return float(misfit[place - 1]) if place <= len(misfit) else 1.0


def _threshold(mixed: Collected, confidence: Confidence) -> float:
    """Just above the score that all but a share of the unknown queries stay below."""
    scores = np.sort(mixed.answers(confidence)[SCORE][mixed.labels == UNKNOWN])
    place = min(math.ceil((len(scores) + 1) * (1 - confidence.false_accept)), len(scores))
    return float(np.nextafter(scores[place - 1], np.float32(np.inf)))
