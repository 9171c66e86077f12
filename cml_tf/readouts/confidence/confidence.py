"""The record of a fitted confidence, and what it makes of logits: in evaluation, in a notebook and in the export.

Its numbers depend on how many support examples a class has. They are fitted at a few such numbers, the *knots*, and in
between taken by linear interpolation over the logarithm; beyond the outermost knots they stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptedTask
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.problems import Classification, at_least_float32
from cml_tf.readouts.confidence.calibration import Calibrator
from cml_tf.readouts.confidence.open_set import Reading, Score
from cml_tf.registry import Given, member
from cml_tf.system.files import parsed_json

CALIBRATED, PREDICTION_SET, SCORE, KNOWN = "calibrated_probabilities", "prediction_set", "known_score", "is_known"
_FORMAT = 1


class Summary(NamedTuple):
    """What confidence has to know of a task's support set; part of an adapted state.

    Example: in that of `Confidence`.

    Attributes:
      counts: support examples by class, `[ways]`.
      means: of their features by class, `[ways, width]`; `[ways, 0]` where no score reads features.
    """

    counts: tf.Tensor
    means: tf.Tensor


class Cuts(NamedTuple):
    """Where decisions of a task lie: the least probability in a prediction set, the least score of a known class."""

    probability: tf.Tensor
    score: tf.Tensor


@dataclass(frozen=True)
class Knot:
    """What was fitted for one number of support examples a class.

    Example: in that of `Confidence`.

    Attributes:
      shots: that number.
      numbers: of the calibrator.
      quantile: of 1 - probability of the right class, at the coverage: probabilities of at least 1 - quantile are in.
      threshold: the least score of a query that is known; None without a score.
    """

    shots: int
    numbers: tuple[float, ...]
    quantile: float
    threshold: float | None = None


@dataclass(frozen=True)
class Confidence:
    """A fitted confidence.

    Example:
      >>> confidence = Confidence(2, "temperature", (Knot(1, (np.log(2.0),), 0.8),))
      >>> summary = Summary(tf.ones(2), tf.zeros((2, 0)))
      >>> answers = confidence.answers(tf.constant([[4.0, 0.0]]), tf.zeros((1, 0)), summary)
      >>> answers["calibrated_probabilities"].numpy().astype(float).round(2).tolist()
      [[0.88, 0.12]]
      >>> answers["prediction_set"].numpy().tolist()
      [[1, 0]]

    Attributes:
      ways: of the model.
      calibration: a member of that axis.
      knots: at least one, by rising shots.
      coverage: the share of queries of known classes whose prediction set is to hold their class, in (0, 1).
      open_set: a member of that axis; None where nothing says whether a query is of a known class.
      false_accept: the share of queries of unknown classes that is to be taken for known, in (0, 1).
      model: SHA-256 of the model's variables (`cml_tf.boundary.digest`); empty if not known.
      steps: inner steps of the model; None for a rule without.
      readout: that answers.
      fitted_ways: classes of the tasks that it was fitted on, at most `ways`; None for as many. It is not known how
        well the numbers hold for tasks of others.
    """

    ways: int
    calibration: str
    knots: tuple[Knot, ...]
    coverage: float = 0.95
    open_set: str | None = None
    false_accept: float = 0.05
    model: str = ""
    steps: int | None = None
    readout: str = "learner"
    fitted_ways: int | None = None

    def __post_init__(self) -> None:
        shots = [knot.shots for knot in self.knots]
        if not shots or shots != sorted(set(shots)) or shots[0] < 1:
            raise UserError(f"the knots of a confidence must have rising numbers of shots from 1, received {shots}.")
        for name, share in (("coverage", self.coverage), ("false_accept", self.false_accept)):
            if not 0 < share < 1:
                raise UserError(f"{name} must be between 0 and 1, received {share}.")
        if self.fitted_ways is not None and not 2 <= self.fitted_ways <= self.ways:
            raise UserError(f"fitted_ways must be from 2 to {self.ways}, received {self.fitted_ways}.")
        numbers = len(self.calibrator.identity(self.ways))
        for knot in self.knots:
            found = [*knot.numbers, knot.quantile, *([] if self.open_set is None else [knot.threshold])]
            if len(knot.numbers) != numbers or not all(isinstance(n, float) and math.isfinite(n) for n in found):
                raise UserError(
                    f"a knot must have {numbers} numbers for the calibration {self.calibration!r}, a quantile and a "
                    f"threshold, all finite, received {knot}."
                )

    @cached_property
    def calibrator(self) -> Calibrator:
        """The member that `calibration` names."""
        return member("calibration", self.calibration).make(self._given)

    @cached_property
    def score(self) -> Score | None:
        """The member that `open_set` names."""
        return None if self.open_set is None else member("open_set", self.open_set).make(self._given)

    @property
    def _given(self) -> Given:
        return Given(Classification(self.ways), {})

    @property
    def as_fitted(self) -> Confidence:
        """The same for tasks of the size that it was fitted on, without the other classes."""
        return self if self.fitted_ways is None else replace(self, ways=self.fitted_ways)

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of what a query gets, by name. Decisions are int32, 1 for yes."""
        by_class = {
            CALIBRATED: tf.TensorSpec([None, self.ways], tf.float32),
            PREDICTION_SET: tf.TensorSpec([None, self.ways], tf.int32),
        }
        known = {SCORE: tf.TensorSpec([None], tf.float32), KNOWN: tf.TensorSpec([None], tf.int32)}
        return by_class | (known if self.score else {})

    def summary_spec(self, learner: Learner) -> Specification:
        """What a `Summary` adds to an adapted state."""
        spec = (tf.TensorSpec([self.ways], tf.float32, "confidence/support_counts"),)
        if not self.reads_features:
            return spec
        return *spec, tf.TensorSpec([self.ways, _width(learner)], tf.float32, "confidence/class_means")

    @property
    def reads_features(self) -> bool:
        """Whether its score does, so that an adapted state carries class means."""
        return self.score is not None and self.score.reads_features

    def summary(self, task: AdaptedTask, support: Examples) -> Summary:
        """What is to be known of a task with these support examples (labels, no task axis)."""
        one_hot = tf.one_hot(support.targets, self.ways)
        counts = tf.reduce_sum(one_hot, 0)
        if not self.reads_features:
            return Summary(counts, tf.zeros([self.ways, 0]))
        features = _flat(task.predict(support.inputs)[0])
        sums = tf.matmul(one_hot, features, transpose_a=True)
        return Summary(counts, tf.math.divide_no_nan(sums, counts[:, None]))

    def answers(self, logits: tf.Tensor, features: tf.Tensor, summary: Summary) -> dict[str, tf.Tensor]:
        """What the queries of a task get, by name as `outputs` says.

        Args:
          logits: `[queries, ways]`.
          features: `[queries, ...]`; read only by scores that say so.
          summary: of the task.
        """
        reading = self.reading(logits, features, summary)
        cuts = self.cuts(summary.counts)
        probabilities = tf.nn.softmax(reading.calibrated)
        # Never empty: the most probable class is in at any rate, which can only raise the coverage.
        top = tf.one_hot(tf.argmax(probabilities, -1), self.ways, on_value=True, off_value=False)
        answers = {
            CALIBRATED: probabilities,
            PREDICTION_SET: tf.cast((probabilities >= cuts.probability) & reading.present | top, tf.int32),
        }
        if self.score is None:
            return answers
        scores = self.score(reading)
        return {**answers, SCORE: scores, KNOWN: tf.cast(scores >= cuts.score, tf.int32)}

    def reading(self, logits: tf.Tensor, features: tf.Tensor, summary: Summary) -> Reading:
        """The queries as a score reads them."""
        logits = tf.cast(logits, tf.float32)
        present = summary.counts > 0
        calibrated = self.calibrator.apply(logits, self._at(summary.counts, [knot.numbers for knot in self.knots]))
        absent = tf.constant(-np.inf, tf.float32)
        flat = self.flat_features(features, tf.shape(logits)[0])
        return Reading(
            tf.where(present, logits, absent), tf.where(present, calibrated, absent), flat, summary.means, present
        )

    def flat_features(self, features: Any, queries: tf.Tensor) -> tf.Tensor:
        """Features as a score reads them, `[queries, width]`; of width 0 where none does."""
        return _flat(features) if self.reads_features else tf.zeros([queries, 0])

    def cuts(self, counts: tf.Tensor) -> Cuts:
        """Where decisions lie in a task with so many support examples by class `[ways]`."""
        rows = [(1 - knot.quantile, knot.threshold or 0.0) for knot in self.knots]
        return Cuts(*tf.unstack(self._at(counts, rows)))

    def blank(self, queries: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """What says nothing: uniform probabilities, every class in the set, nothing known."""
        answers = {
            CALIBRATED: tf.fill([queries, self.ways], 1 / self.ways),
            PREDICTION_SET: tf.ones([queries, self.ways], tf.int32),
        }
        known = {SCORE: tf.zeros([queries]), KNOWN: tf.zeros([queries], tf.int32)}
        return answers | (known if self.score else {})

    def _at(self, counts: tf.Tensor, rows: Sequence[Sequence[float]]) -> tf.Tensor:
        """The numbers of the knots, interpolated at the mean number of support examples of the classes present."""
        shots = tf.math.divide_no_nan(tf.reduce_sum(counts), tf.reduce_sum(tf.cast(counts > 0, counts.dtype)))
        weights = hat_weights(tf.math.log(tf.maximum(shots, 1.0)), [math.log(knot.shots) for knot in self.knots])
        return tf.linalg.matvec(tf.constant(rows, tf.float32), weights, transpose_a=True)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Confidence:
        """From what `to_json` made.

        Raises:
          UserError: for anything else.
        """
        arguments = dict(value)
        if arguments.pop("format", None) != _FORMAT:
            raise UserError(f"a confidence must have the format {_FORMAT}: fit it again (python -m cml_tf.calibrate).")
        try:
            knots = tuple(Knot(**{**knot, "numbers": tuple(knot["numbers"])}) for knot in arguments.pop("knots"))
            return cls(**arguments, knots=knots)
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"a confidence must be what python -m cml_tf.calibrate wrote, but {error!r}.") from error


def read_confidence(path: str | Path) -> Confidence:
    """The confidence in a file of `python -m cml_tf.calibrate`.

    Raises:
      UserError: if the file is missing, damaged, or another one.
    """
    try:
        value = parsed_json(Path(path).read_text("utf-8-sig"))
        if not isinstance(value, dict) or not isinstance(value.get("confidence"), dict):
            raise ValueError("there is no object 'confidence' in it")
        return Confidence.from_json(value["confidence"])
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a file of python -m cml_tf.calibrate: {error}.") from error


def hat_weights(position: tf.Tensor, knots: list[float]) -> tf.Tensor:
    """The share of each knot in a linear interpolation, `[knots]`; beyond the outermost, all of that one.

    Args:
      position: a scalar.
      knots: rising.
    """
    position = tf.clip_by_value(position, knots[0], knots[-1])
    weights = []
    for at, knot in enumerate(knots):
        rising = (position - knots[at - 1]) / (knot - knots[at - 1]) if at else tf.ones_like(position)
        last = at + 1 == len(knots)
        falling = tf.ones_like(position) if last else (knots[at + 1] - position) / (knots[at + 1] - knot)
        weights.append(tf.maximum(tf.minimum(rising, falling), 0.0))
    return tf.stack(weights)


def _width(learner: Learner) -> int:
    return sum(math.prod(leaf.shape[1:]) for leaf in tf.nest.flatten(learner.example_features))


def _flat(features: Any) -> tf.Tensor:
    """Features `[examples, ...]` of any structure as float32 `[examples, width]`."""
    leaves = [at_least_float32(leaf) for leaf in tf.nest.flatten(features)]
    rows = [tf.reshape(tf.cast(leaf, tf.float32), [-1, math.prod(leaf.shape[1:])]) for leaf in leaves]
    return tf.concat(rows, -1)
