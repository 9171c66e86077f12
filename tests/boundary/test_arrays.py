"""Inputs against a learner's example: what is one structure, and refusals in one line that prints no value."""

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.boundary.arrays import array_of, arrays_like, check_shapes, described, one_line

IMAGE = np.zeros((2, 8, 8, 1), np.float32)
PAIR = (np.zeros((2, 4)), np.zeros((2, 3), np.int32))
NAMED = {"left": np.zeros((2, 4)), "right": np.zeros((2, 3))}
NESTED = [{"a": np.zeros((2, 4))}, (np.zeros((2, 3)), np.zeros((2, 2), bool))]
SIX = np.full((6, 4), 0.123456789)
THREE = SIX[:, :3]


def zeros(*shape):
    return np.zeros(shape)


REFUSED = [
    (IMAGE, zeros(6, 1, 8, 8), r"\[8, 8, 1\], received .*\[6, 1, 8, 8\]: move the channels last"),
    (IMAGE, zeros(6, 8, 8), r"received .*\[6, 8, 8\]: add a channel axis"),
    (IMAGE, zeros(8, 8, 1), r"received .*\[8, 8, 1\]: add an example axis"),
    (IMAGE, zeros(6, 9, 8, 1), r"received .*\[6, 9, 8, 1\]\.$"),
    (IMAGE, 3.0, r"float64 .*\[\]\.$"),
    (IMAGE, None, "numbers, received dtype object"),
    (IMAGE, {"x": zeros(6, 8, 8, 1)}, r"received {x: float64 \[6, 8, 8, 1\]}"),
    (IMAGE, [[1.0], [1.0, 2.0]], r"received \(float64 \[1\], float64 \[2\]\)"),
    (PAIR, SIX, r"\(float64 \[examples, 4\], int32 .*received float64 \[6, 4\]"),
    (PAIR, [SIX] * 100, r"received \(.*, \.\.\.\)\.$"),
    (PAIR, (SIX, np.full((6, 3), 0.5)), r"inputs\[1\] .*\(int32\)"),
    (PAIR, (SIX, np.full((6, 3), 2**40)), r"\(int32\), received int64 from 1099511627776"),
    (PAIR, (SIX, np.ones((6, 3), bool)), "received bool"),
    (NAMED, {"left": SIX, "rigth": THREE}, "{left: .*, right: .*received {left: .*rigth"),
    (NAMED, {"left": THREE, "right": SIX}, r"inputs\['left'\] .*\[4\]"),
    (NESTED, [{"a": SIX}, (SIX, np.ones((6, 2), bool))], r"inputs\[1\]\[0\] .*\[3\]"),
    (NESTED, [{"a": SIX}, (THREE, zeros(6, 2))], r"inputs\[1\]\[1\] .*booleans"),
    (NAMED, {"left": SIX, "right": THREE * np.inf}, r"inputs\['right'\] must be finite, received 18"),
]


@pytest.mark.parametrize(("example", "inputs", "message"), REFUSED)
def test_refused_in_one_short_line(example, inputs, message):
    with pytest.raises(ValueError, match=message) as refusal:
        arrays_like(example, inputs, "inputs", ("examples",))
    text = str(refusal.value)
    assert "\n" not in text and len(text) < 450 and "0.1234" not in text


def test_tuples_and_lists_are_one_structure_and_numbers_become_floats():
    tokens = np.ones((6, 3), np.int64)
    for inputs in ((SIX, tokens), [SIX, tokens], (SIX.tolist(), tf.constant(tokens))):
        first, second = taken = arrays_like(PAIR, inputs, "inputs", ("examples",))
        assert isinstance(taken, tuple) and (first.dtype, second.dtype) == (np.float32, np.int32)
    taken = arrays_like(NESTED, ({"a": SIX}, [THREE, np.ones((6, 2), bool)]), "inputs", ("examples",))
    tf.nest.assert_same_structure(taken, NESTED)
    taken = arrays_like(NAMED, {"right": THREE, "left": SIX}, "inputs", ("examples",))
    assert {name: array.shape for name, array in taken.items()} == {"left": (6, 4), "right": (6, 3)}
    ones = (np.ones((6, 8, 8, 1), dtype) for dtype in ("uint8", "bool", "float16", "int64"))
    for given in (*ones, np.ones((6, 8, 8, 1)).tolist(), tf.ones((6, 8, 8, 1), tf.bfloat16)):
        taken = arrays_like(IMAGE, given, "inputs", ("examples",))
        assert taken.dtype == np.float32 and taken.shape == (6, 8, 8, 1) and taken.all()


def test_shapes_must_fit_as_far_as_they_are_known():
    for given in (tf.zeros((3, 8, 8, 1)), tf.TensorSpec((None, None, 8, 1)), tf.TensorSpec(None)):
        check_shapes(IMAGE, given, "inputs", ("examples",))
        check_shapes([IMAGE, IMAGE], (given, given), "inputs", ("examples",))
    for given in (tf.zeros((3, 8, 8)), tf.TensorSpec((None, 1, 8, 8)), (IMAGE, IMAGE), {"a": IMAGE}):
        with pytest.raises(ValueError, match=r"inputs must be float32 \[examples, 8, 8, 1\], received"):
            check_shapes(IMAGE, given, "inputs", ("examples",))


def test_descriptions_are_short():
    assert described((IMAGE, [1, 2], {"a": tf.zeros(3)})) == "(float32 [2, 8, 8, 1], int64 [2], {a: float32 [3]})"
    assert len(described([IMAGE] * 100)) <= 160 and len(described({"x" * 500: IMAGE})) <= 160
    with pytest.raises(ValueError, match="targets"):
        array_of([[1], [1, 2]], "targets")
    for text, line in (
        ("Exception encountered when calling A.call().\n\n\x1b[1mno such thing\x1b[0m\n\nArguments", "no such thing"),
        ("first\nsecond", "first"),
        ("config={'a': 1}.\n\nException encountered: no class 'A'\nmore", "no class 'A'"),
        ("", "ValueError"),
    ):
        assert one_line(ValueError(text)) == line
    assert len(one_line(ValueError("x" * 5000))) <= 320
