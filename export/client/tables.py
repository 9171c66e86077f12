"""Answers as a table for people and as JSON for programs."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.client.answers import Answer
from export.client.examples import ExampleSet


def accuracy(answer: Answer, queries: ExampleSet) -> float | None:
    """The share of right answers, in [0, 1]; None where the truth is not known."""
    if answer.class_names is None or queries.targets is None or not queries.names:
        return None
    right = sum(str(truth) == found for truth, found in zip(queries.targets, answer.classes, strict=True))
    return right / len(queries.names)


def as_json(answer: Answer, queries: ExampleSet) -> str:
    """One object: `queries` (`name`, `values`, for classes also `class`), `class_names`, `accuracy`."""
    rows: list[dict[str, Any]] = [
        {"name": name, "values": values.tolist()} for name, values in zip(queries.names, answer.values, strict=True)
    ]
    if answer.class_names is not None:
        for row, found in zip(rows, answer.classes, strict=True):
            row["class"] = found
    names = None if answer.class_names is None else list(answer.class_names)
    document = {"class_names": names, "queries": rows, "accuracy": accuracy(answer, queries)}
    return json.dumps(document, ensure_ascii=False) + "\n"


def as_table(answer: Answer, queries: ExampleSet) -> str:
    """One row a query: for classes the best one with its probability, else the predicted values."""
    classes = answer.class_names is not None
    table = Table("query", *(("class", "probability") if classes else ("prediction",)))
    for position, (name, values) in enumerate(zip(queries.names, answer.values, strict=True)):
        if classes:
            cells = [answer.classes[position], f"{values.max():.3f}"]
        else:
            cells = [", ".join(f"{value:.6g}" for value in values)]
        # Names of files and classes are not markup.
        table.add_row(*(Text(printable(cell)) for cell in (name, *cells)))
    share = accuracy(answer, queries)
    written = io.StringIO()
    console = Console(file=written)
    console.print(table)
    if share is not None:
        console.print(f"{share:.1%} of {len(queries.names)} right", highlight=False)
    return written.getvalue()


def printable(text: str) -> str:
    """The text with replacement characters in the place of all that cannot be shown."""
    # Names come from files; a terminal obeys control characters.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
