"""Answers and advice as they are printed: a table for people, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export.client.answers import Answer

if TYPE_CHECKING:
    from export.client.advice import Advice

    # It needs TensorFlow, which asking a server over REST does not.
    from export.client.examples import ExampleSet

NONE_OF_THESE = "none of these"
# Of examples and queries under advice; of suspects all are shown.
_SHOWN = 10
# Of what is no terminal, in characters: wide enough that hardly a name is broken there.
_WIDE = 10_000


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
      encoding: as of `drawn`.
    """
    classes = answer.class_names is not None
    sure = ("prediction set",) if answer.confidence else ()
    columns = ("query", *(("class", "probability", *sure) if classes else ("prediction",)))
    rows = []
    for position, (name, values) in enumerate(zip(queries.names, answer.values, strict=True)):
        numbers = ", ".join(f"{value:.6g}" for value in values)
        rows.append([name, *(_cells(answer, position) if classes else [numbers])])
    share = accuracy(answer, queries)
    told = "" if share is None else f"{share:.1%} of {len(queries.names)} right\n"
    return drawn(columns, rows, encoding=encoding) + told


def advice_as_table(advice: Advice, names: Sequence[str], encoding: str | None = None) -> str:
    """One row an example, what to look at first: all suspects, and no less than ten examples if there are as many.

    Args:
      advice: on them.
      names: of all support examples.
      encoding: as of `drawn`.
    """
    columns = ("example", "label", "taken for", "probability of its label")
    rows = []
    for position in advice.order[: max(_SHOWN, len(advice.suspects))]:
        taken = advice.taken_for[position]
        share = "" if taken is None else f"{advice.own[position]:.3f}"
        rows.append((names[position], advice.labels[position], taken or "the only one of its class", share))
    return drawn(columns, rows, title="each example left out once", encoding=encoding)


def advice_as_text(advice: Advice, following: Sequence[str], encoding: str | None = None) -> str:
    """What to do, in one line each.

    Args:
      advice: on support examples, as the table above shows them.
      following: names of queries, the first to be labelled first.
      encoding: as of `printable`; that of the standard output by default.
    """
    lines, encoding = [], encoding or output_encoding()
    if advice.accuracy is not None:
        lines.append(f"{advice.accuracy:.1%} of {len(advice.judged)} judged examples are taken for what they are.")
    if advice.suspects:
        count = len(advice.suspects)
        lines.append(f"Look at the labels of the first {count} examples in the table, the topmost before all.")
    lines.append(f"Another example would help most in class {printable(str(advice.weakest_class), encoding)}.")
    if following:
        lines.append(f"Label next: {', '.join(printable(name, encoding) for name in following[:_SHOWN])}.")
    return "\n".join(lines) + "\n"


def drawn(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, encoding: str | None = None
) -> str:
    """A table in which every text stands whole: what is too long for a terminal goes on in the next line of its cell.

    Args:
      columns: their headings.
      rows: one text a column, as they are; what they hold is shown, and neither obeyed nor read as markup.
      title: above it.
      encoding: of the file that it is written to; what it lacks is written otherwise. By default that of the standard
        output, whose width it has then if that is a terminal.
    """
    width = None if encoding is None and sys.stdout.isatty() else _WIDE
    encoding = encoding or output_encoding()
    lines = box.HEAVY_HEAD if encoding.lower().startswith("utf") else box.ASCII2
    table = Table(box=lines, title=title)
    for column in columns:
        # Cut names would be the same name, and the dots that tell of a cut are not in every encoding.
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, encoding)) for cell in row))
    written = io.StringIO()
    # Whatever the environment says of colours, this may be going into a file.
    Console(file=written, width=width, force_terminal=False).print(table)
    return written.getvalue()


def _cells(answer: Answer, query: int) -> list[str]:
    found, probability = answer.confidence, f"{answer.shares[query].max():.3f}"
    if found is None:
        return [answer.classes[query], probability]
    unknown = found.known is not None and not found.known[query]
    said = f"{NONE_OF_THESE} (nearest: {answer.classes[query]})" if unknown else answer.classes[query]
    return [said, probability, ", ".join(answer.prediction_set(query))]


def output_encoding() -> str:
    """The encoding of the standard output."""
    return sys.stdout.encoding or "utf-8"


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text with a replacement character for every control character, and escapes for what the encoding lacks."""
    # Names come from files; a terminal obeys control characters.
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)
