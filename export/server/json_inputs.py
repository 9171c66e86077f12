"""Arrays from nested lists of JSON, as strictly as TensorFlow Serving takes them."""

from __future__ import annotations

import base64
import binascii
import re
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf

from export.server.errors import ServingError, invalid
from export.server.json_text import debug_text, encoded
from export.server.prediction import dtype_name

_RANGES = {"int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
# Smaller integers pass through an int32 and wrap.
_INT32 = (-(2**31), 2**31 - 1)
_TYPE_NAMES = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
# NumPy has no more.
_MOST_AXES = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def dense_array(value: Any, dtype: int) -> np.ndarray:
    """The array of a value and the lists in it; the first element of each list says how large its fellows are.

    Args:
      value: parsed JSON.
      dtype: DataType of the array.

    Raises:
      ServingError: for ragged lists, and for leaves of another type.
    """
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _MOST_AXES:
        raise invalid(f"lists may be nested {_MOST_AXES} deep, received {len(shape)} levels")
    leaves = _regular_leaves(value, shape)
    if leaves is None:
        leaves = []
        _flatten(value, 0, shape, leaves)
    return _array(leaves, dtype).reshape(shape)


def is_bytes(value: Any) -> bool:
    """Whether a value is the object that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _regular_leaves(value: Any, shape: list[int]) -> list[Any] | None:
    """The leaves level by level, in a fraction of the time of `_flatten`; None where that has to say what is wrong.

    Images of one channel are lists of one number each: there are as many lists as numbers.
    """
    level = [value]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(chain.from_iterable(level))
    return None if list in set(map(type, level)) else level


def _flatten(value: Any, level: int, shape: list[int], leaves: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {debug_text(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        leaves.append(value)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level + 1 == len(shape) and list not in set(map(type, value)):
        leaves.extend(value)
        return
    for item in value:
        _flatten(item, level + 1, shape, leaves)


def _array(leaves: list[Any], dtype: int) -> np.ndarray:
    name = dtype_name(dtype)
    types = set(map(type, leaves))
    if name == "string":
        result = np.empty(len(leaves), object)
        result[:] = [_bytes(leaf) for leaf in leaves]
        return result
    if name in ("float", "double"):
        return _floats(leaves, types, name, tf.as_dtype(dtype).as_numpy_dtype)
    if name == "bool":
        if types - {bool}:
            raise _unexpected(next(leaf for leaf in leaves if type(leaf) is not bool), name)
        return np.array(leaves, bool)
    if not re.fullmatch(r"u?int(8|16|32|64)", name):
        shown = debug_text(leaves[0]) if leaves else "[]"
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {shown} to type: {name}")
    low, high = _RANGES.get(name, _INT32)
    for leaf in leaves:
        if type(leaf) is not int or not low <= leaf <= high:
            raise _unexpected(leaf, name)
    wide = np.uint64 if name == "uint64" else np.int64
    return np.array(leaves, wide).astype(tf.as_dtype(dtype).as_numpy_dtype)


def _floats(leaves: list[Any], types: set[type], name: str, numpy_type: type) -> np.ndarray:
    if types - {int, float}:
        raise _unexpected(next(leaf for leaf in leaves if type(leaf) not in (int, float)), name)
    try:
        wide = np.array(leaves, np.float64)
    except OverflowError as error:
        raise invalid("JSON Parse error: Number too big to be stored in double.") from error
    with np.errstate(over="ignore"):
        return wide.astype(numpy_type)


def _bytes(leaf: Any) -> bytes:
    if isinstance(leaf, str):
        return encoded(leaf)
    if not is_bytes(leaf):
        raise _unexpected(leaf, "string")
    text = leaf["b64"]
    try:
        if not _BASE64.fullmatch(text):
            raise ValueError("characters outside the standard alphabet")
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except (ValueError, binascii.Error) as error:
        raise invalid("Unable to base64 decode") from error


def _unexpected(leaf: Any, name: str) -> ServingError:
    kind = str(leaf) if isinstance(leaf, bool) else _TYPE_NAMES[type(leaf)]
    return invalid(f"JSON Value: {debug_text(leaf)} Type: {kind} is not of expected type: {name}")
