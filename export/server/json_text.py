"""JSON as TensorFlow Serving reads and writes it, which is not quite the standard's; arrays of answers too."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from typing import Any

import numpy as np

from export.server.errors import ServingError, invalid
from export.server.servable import Arrays

_DEEPEST_SHOWN = 64
# Without a way back, for which the matcher would remember a place for each character. One that does not end ends the
# text: looked for again from each of its quotation marks, it would take time that grows with their square.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_INFINITY = "Infinity"
_LONGER = len(_INFINITY) - len("Inf")
_SHORT_INFINITY = re.compile(r"-?Inf(?!inity)")
_STRING_OR_SHORT = re.compile(_STRING.pattern + "|(Inf)(?!inity)", re.DOTALL)
_LITERALS = ("null", "true", "false", "NaN", "Infinity")
_AFTER_MEMBER = "Missing a comma or '}' after an object member."
_MESSAGES = {
    "Expecting value": "Invalid value.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_LONG_EXPONENT = re.compile(r"[eE]\+?[0-9]{3}")
_BLOCK = 100
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# Such names tell clients that the strings are bytes.
_BYTES_SUFFIX = "_bytes"


def parse(body: bytes) -> Any:
    """The first JSON value of a body: whatever follows is ignored, and of equal keys the first counts.

    `NaN`, `Infinity` and its short form `Inf` are numbers; bytes that are no UTF-8 pass through strings unharmed.

    Raises:
      ServingError: if there is none.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        at = f". at offset: {start}" if start else ""
        raise invalid(f"JSON Parse error: The document is empty{at}")
    try:
        value = _decoded(text, start)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {_message(error, text)} at offset: {_offset(error, text)}") from error
    except _TooBigError as error:
        raise invalid(
            f"JSON Parse error: Number too big to be stored in double. at offset: {text.find(str(error))}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise invalid(f"JSON Parse error: the document is nested too deeply or a number too long: {error}") from error
    if "\\ud" in text.lower():
        _check_surrogates(text)
    return value


def _decoded(text: str, start: int) -> Any:
    # Calling back for each of a hundred thousand numbers costs as much as reading them.
    decoder = _STRICT if _may_be_too_big(text) else _PLAIN
    try:
        return decoder.raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        if not _SHORT_INFINITY.match(text, error.pos):
            raise
    ends: list[int] = []

    def write_out(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        ends.append(found.end() + (len(ends) + 1) * _LONGER)
        return _INFINITY

    written_out = _STRING_OR_SHORT.sub(write_out, text)
    try:
        return decoder.raw_decode(written_out, start)[0]
    except json.JSONDecodeError as error:
        moved = _LONGER * sum(end <= error.pos for end in ends)
        raise json.JSONDecodeError(error.msg, text, error.pos - moved) from error


def debug_text(value: Any, level: int = 0) -> str:
    """A value as errors show it: objects over several lines, lists on one, and dots for what is nested too deeply."""
    if level > _DEEPEST_SHOWN:
        return "..."
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner, outer = " " * 4 * (level + 1), " " * 4 * level
        members = [f"{inner}{json.dumps(key)}: {debug_text(item, level + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    if isinstance(value, list):
        return "[" + ", ".join(debug_text(item, level + 1) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def error_text(error: ServingError) -> str:
    """The body of a refusal."""
    return '{\n    "error": ' + json.dumps(error.message, ensure_ascii=False) + "\n}"


def encoded(text: str) -> bytes:
    """Text with the bytes that came in through `parse` as they were."""
    return text.encode("utf-8", "surrogateescape")


def _first_of_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs)) if len(dict(pairs)) != len(pairs) else dict(pairs)


class _TooBigError(ValueError):
    """A number that no double holds; as infinity it would be taken for the token."""


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _TooBigError(text)
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_first_of_equal_keys, parse_float=_float)
_PLAIN = json.JSONDecoder(object_pairs_hook=_first_of_equal_keys)


def _may_be_too_big(text: str) -> bool:
    """With two digits of exponent and less than two hundred others, no number is beyond a double.

    Whatever has two hundred digits in a row has a whole block of them.
    """
    blocks = (text[at : at + _BLOCK] for at in range(0, len(text), _BLOCK))
    return _LONG_EXPONENT.search(text) is not None or any(block.isdigit() for block in blocks)


def _message(error: json.JSONDecodeError, text: str) -> str:
    if error.msg == "Expecting ',' delimiter":
        in_list = _innermost_bracket(text[: error.pos]) == "["
        return "Missing a comma or ']' after an array element." if in_list else _AFTER_MEMBER
    return _MESSAGES.get(error.msg, error.msg)


def _offset(error: json.JSONDecodeError, text: str) -> int:
    """Behind those characters that could have begun a literal: `nan` goes wrong at its `a`."""
    if error.msg != "Expecting value":
        return error.pos
    rest = text[error.pos : error.pos + 8]
    return error.pos + max(len(os.path.commonprefix([rest, literal])) for literal in _LITERALS)


def _check_surrogates(text: str) -> None:
    """Refuses half a character: an escape can express it, and UTF-8 cannot."""
    expected = -1  # Where the second half must stand, if there was a first one.
    for escape in _ESCAPE.finditer(text):
        code = int(escape[1] or "0", 16)
        second = 0xDC00 <= code <= 0xDFFF
        if second != (escape.start() == expected) or (expected >= 0 and not second):
            raise _half_character(escape.start() if expected < 0 else expected - 6)
        expected = escape.end() if 0xD800 <= code <= 0xDBFF else -1
    if expected >= 0:
        raise _half_character(expected - 6)


def _half_character(offset: int) -> ServingError:
    return invalid(f"JSON Parse error: The surrogate pair in string is invalid. at offset: {offset}")


def _innermost_bracket(text: str) -> str:
    open_brackets = []
    for found in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        if found[0] in "[{":
            open_brackets.append(found[0])
        elif open_brackets:
            open_brackets.pop()
    return open_brackets[-1] if open_brackets else ""


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
