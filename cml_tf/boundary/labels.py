r"""What a class is called: one spelling, wherever the name comes from, so that one class is never taken for two.

A name loses white space and byte order marks around it. Accents are composed (Unicode's NFC), as most keyboards write
them and some file systems do not. Bytes are read as UTF-8; those that are none are written out, as in `caf\xe9`, which
can be shown and stored everywhere. Upper and lower case, and everything else, tell names apart.

Whole numbers may have gone through a program which knows floats only, as tables with gaps do.
"""

from __future__ import annotations

import numbers
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from cml_tf.errors import UserError

# What NumPy and pandas write where a name is missing.
MISSING = ("nan", "NaN", "NAN", "<NA>", "NaT")


class ClassNameError(UserError):
    """A class has no usable name; the message is one line."""


def class_name(given: str | bytes) -> str:
    """The one spelling of a name.

    Args:
      given: text, also that of a file name with escaped bytes; or its bytes in UTF-8.

    Raises:
      ClassNameError: if nothing is left, if it holds a NUL character or half a character, or says that it is missing.
    """
    try:
        content = given if isinstance(given, bytes) else given.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ClassNameError(f"class names must be Unicode text, received {given!r}: rename the class.") from error
    text = content.decode("utf-8", "backslashreplace")
    name = unicodedata.normalize("NFC", text).strip().strip("\ufeff").strip()
    # NumPy's arrays of text forget a NUL at the end.
    if not name or "\0" in name or name in MISSING:
        raise ClassNameError(
            f"class names must not be empty, contain NUL or mean a missing value, received {text!r}: rename the "
            "class, or leave out examples without a class."
        )
    return name


def file_text(name: str) -> str:
    """The name of a file as text that can be shown and stored: its bytes as `class_name` reads them."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def folder_classes(folders: Iterable[str]) -> dict[str, str]:
    """From the name of a class to that of its folder.

    Raises:
      ClassNameError: if two folders are one class, or a folder's name is none of a class.
    """
    found: dict[str, str] = {}
    for folder in folders:
        name = class_name(os.fsencode(folder))
        if name in found:
            raise ClassNameError(
                f"the folders {file_text(found[name])!a} and {file_text(folder)!a} both have the name {name} and "
                "differ only in how accents are stored or in surrounding white space: merge them."
            )
        found[name] = folder
    return found


def class_labels(given: Any) -> list[str] | list[int]:
    """Labels in one spelling: whole numbers if all of them are, also where they are stored as floats, else names.

    Args:
      given: names (text or bytes) or whole numbers, one an example: a list, an array, a tensor, a column of a table.

    Raises:
      ClassNameError: naming the label that is neither, such as None, NaN or 0.5.
    """
    if isinstance(given, (str, bytes, Mapping, Set)) or not hasattr(given, "__len__"):
        raise ClassNameError(
            f"labels must be a list or an array with one label per example, received {type(given).__name__}."
        )
    given = given.numpy() if hasattr(given, "numpy") else given
    values: Sequence[Any] = given.tolist() if hasattr(given, "tolist") else list(given)
    labels = [_label(value, position) for position, value in enumerate(values)]
    whole = [label for label in labels if isinstance(label, int)]
    return whole if len(whole) == len(labels) else [str(label) for label in labels]


def numbered(labels: Sequence[str] | Sequence[int]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, sorted (whole numbers by value), and the number of each label in them, int32."""
    distinct = sorted(set(labels))  # type: ignore[type-var]  # All are numbers, or all are names.
    number = {label: position for position, label in enumerate(distinct)}
    return tuple(map(str, distinct)), np.array([number[label] for label in labels], np.int32)


def _label(value: Any, position: int) -> str | int:
    value = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return int(float(value))
    if isinstance(value, (str, bytes)):
        try:
            return class_name(value)
        except ClassNameError as error:
            raise ClassNameError(f"label {position} (from 0) is not valid: {error}") from error
    raise ClassNameError(
        f"labels must be names or whole numbers, received {str(value)[:40]} ({type(value).__name__}) as label "
        f"{position} (from 0): leave out examples without a label."
    )


# Floats beyond this may have been rounded from another whole number.
_EXACT = 2**53


def as_whole(given: np.ndarray, missing: int | None = None) -> np.ndarray:
    """The array as int64 if it holds floats that are all whole; anything else as it is.

    Args:
      given: of any dtype and shape.
      missing: what NaN becomes; by default NaN is not whole.
    """
    if given.dtype.kind != "f":
        return given
    filled = given if missing is None else np.where(np.isnan(given), missing, given)
    whole = np.isfinite(filled) & (filled == np.floor(filled)) & (np.abs(filled) < _EXACT)
    return filled.astype(np.int64) if whole.all() else given
