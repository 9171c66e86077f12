"""Nodes and their labels from tables: a node number a line, and in a second column its label where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.tables import Line, labels_of, read_lines
from export.client.errors import ClientError


def read_node_table(path: Path) -> tuple[np.ndarray, list[int | str | None] | None]:
    """Node numbers, int64 `[examples]`, and a label for each: whole numbers if all of them are, else names.

    Labels are None where no line has one. Separators, quotes and missing labels are those of `cml_tf.datasets.tables`.
    A first line of words is a header.

    Raises:
      ClientError: naming the line that is malformed, or if some lines have a label and some have none.
    """
    try:
        lines = [line for line in read_lines(path) if any(line.cells)]
        if lines and _is_header(lines[0]):
            del lines[0]
        nodes = np.array([_node(path, line) for line in lines], np.int64)
        labels = labels_of(path, [(line.number, "".join(line.cells[1:])) for line in lines])
    except DatasetError as error:
        raise ClientError(str(error)) from error
    missing = [line.number for line, label in zip(lines, labels, strict=True) if label is None]
    if len(missing) == len(lines):
        return nodes, None
    if missing:
        raise ClientError(
            f"{path} must hold a label on every line or on none, found {len(lines) - len(missing)} of {len(lines)} and "
            f"none on line {missing[0]}."
        )
    return nodes, labels


def _is_header(line: Line) -> bool:
    # A number with a slip of the pen is none: words without a digit are.
    first = line.cells[0].lstrip("#% ")
    return len(line.cells) <= 2 and first.replace("_", "").replace(" ", "").isalpha()


def _node(path: Path, line: Line) -> int:
    whole = line.cells[0].removesuffix(".0")
    # Digits alone: int() would also take 1_000 and other scripts' digits.
    if len(line.cells) > 2 or not (whole.isascii() and whole.isdigit() and len(whole) < 12):
        raise ClientError(
            f"{path}, line {line.number}, must be a node number and its label if it is known, in one or two columns, "
            f"received {','.join(line.cells)[:60]!r}."
        )
    return int(whole)
