"""Arrays from JSON."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from export.server.errors import ServingError
from export.server.json_predict import dense_array
from export.server.json_text import debug_text, parse

VALUES = [
    ("[[1, 2.5], [3, 4]]", tf.float32, np.float32([[1, 2.5], [3, 4]])),
    ("[]", tf.float32, np.zeros([0], np.float32)),
    ("[[], []]", tf.int32, np.zeros([2, 0], np.int32)),
    ("7", tf.int32, np.int32(7)),
    ("[256, -1]", tf.uint8, np.uint8([0, 255])),
    ("[18446744073709551615]", tf.uint64, np.array([2**64 - 1], np.uint64)),
    ("[true, false]", tf.bool, np.array([True, False])),
    ('["a", {"b64": "/w=="}, {"b64": "/w"}]', tf.string, np.array([b"a", b"\xff", b"\xff"], object)),
    # Bytes that are no text pass through.
    (b'["\xff\xfe"]', tf.string, np.array([b"\xff\xfe"], object)),
]
REFUSALS = [
    ("[true]", tf.float32, "JSON Value: true Type: True is not of expected type: float"),
    ("[null]", tf.int32, "JSON Value: null Type: Null is not of expected type: int32"),
    ("[2147483648]", tf.int32, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
    ("[-1]", tf.uint32, "JSON Value: -1 Type: Number is not of expected type: uint32"),
    ("[1]", tf.bool, "JSON Value: 1 Type: Number is not of expected type: bool"),
    ("[1.5]", tf.float16, "Conversion of JSON Value: 1.5 to type: half"),
    ("[1, [2]]", tf.float32, "Encountered list at unexpected level: 1 expected < 1"),
    ("[[1], 2]", tf.float32, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ('[{"b64": "-_8="}]', tf.string, "Unable to base64 decode"),
    ('[{"b64": "A"}]', tf.string, "Unable to base64 decode"),
    ("[1e309]", tf.float64, "JSON Parse error: Number too big to be stored in double. at offset: 1"),
    *(
        (text, tf.string, "JSON Parse error: The surrogate pair in string is invalid. at offset: 1")
        for text in ('"\\ud800"', '"\\ude00"', '"\\ud800\\ud800"', '"\\ud800x\\ude00"', '"\\ud800\\n"')
    ),
]


def _array(text, dtype):
    return dense_array(parse(text if isinstance(text, bytes) else text.encode()), dtype.as_datatype_enum)


@pytest.mark.parametrize(("text", "dtype", "expected"), VALUES)
def test_values(text, dtype, expected):
    received = _array(text, dtype)
    assert received.dtype == expected.dtype and received.shape == expected.shape
    assert np.array_equal(received, expected)


@pytest.mark.parametrize(("text", "dtype", "message"), REFUSALS)
def test_refusals(text, dtype, message):
    with pytest.raises(ServingError) as caught:
        _array(text, dtype)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\\\ud800"', '"\\u00e9"'])
def test_whole_characters_are_let_in(text):
    parse(text.encode())


def test_debug_text():
    assert debug_text({"a": [1, {"b": None}], "c": {}}) == (
        '{\n    "a": [1, {\n            "b": null\n        }],\n    "c": {}\n}'
    )
