"""What the server says about queries, read from the outputs of a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from export.client.interface import Interface
from export.client.trace import Trace, read_trace

# Outputs of models that were exported with a confidence, with one row a query.
CALIBRATED, PREDICTION_SET, SCORE, KNOWN = "calibrated_probabilities", "prediction_set", "known_score", "is_known"


@dataclass(frozen=True, eq=False)
class Confidence:
    """How sure a model is, if it was exported with a confidence.

    Attributes:
      probabilities: calibrated, `[queries, classes]`, each row adding up to 1.
      sets: of every query, which classes are in its prediction set, booleans `[queries, classes]`.
      known: whether a query is of a class of the task, booleans `[queries]`; None for a model that does not say.
      scores: what that was decided by, `[queries]`; None likewise.
    """

    probabilities: np.ndarray
    sets: np.ndarray
    known: np.ndarray | None = None
    scores: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """Predictions of one task.

    Example:
      >>> answer = Answer(np.array([[0.25, 0.75]]), ("alpha", "beta"))
      >>> answer.classes
      ('beta',)

    Attributes:
      values: class probabilities `[queries, classes]`, each row adding up to 1, or predictions `[queries, outputs]`.
      class_names: what the columns mean; None for a regression.
      confidence: of a model that was exported with one; None for others.
      trace: what the inner steps did, of a task that asked for steps or a rate; None for others.
    """

    values: np.ndarray
    class_names: tuple[str, ...] | None
    confidence: Confidence | None = None
    trace: Trace | None = None

    @property
    def shares(self) -> np.ndarray:
        """Calibrated probabilities where there are any, else `values`."""
        return self.values if self.confidence is None else self.confidence.probabilities

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The most probable class of every query, by `shares`.

        Raises:
          TypeError: for a regression, which has no classes.
        """
        if self.class_names is None:
            raise TypeError("a regression has no classes: use values instead.")
        return tuple(self.class_names[column] for column in self.shares.argmax(axis=1))

    def prediction_set(self, query: int) -> tuple[str, ...]:
        """The classes in the prediction set of a query; of a model that was exported with a confidence."""
        assert self.class_names is not None and self.confidence is not None
        return tuple(name for name, held in zip(self.class_names, self.confidence.sets[query], strict=True) if held)


def among(probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities `[queries, ways]` given that the answer is one of the first `classes`, `[queries, classes]`."""
    used = probabilities[:, :classes]
    total = used.sum(axis=1, keepdims=True)
    # Float32 can leave nothing to the classes that there are; then nothing is known of them.
    return np.where(total > 0, used / np.where(total > 0, total, 1), 1 / classes).astype(np.float32)


def put_together(parts: Sequence[tuple[dict[str, np.ndarray], int]], answer: str) -> dict[str, np.ndarray]:
    """The outputs of a task from those of its parts, which differ in their queries only."""
    first = parts[0][0]
    of_queries = {answer, CALIBRATED, PREDICTION_SET, SCORE, KNOWN} & first.keys()
    return first | {
        name: np.concatenate([outputs[name][:queries] for outputs, queries in parts]) for name in of_queries
    }


def no_answer(interface: Interface, names: tuple[str, ...] | None) -> Answer:
    """To no queries."""
    # JSON cannot say which shape an array of nothing has, so it is not sent.
    return Answer(np.zeros((0, interface.outputs if names is None else len(names)), np.float32), names)


def answer_of(outputs: Mapping[str, np.ndarray], interface: Interface, names: tuple[str, ...] | None) -> Answer:
    """What the outputs of a task say.

    Args:
      outputs: by name, without task axis and padding.
      interface: of the version that answered.
      names: of the task's classes; None for a regression.
    """
    values, trace = outputs[interface.answer], read_trace(outputs)
    if names is None:
        return Answer(values, None, trace=trace)
    # Ways without an example are answers to nothing.
    return Answer(among(values, len(names)), names, _confidence(outputs, len(names)), trace)


def _confidence(outputs: Mapping[str, np.ndarray], classes: int) -> Confidence | None:
    if CALIBRATED not in outputs:
        return None
    # The model itself leaves out classes without an example here.
    sets = outputs[PREDICTION_SET][:, :classes].astype(bool)
    known = outputs[KNOWN].astype(bool) if KNOWN in outputs else None
    return Confidence(outputs[CALIBRATED][:, :classes], sets, known, outputs.get(SCORE))
