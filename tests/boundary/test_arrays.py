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


def checked(example, inputs):
    return arrays_like(example, inputs, "inputs", ("examples",))


def zeros(*shape):
    return np.zeros(shape)


REFUSED = {
    "channels first": (IMAGE, zeros(6, 1, 8, 8), r"shape \[8, 8, 1\], received .*\[6, 1, 8, 8\]: move the channels"),
    "no channels": (IMAGE, zeros(6, 8, 8), r"received .*\[6, 8, 8\]: add a channel axis"),
    "one example": (IMAGE, zeros(8, 8, 1), r"received .*\[8, 8, 1\]: add an example axis"),
    "another size": (IMAGE, zeros(6, 9, 8, 1), r"received .*\[6, 9, 8, 1\]\.$"),
    "one axis too many": (IMAGE, zeros(6, 8, 8, 1, 1), r"received .*\[6, 8, 8, 1, 1\]\.$"),
    "flat": (IMAGE, zeros(6, 64), r"received .*\[6, 64\]\.$"),
    "a scalar": (IMAGE, 3.0, r"received dtype float64 and shape \[\]\.$"),
    "nothing": (IMAGE, None, "must be numbers, received dtype object"),
    "words": (IMAGE, np.full((6, 8, 8, 1), "a"), "must be numbers, received dtype <U1"),
    "two for one": (IMAGE, (zeros(6, 8, 8, 1),) * 2, r"received .*\[2, 6, 8, 8, 1\]"),
    "a dictionary for one": (IMAGE, {"x": zeros(6, 8, 8, 1)}, r"received {x: float64 \[6, 8, 8, 1\]}"),
    "ragged": (IMAGE, [[1.0], [1.0, 2.0]], r"rows have the same length, received \(float64 \[1\], float64 \[2\]\)"),
    "one for two": (PAIR, SIX, r"a tuple or list \(float64 \[examples, 4\], int32 .*received float64 \[6, 4\]"),
    "three for two": (PAIR, [SIX] * 3, "a tuple or list .*received"),
    "a hundred for two": (PAIR, [SIX] * 100, r"received \(.*, \.\.\.\)\.$"),
    "a dictionary for two": (PAIR, dict(zip("ab", PAIR, strict=True)), "a tuple or list .*received {a: "),
    "fractions for whole numbers": (PAIR, (SIX, np.full((6, 3), 0.5)), r"inputs\[1\] must be whole numbers \(int32\)"),
    "too large": (PAIR, (SIX, np.full((6, 3), 2**40)), r"whole numbers \(int32\), received int64 from 1099511627776"),
    "truth for whole numbers": (PAIR, (SIX, np.ones((6, 3), bool)), "whole numbers .*received bool"),
    "another key": (NAMED, {"left": SIX, "rigth": THREE}, "a dictionary {left: .*, right: .*received {left: .*rigth"),
    "a key too many": (NAMED, {**NAMED, "more": SIX}, "received {left: .*, right: .*, more: "),
    "a key too few": (NAMED, {"left": SIX}, r"received {left: float64 \[6, 4\]}"),
    "keys the wrong way round": (NAMED, {"left": THREE, "right": SIX}, r"inputs\['left'\] must be .*shape \[4\]"),
    "a list for a dictionary": (NAMED, [SIX, THREE], r"a dictionary .*received \(float64 \[6, 4\], float64"),
    "deep inside": (NESTED, [{"a": SIX}, (SIX, np.ones((6, 2), bool))], r"inputs\[1\]\[0\] must be .*shape \[3\]"),
    "numbers for truth": (NESTED, [{"a": SIX}, (THREE, zeros(6, 2))], r"inputs\[1\]\[1\] must be booleans"),
    "not finite": (NAMED, {"left": SIX, "right": THREE * np.inf}, r"inputs\['right'\] must be finite, received 18"),
}


@pytest.mark.parametrize(("example", "inputs", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_short_line(example, inputs, message):
    with pytest.raises(ValueError, match=message) as refusal:
        checked(example, inputs)
    text = str(refusal.value)
    assert "\n" not in text and len(text) < 450 and "0.1234" not in text


def test_tuples_and_lists_are_one_structure():
    tokens = np.ones((6, 3), np.int64)
    for inputs in ((SIX, tokens), [SIX, tokens], (SIX.tolist(), tf.constant(tokens))):
        first, second = taken = checked(PAIR, inputs)
        assert isinstance(taken, tuple) and (first.dtype, second.dtype) == (np.float32, np.int32)
    taken = checked(NESTED, ({"a": SIX}, [THREE, np.ones((6, 2), bool)]))
    tf.nest.assert_same_structure(taken, NESTED)
    taken = checked(NAMED, {"right": THREE, "left": SIX})
    assert {name: array.shape for name, array in taken.items()} == {"left": (6, 4), "right": (6, 3)}


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "float64", "int64"])
def test_numbers_become_floats_where_the_example_has_them(dtype):
    taken = checked(IMAGE, np.ones((6, 8, 8, 1), dtype))
    assert taken.dtype == np.float32 and taken.all()
    assert checked(IMAGE, np.ones((6, 8, 8, 1), dtype).tolist()).shape == (6, 8, 8, 1)
    assert checked(IMAGE, tf.ones((6, 8, 8, 1), tf.bfloat16)).dtype == np.float32


@pytest.mark.parametrize("given", [tf.zeros((3, 8, 8, 1)), tf.TensorSpec((None, None, 8, 1)), tf.TensorSpec(None)])
def test_shapes_that_are_not_known_fit(given):
    check_shapes(IMAGE, given, "inputs", ("examples",))
    check_shapes([IMAGE, IMAGE], (given, given), "inputs", ("examples",))


@pytest.mark.parametrize("given", [tf.zeros((3, 8, 8)), tf.TensorSpec((None, 1, 8, 8)), (IMAGE, IMAGE), {"a": IMAGE}])
def test_known_shapes_must_fit(given):
    with pytest.raises(ValueError, match=r"inputs must be float32 \[examples, 8, 8, 1\], received"):
        check_shapes(IMAGE, given, "inputs", ("examples",))


def test_descriptions_are_short():
    assert described((IMAGE, [1, 2], {"a": tf.zeros(3)})) == "(float32 [2, 8, 8, 1], int64 [2], {a: float32 [3]})"
    assert len(described([IMAGE] * 100)) <= 160 and len(described({"x" * 500: IMAGE})) <= 160
    assert described(object()) == "object"
    with pytest.raises(ValueError, match="targets must be an array"):
        array_of([[1], [1, 2]], "targets")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Exception encountered when calling A.call().\n\n\x1b[1mno such thing\x1b[0m\n\nArguments", "no such thing"),
        ("first\nsecond", "first"),
        ("config={'a': 1}.\n\nException encountered: no class 'A'\nmore", "no class 'A'"),
        ("", "ValueError"),
    ],
)
def test_the_line_that_says_something(text, line):
    assert one_line(ValueError(text)) == line
    assert len(one_line(ValueError("x" * 5000))) <= 320
