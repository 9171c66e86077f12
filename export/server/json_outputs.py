"""The body of an answer: arrays as JSON."""

from __future__ import annotations

import base64
import json
import math

import numpy as np

from export.server.errors import ServingError, invalid
from export.server.servable import Arrays

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# Such names tell clients that the strings are bytes.
_BYTES_SUFFIX = "_bytes"


def column_text(outputs: Arrays) -> str:
    """`outputs`: the array of the only output, or an object of arrays."""
    texts = {name: _nested(_leaves(name, array), array.shape) for name, array in outputs.items()}
    if len(texts) == 1:
        (text,) = texts.values()
    else:
        text = _object(texts, " " * 8)
    return f'{{\n    "outputs": {text}\n}}'


def row_text(outputs: Arrays) -> str:
    """`predictions`: a list with one entry for each row of the request.

    Raises:
      ServingError: if an output has no axis of rows, or another number of them.
    """
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
    rows = {array.shape[0] for array in outputs.values()}
    if len(rows) != 1:
        sizes = ", ".join(f"{name}: {array.shape[0]}" for name, array in sorted(outputs.items()))
        raise invalid(f"the outputs must have equally many rows for the row form, received {sizes}. Send 'inputs'.")
    texts = {name: _rows(name, array) for name, array in outputs.items()}
    if len(texts) == 1:
        (entries,) = texts.values()
    else:
        entries = [
            _object({name: column[row] for name, column in texts.items()}, " " * 12) for row in range(rows.pop())
        ]
    return f'{{\n    "predictions": [{", ".join(entries)}\n    ]\n}}'


def _object(texts: dict[str, str], indent: str) -> str:
    members = ",\n".join(f"{indent}{json.dumps(name)}: {text}" for name, text in texts.items())
    return f"{{\n{members}\n{indent[4:]}}}"


def _rows(name: str, array: np.ndarray) -> list[str]:
    leaves, size = _leaves(name, array), math.prod(array.shape[1:])
    return [_nested(leaves[row * size : (row + 1) * size], array.shape[1:]) for row in range(array.shape[0])]


def _nested(leaves: list[str], shape: tuple[int, ...]) -> str:
    if 0 in shape:
        # Without leaves there is nothing to group; the shape alone tells the brackets.
        return json.dumps(np.empty(shape).tolist())
    for axis in reversed(shape):
        leaves = [f"[{', '.join(leaves[at : at + axis])}]" for at in range(0, len(leaves), axis)]
    return leaves[0]


def _leaves(name: str, array: np.ndarray) -> list[str]:
    flat = array.reshape(-1)
    kind = flat.dtype.kind
    if kind in "OS":
        write = _bytes_object if name.endswith(_BYTES_SUFFIX) else _string
        return [write(leaf) for leaf in flat.tolist()]
    if kind == "f" and flat.dtype.itemsize > 2:
        # The shortest digits that read back as the same number.
        texts = flat.astype("U32").tolist()
        return texts if np.isfinite(flat).all() else [_NOT_FINITE.get(text, text) for text in texts]
    if kind == "b":
        return ["true" if leaf else "false" for leaf in flat.tolist()]
    if kind in "iu":
        return [str(leaf) for leaf in flat.tolist()]
    raise ServingError("UNIMPLEMENTED", f"output {name} has the dtype {flat.dtype}, which JSON has no form for.")


def _string(value: bytes) -> str:
    return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def _bytes_object(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'
