"""Nodes and their labels from CSV files: a node number a line, and behind a comma its label where it is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from export.client.errors import ClientError


def read_node_table(path: Path) -> tuple[np.ndarray, list[str] | list[int] | None]:
    """Node numbers, int64 `[examples]`, and a label for each: whole numbers if all of them are, else names.

    Labels are None where no line has one.

    Raises:
      ClientError: naming the line that is malformed, or if some lines have a label and some have none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(file), 1)]
    except (OSError, ValueError, csv.Error) as error:
        raise ClientError(f"{path} must hold a node number a line, and cannot be read: {error}.") from error
    rows = [(number, row) for number, row in rows if any(row)]
    nodes = [_node(path, number, row) for number, row in rows]
    labels = [row[1] for _, row in rows if len(row) == 2 and row[1]]
    if not labels:
        return np.array(nodes, np.int64), None
    if len(labels) < len(nodes):
        raise ClientError(f"{path} must hold a label on every line or on none, found {len(labels)} of {len(nodes)}.")
    try:
        return np.array(nodes, np.int64), [int(label) for label in labels]
    except ValueError:
        return np.array(nodes, np.int64), labels


def _node(path: Path, number: int, row: list[str]) -> int:
    # Digits alone: int() would also take 1_000 and other scripts' digits.
    if len(row) > 2 or not (row[0].isascii() and row[0].isdigit() and len(row[0]) < 12):
        raise ClientError(
            f"{path}, line {number}, must be a node number, then a comma and its label if it is known (and no header "
            f"line), received {','.join(row)[:60]!r}."
        )
    return int(row[0])
