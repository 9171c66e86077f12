"""The predict call over REST: from a JSON body to a JSON body, as strict about arrays as TensorFlow Serving."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export.server.errors import ServingError, invalid
from export.server.json_text import column_text, debug_text, encoded, parse, row_text
from export.server.prediction import dtype_name
from export.server.servable import DEFAULT_SIGNATURE, Arrays, Servable

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]
_RANGES = {"int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
# Smaller integers pass through an int32 and wrap.
_INT32 = (-(2**31), 2**31 - 1)
_TYPE_NAMES = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
# NumPy has no more.
_MOST_AXES = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def predict(servable: Servable, body: bytes, timeout: float) -> bytes:
    """Answers a request in row form (`instances`) or column form (`inputs`).

    Args:
      servable: that the request asks for.
      body: JSON.
      timeout: seconds.

    Raises:
      ServingError: for a body that does not fit the signature, or whatever the graph says against it.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {debug_text(document)} Is not object")
    signature = _signature(document)
    definition = servable.signatures.get(signature)
    if definition is None:
        raise invalid(f'Serving signature name: "{signature}" not found in signature def')
    if not definition.inputs:
        raise invalid(f"Failed to get input map for signature: {signature}")
    rows = "instances" in document
    if rows and "inputs" in document:
        raise invalid(
            f"JSON Value: {debug_text(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if not rows and "inputs" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    # A map of protobuf fails when it is asked for a name that is not Unicode.
    infos = dict(definition.inputs)
    inputs = _rows(document, infos) if rows else _columns(document["inputs"], infos)
    answer = servable.run(signature, inputs, sorted(definition.outputs), timeout)
    return encoded(row_text(answer) if rows else column_text(answer))


def _signature(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {debug_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or DEFAULT_SIGNATURE


def _columns(value: Any, infos: TensorInfos) -> Arrays:
    if isinstance(value, dict) and not is_bytes(value):
        missing = [name for name in sorted(infos) if name not in value]
        if missing:
            raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
        return {name: dense_array(value[name], info.dtype) for name, info in infos.items()}
    if len(infos) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return {name: dense_array(value, info.dtype) for name, info in infos.items()}


def _rows(document: dict[str, Any], infos: TensorInfos) -> Arrays:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {debug_text(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {debug_text(document)} No values in 'instances' array")
    # Bytes are an object too, and no names of inputs.
    named = isinstance(rows[0], dict) and not is_bytes(rows[0])
    if not named and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    collected: dict[str, list[np.ndarray]] = {name: [] for name in infos}
    for index, row in enumerate(rows):
        if named != (isinstance(row, dict) and not is_bytes(row)):
            kinds = ("object", "list") if named else ("list", "object")
            raise invalid(f"Expecting {kinds[0]} but got {kinds[1]} at item {index} of input list")
        if named:
            _add_named_row(index, row, infos, collected)
        else:
            (name,) = infos
            _add(f"{index}", row, infos[name].dtype, collected[name])
    return {name: np.stack(arrays) for name, arrays in collected.items()}


def _add_named_row(index: int, row: dict[str, Any], infos: TensorInfos, collected: dict[str, list[np.ndarray]]) -> None:
    for name, value in row.items():
        where = f"{index} key: {name}"
        if name not in infos:
            raise _at(where, invalid(f"JSON object: does not have named input: {name}"))
        _add(where, value, infos[name].dtype, collected[name])
    if len(row) != len(infos):
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {debug_text(row)} keys must be "
            f"equal to: {','.join(sorted(infos))}"
        )


def _add(where: str, value: Any, dtype: int, arrays: list[np.ndarray]) -> None:
    try:
        array = dense_array(value, dtype)
        if arrays and array.shape != arrays[0].shape:
            raise invalid(f"Expecting tensor size: {arrays[0].size} but got: {array.size}")
    except ServingError as error:
        raise _at(where, error) from error
    arrays.append(array)


def _at(where: str, error: ServingError) -> ServingError:
    return ServingError(
        error.code if error.code != "UNIMPLEMENTED" else "INVALID_ARGUMENT",
        f"Failed to process element: {where} of 'instances' list. Error: {error.code}: {error.message}",
    )


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
