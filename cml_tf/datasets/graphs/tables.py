"""Text tables as people and other programs write them: CSV files of numbers, and columns of labels.

The separator is a tab, a semicolon, a comma or blanks: the first of these that the first line has. A byte order mark,
any line ends, quotes and blanks around cells are understood, UTF-16 too where it says so. What could be read in two
ways is refused, with the number of the line.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from cml_tf.boundary.labels import MISSING, ClassNameError, class_name
from cml_tf.errors import DatasetError

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_INFINITE = ("inf", "infinity")
_WORDS_FOR_NOTHING = ("", "nan", "none", "na", "n/a", "null", "<na>", "nat", "?")
_LABEL_HEADERS = ("label", "labels", "class", "classes", "class_name", "category", "target", "targets", "y")
_ROW_HEADERS = ("", "index", "id", "node", "nodes", "node_id", "nodeid", "unnamed: 0")
_MOST_DIGITS = 40
_COMMENTS = ("#", "%")


class Line(NamedTuple):
    """One line: its number in the file, from 1 on, its cells without blanks around them, and whether it is quoted."""

    number: int
    cells: list[str]
    quoted: bool


def refuse(path: Path, place: int | str, message: str) -> NoReturn:
    """Raises the DatasetError of a line, or of what else `place` says."""
    raise DatasetError(f"{path}, {f'line {place}' if isinstance(place, int) else place}: {message}")


def read_lines(path: Path, separators: str = "\t;, ") -> Iterator[Line]:
    """All lines of a table, empty ones too (without a cell).

    Args:
      path: of the file.
      separators: that are looked for in the first line; the first one found is the table's, the last one otherwise.

    Raises:
      DatasetError: if it cannot be read, is neither UTF-8 nor marked as UTF-16, or its quotes do not match.
    """
    raw = _decoded(path).removesuffix("\n").split("\n")
    first = next((line for line in raw if line.strip() and not line.lstrip().startswith(_COMMENTS)), "")
    unquoted = re.sub(r'"[^"]*"', "", first.strip(" "))
    separator = next((mark for mark in separators if mark in unquoted), separators[-1])
    # Blanks at the ends of a line would be empty cells, where blanks separate cells.
    source = ((line.strip(" ") if separator == " " else line) + "\n" for line in raw)
    reader = csv.reader(source, delimiter=separator, skipinitialspace=True, strict=True)
    begin = 0
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            yield Line(begin + 1, stripped if stripped != [""] else [], '"' in raw[begin])
            begin = reader.line_num
    except csv.Error as error:
        refuse(path, begin + 1, f"the quotes or cells cannot be parsed ({error}): write one row per line.")


def read_numbers(path: Path, expected: str, *, row_names: bool = False) -> tuple[np.ndarray, list[int]]:
    """A table of finite numbers; comment lines and empty lines are passed over, and a header of words.

    Args:
      path: of the file.
      expected: what a line must hold, for the errors.
      row_names: whether a first column of node numbers would be taken for numbers like the others, so that a header
        that announces one is refused.

    Returns:
      float64 `[rows, columns]` and the number of the line of each row.

    Raises:
      DatasetError: naming the line that is no row of such numbers, or is longer or shorter than the first.
    """
    rows: list[np.ndarray] = []
    places: list[int] = []
    width = 0
    for line in read_lines(path):
        if not line.cells or line.cells[0].startswith(_COMMENTS):
            continue
        is_header = not width and _is_header(line.cells)
        if not width and row_names:
            _check_no_row_names(path, line, is_header)
        width = width or len(line.cells)
        if len(line.cells) != width:
            refuse(path, line.number, f"must contain {width} cells like the lines before it, found {len(line.cells)}.")
        if not is_header:
            rows.append(_row(path, line, expected))
            places.append(line.number)
    return np.array(rows, np.float64).reshape(len(rows), width), places


def labels_of(path: Path, lines: Sequence[tuple[int | str, str]]) -> list[int | str | None]:
    """Labels in one spelling: whole numbers if all that are there are numbers, else names; None where there is none.

    No label are empty cells, negative numbers and nan; among numbers also NA, None, null and the like.

    Args:
      path: of the file, for the errors.
      lines: the number of the line, or another place, and the text of each.

    Raises:
      DatasetError: naming the line whose label is a fraction, no name, or may be a name or a missing label.
    """
    there = [(number, text) for number, text in lines if text.lower() not in _WORDS_FOR_NOTHING]
    names = [(number, text) for number, text in there if not _is_number(text)]
    if len(names) < len(there) and (infinite := [line for line in names if line[1].lower().lstrip("+-") in _INFINITE]):
        refuse(path, infinite[0][0], f"must contain a whole number, received {infinite[0][1]!r}.")
    if names and any("." in text for _, text in there if _is_number(text)):
        refuse(path, names[0][0], f"must contain a number like the other lines, received {names[0][1][:40]!r}.")
    return [_name(path, *line) if names else _whole(path, *line) for line in lines]


def label_header(lines: Sequence[Line]) -> bool:
    """Whether the first line of a column of labels is its header: a usual word for one, or the only word of all."""
    if not lines or not lines[0].cells:
        return False
    first, others = lines[0].cells[0], [line.cells[0] for line in lines[1:] if line.cells]
    there = [cell for cell in others if cell.lower() not in _WORDS_FOR_NOTHING]
    if _is_number(first) or first in others or first.lower() in _WORDS_FOR_NOTHING:
        # pandas calls a column without a name 0.
        return first == "0" and bool(there) and all("." in cell and _is_number(cell) for cell in there)
    return first.lstrip("# ").lower() in _LABEL_HEADERS or (bool(there) and all(map(_is_number, there)))


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(path, content[: error.start].count(b"\n") + 1, "must be UTF-8 text: save the table as CSV UTF-8.")
    if "\0" in text:
        refuse(path, text[: text.index("\0")].count("\n") + 1, "must be UTF-8 text, found a NUL character.")
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _row(path: Path, line: Line, expected: str) -> np.ndarray:
    joined = "".join(line.cells)
    # What float() takes beyond numbers as tables have them: 1_000, digits of other scripts, nan and inf.
    if joined.isascii() and "_" not in joined:
        with contextlib.suppress(ValueError):
            values = np.array(list(map(float, line.cells)))
            if np.isfinite(values).all():
                return values
    wrong = next((cell for cell in line.cells if not _is_number(cell)), line.cells[0])
    hint = ": use a decimal point" if "," in wrong else ""
    refuse(path, line.number, f"must contain {expected}, all of them finite, received {wrong[:40]!r}{hint}.")


def _is_header(cells: list[str]) -> bool:
    words = all(not cell or cell[0].isalpha() or cell[0] == "_" for cell in cells)
    return words and any(cell.lower() not in (*_WORDS_FOR_NOTHING, *_INFINITE) for cell in cells)


def _check_no_row_names(path: Path, first: Line, is_header: bool) -> None:
    counted = [str(column) for column in range(len(first.cells))]
    named = is_header and first.cells[0].lower() in _ROW_HEADERS
    numbers = len(counted) > 2 and first.cells in (counted, ["", *counted[:-1]])
    if named or numbers:
        refuse(
            path,
            first.number,
            "looks like column numbers or a header for node numbers: leave both out, since row n belongs to node n "
            "(pandas: index=False, header=False).",
        )


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _whole(path: Path, place: int | str, text: str) -> int | None:
    if text.lower() in _WORDS_FOR_NOTHING or float(text) < 0:
        return None
    # Python itself refuses to read more than some thousand digits.
    value = int(text) if text.lstrip("+").isdigit() and len(text) <= _MOST_DIGITS else float(text)
    if math.isinf(value) or value != int(value) or value >= (2**63 if isinstance(value, int) else 2**53):
        refuse(path, place, f"must contain a whole number or a name as label, received {text[:40]!r}.")
    return int(value)


def _name(path: Path, place: int | str, text: str) -> str | None:
    # The other words for nothing may be names, and are asked about.
    if text in ("", *MISSING) or (_is_number(text) and float(text) < 0):
        return None
    if text.lower() in _WORDS_FOR_NOTHING:
        refuse(
            path,
            place,
            f"{text!r} may be a name or mean that there is no label: leave the cell empty, or rename the class.",
        )
    if re.fullmatch(r"b(['\"]).*\1", text):
        refuse(
            path,
            place,
            f"must contain a name, received {text[:40]!r}, which is how Python prints bytes: decode the bytes first.",
        )
    try:
        return class_name(text)
    except ClassNameError as error:
        refuse(path, place, str(error))
