"""Fits a confidence on validation episodes: a calibrator, then a quantile and a threshold on episodes it has not seen.

The prediction sets are those of split conformal prediction with the score 1 - probability (Sadinle et al. 2019,
arXiv 1609.00451; Vovk et al. 2005): of n validation queries, the ceil((n + 1) * coverage)-th smallest score is the
quantile. Its promise is for queries that are drawn as these were. Classes of a test are other classes, and queries of
one episode hang together, so it is a coverage to be measured, and not a guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cml_tf.boundary.digest import variables_digest
from cml_tf.datasets.base import EpisodeSource
from cml_tf.errors import UserError
from cml_tf.problems import Classification, Problem
from cml_tf.readouts.confidence.collection import UNKNOWN, Collected, collect
from cml_tf.readouts.confidence.confidence import CALIBRATED, SCORE, Confidence, Knot
from cml_tf.readouts.confidence.measures import area_under_curve
from cml_tf.readouts.readout import served_variables
from cml_tf.registry import Given, member, members
from cml_tf.training.method import Method

Sources = Callable[[int, int], EpisodeSource]
"""Episodes of a split, from ways and shots."""
BEST = "best"


@dataclass(frozen=True)
class Asked:
    """What is to be fitted.

    Example:
      >>> Asked(shots=(1, 5), open_set="energy").candidates
      ('energy',)

    Attributes:
      shots: support examples a class to fit at; none where a run's are taken.
      calibration: a member of that axis.
      coverage: of the prediction sets, in (0, 1).
      open_set: a member of that axis; `best` for the one with the largest area under the curve on validation episodes;
        None for none.
      false_accept: at the threshold, in (0, 1).
      unknown: classes a task does not know, whose queries are asked with the others, to fit the threshold; 0 for as
        many as it knows, as far as there are so many (`within`).
      episodes: for each number of shots, and again for the threshold; at least 4.
      ways: classes of a task to fit on, at least 2; 0 for as many as the model has. Others need one that takes any.
    """

    shots: tuple[int, ...]
    calibration: str = "temperature"
    coverage: float = 0.95
    open_set: str | None = BEST
    false_accept: float = 0.05
    unknown: int = 0
    episodes: int = 400
    ways: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 4 or self.unknown < 0:
            raise UserError(
                f"a confidence needs at least 4 episodes and no negative number of unknown classes, received "
                f"{self.episodes} and {self.unknown}."
            )

    @property
    def candidates(self) -> tuple[str, ...]:
        """The scores to choose from."""
        if self.open_set is None:
            return ()
        return tuple(members("open_set")) if self.open_set == BEST else (self.open_set,)

    def own_ways(self, most: int) -> int:
        """Classes of a task to fit on, for a model that has at most so many.

        Raises:
          UserError: if they are too few or too many.
        """
        ways = self.ways or most
        if not 2 <= ways <= most:
            raise UserError(f"ways must be from 2 to {most}, which the model has, received {ways}.")
        return ways

    def within(self, ways: int, classes: int) -> Asked:
        """The same with as many unknown classes as there are, at most as many as were asked for, or as there are ways.

        Args:
          ways: of the model.
          classes: of the split with the fewest.

        Raises:
          UserError: if there is no class beside those of a task.
        """
        ways = self.own_ways(ways)
        if not self.candidates:
            return self
        most = min(self.unknown or ways, classes - ways)
        if most < 1:
            raise UserError(
                f"unknown classes need more than {ways} classes in validation and test, received {classes}: leave out "
                "the decision with open_set none."
            )
        return replace(self, unknown=most)

    def unfitted(self, ways: int) -> Confidence:
        """The confidence of the probabilities as they are, with sets that hold every class.

        Its score is one that reads features if a candidate does, so that what is collected for it serves all of them.
        """
        calibrator = member("calibration", self.calibration).make(Given(Classification(ways), {}))
        numbers = tuple(map(float, calibrator.identity(ways)))
        knots = tuple(Knot(shots, numbers, 1.0, 0.0) for shots in sorted(set(self.shots)))
        bare = Confidence(ways, self.calibration, knots, self.coverage, None, self.false_accept)
        scored = [replace(bare, open_set=name) for name in self.candidates]
        return max(scored, key=lambda one: one.reads_features, default=bare)


class Fitted(NamedTuple):
    """What `fit` found: the confidence, and the area under the curve of each candidate on validation episodes.

    Example:
      >>> fitted = Fitted(Confidence(2, "temperature", (Knot(1, (0.0,), 0.8),)), areas={})
      >>> fitted.confidence.coverage
      0.95
    """

    confidence: Confidence
    areas: dict[str, float]


def fit(method: Method, problem: Problem, sources: Sources, asked: Asked) -> Fitted:
    """Fits a confidence for a model; `belonging_to` says for which.

    Args:
      method: a readout: what answers.
      problem: a classification.
      sources: validation episodes.
      asked: what to fit.

    Raises:
      UserError: for a regression, a number of ways that the model does not take, or a dataset without enough classes or
        examples.
    """
    if asked.candidates and asked.unknown < 1:
        raise UserError("an open-set score needs at least 1 unknown class, received 0.")
    if not isinstance(problem, Classification):
        raise UserError(f"only classifications have probabilities to calibrate, received {problem}.")
    bare = asked.unfitted(_ways_to_fit(method, problem, asked))
    known = [collect(method, sources(bare.ways, knot.shots), asked.episodes, bare) for knot in bare.knots]
    knots = [_calibrated(bare, knot, one) for knot, one in zip(bare.knots, known, strict=True)]
    if not asked.candidates:
        return Fitted(_of(problem, bare, (replace(knot, threshold=None) for knot in knots)), {})
    ways = bare.ways + asked.unknown
    mixed = [collect(method, sources(ways, knot.shots), asked.episodes, bare) for knot in knots]
    scored = {name: replace(bare, open_set=name, knots=tuple(knots)) for name in asked.candidates}
    areas = {name: float(np.mean([_area(one, confidence) for one in mixed])) for name, confidence in scored.items()}
    chosen = scored[max(areas, key=areas.__getitem__)]
    thresholds = [_threshold(one, chosen) for one in mixed]
    fitted = (replace(knot, threshold=at) for knot, at in zip(knots, thresholds, strict=True))
    return Fitted(_of(problem, chosen, fitted), areas)


def belonging_to(confidence: Confidence, method: Method) -> Confidence:
    """The confidence with what it holds for: these variables and this number of steps, and no others."""
    digest = variables_digest(variable.value for variable in served_variables(method))
    steps = method.rule.steps
    return replace(confidence, model=digest, steps=None if steps is None else int(steps))


def _ways_to_fit(method: Method, problem: Classification, asked: Asked) -> int:
    ways = asked.own_ways(problem.ways)
    if ways == problem.ways:
        return ways
    if not method.rule.any_ways:
        raise UserError(
            f"ways must be {problem.ways} for this model, whose class rows are each learned on their own, received "
            f"{ways}: leave out ways."
        )
    few, all_numbers = (len(asked.unfitted(number).calibrator.identity(number)) for number in (ways, problem.ways))
    if few != all_numbers:
        raise UserError(
            f"calibration {asked.calibration!r} has numbers for each of the {problem.ways} classes, which tasks of "
            f"{ways} ways do not have: use calibration temperature, or leave out ways."
        )
    return ways


def _of(problem: Classification, fitted: Confidence, knots: Iterable[Knot]) -> Confidence:
    """For all classes of the model, with how many of them it was fitted on."""
    return replace(fitted, ways=problem.ways, fitted_ways=fitted.ways, knots=tuple(knots))


def _calibrated(bare: Confidence, knot: Knot, known: Collected) -> Knot:
    half = len(known.labels) // 2
    seen, unseen = known.part(slice(half)), known.part(slice(half, None))
    numbers = bare.calibrator.fit(seen.logits.reshape(-1, bare.ways), seen.labels.ravel())
    knot = replace(knot, numbers=tuple(map(float, numbers)))
    return replace(knot, quantile=_quantile(unseen, replace(bare, knots=(knot,))))


def _quantile(known: Collected, confidence: Confidence) -> float:
    probabilities = known.answers(confidence)[CALIBRATED]
    misfit = np.sort(1 - np.take_along_axis(probabilities, known.labels[..., None], -1).ravel())
    place = math.ceil((len(misfit) + 1) * confidence.coverage)
    return float(misfit[place - 1]) if place <= len(misfit) else 1.0


def _area(mixed: Collected, confidence: Confidence) -> float:
    return area_under_curve(mixed.answers(confidence)[SCORE], mixed.labels != UNKNOWN)


def _threshold(mixed: Collected, confidence: Confidence) -> float:
    """Just above the score that all but a share of the unknown queries stay below."""
    scores = np.sort(mixed.answers(confidence)[SCORE][mixed.labels == UNKNOWN])
    place = min(math.ceil((len(scores) + 1) * (1 - confidence.false_accept)), len(scores))
    return float(np.nextafter(scores[place - 1], np.float32(np.inf)))
