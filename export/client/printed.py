"""Answers as they are printed: a table for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.client.answers import Answer

if TYPE_CHECKING:
    # It needs TensorFlow, which asking a server over REST does not.
    from export.client.examples import ExampleSet

NONE_OF_THESE = "none of these"


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
