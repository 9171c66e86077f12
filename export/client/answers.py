"""What the server says about queries, and that as a table for people and as JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.client.trace import Trace

if TYPE_CHECKING:
    # It needs TensorFlow, which asking a server over REST does not.
    from export.client.examples import ExampleSet


NONE_OF_THESE = "none of these"
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


def accuracy(answer: Answer, queries: ExampleSet) -> float | None:
    """The share of right answers, in [0, 1]; None where the truth is not known."""
    if answer.class_names is None or queries.targets is None or not queries.names:
        return None
    right = sum(str(truth) == found for truth, found in zip(queries.targets, answer.classes, strict=True))
    return right / len(queries.names)


def as_json(answer: Answer, queries: ExampleSet) -> str:
    """One object: `queries`, `class_names`, `accuracy`.

    A query has `name`, `values`, for classes also `class`; of a model that was exported with a confidence also
    `calibrated` (by which `class` is the most probable), `prediction_set` (names), `is_known` and `known_score`.
    """
    rows: list[dict[str, Any]] = [
        {"name": name, "values": values.tolist()} for name, values in zip(queries.names, answer.values, strict=True)
    ]
    if answer.class_names is not None:
        for row, found in zip(rows, answer.classes, strict=True):
            row["class"] = found
    for position, row in enumerate(rows):
        row |= _sureness(answer, position)
    names = None if answer.class_names is None else list(answer.class_names)
    document = {"class_names": names, "queries": rows, "accuracy": accuracy(answer, queries)}
    # In ASCII: no terminal, pipe or locale can spoil it.
    return json.dumps(document) + "\n"


def _sureness(answer: Answer, query: int) -> dict[str, Any]:
    """What the confidence says of a query, as JSON."""
    found = answer.confidence
    if found is None:
        return {}
    said: dict[str, Any] = {
        "calibrated": found.probabilities[query].tolist(),
        "prediction_set": list(answer.prediction_set(query)),
    }
    if found.known is None or found.scores is None:
        return said
    return {**said, "is_known": bool(found.known[query]), "known_score": float(found.scores[query])}


def as_table(answer: Answer, queries: ExampleSet, encoding: str | None = None) -> str:
    """One row a query: for classes the best one with its probability, else the predicted values.

    Of a model that was exported with a confidence the probability is the calibrated one, and the row has the prediction
    set, and "none of these" where the query is of no class of the task.

    Args:
      answer: to the queries.
      queries: that were asked.
      encoding: of where it will be shown, by default the standard output's; what it lacks is written otherwise.
    """
    encoding = encoding or sys.stdout.encoding or "utf-8"
    classes = answer.class_names is not None
    lines = box.HEAVY_HEAD if encoding.lower().startswith("utf") else box.ASCII2
    sure = ("prediction set",) if answer.confidence else ()
    table = Table("query", *(("class", "probability", *sure) if classes else ("prediction",)), box=lines)
    for position, (name, values) in enumerate(zip(queries.names, answer.values, strict=True)):
        numbers = ", ".join(f"{value:.6g}" for value in values)
        cells = _cells(answer, position) if classes else [numbers]
        # Names of files and classes are not markup.
        table.add_row(*(Text(printable(cell, encoding)) for cell in (name, *cells)))
    share = accuracy(answer, queries)
    written = io.StringIO()
    console = Console(file=written)
    console.print(table)
    if share is not None:
        console.print(f"{share:.1%} of {len(queries.names)} right", highlight=False)
    return written.getvalue()


def _cells(answer: Answer, query: int) -> list[str]:
    found, probability = answer.confidence, f"{answer.shares[query].max():.3f}"
    if found is None:
        return [answer.classes[query], probability]
    unknown = found.known is not None and not found.known[query]
    said = f"{NONE_OF_THESE} (nearest: {answer.classes[query]})" if unknown else answer.classes[query]
    return [said, probability, ", ".join(answer.prediction_set(query))]


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text with a replacement character for every control character, and escapes for what the encoding lacks."""
    # Names come from files; a terminal obeys control characters.
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)
