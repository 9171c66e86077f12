"""Inputs as people give them and as a learner takes them, compared in one short line that never prints a value.

A learner is built on an example: a small batch of inputs of any structure. What it is given later must be of that
structure, and every example in it of that shape. Tuples and lists of one length are one structure, as to Keras.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.errors import UserError

_LONGEST = 160
# Begin lines of an error that say where in the graph it was, and not what.
_OF_THE_GRAPH = ("Graph execution error", "Detected at node", "File ", "<stack", "[[", "{{", "(")


def arrays_like(example: Any, inputs: Any, field: str, axes: Sequence[str]) -> Any:
    """Inputs as NumPy arrays in the structure of an example: float32 where it has floats, else of its dtype.

    Args:
      example: arrays or tensors `[examples, ...]`, in any structure.
      inputs: arrays, or anything `np.asarray` takes, in the same structure.
      field: what errors call them.
      axes: names of their leading axes, in the place of the example's first one.

    Raises:
      UserError: naming what was expected and received, if the structure, a shape or a dtype is another, or a value is
        not finite or not a whole number where those are needed.
    """
    plain = _matched(example, inputs, field, axes)
    return tf.nest.pack_sequence_as(example, tf.nest.flatten(plain))


def check_shapes(example: Any, inputs: Any, field: str, axes: Sequence[str]) -> None:
    """Checks tensors (or `tf.TensorSpec`s) as `arrays_like` does arrays, but for dtypes and values; unknown sizes fit.

    Raises:
      UserError: naming what was expected and received.
    """
    if not _same_structure(example, inputs):
        raise UserError(f"{field} must be {_wanted(example, axes)}, received {described(inputs)}.")
    for own, given in zip(tf.nest.flatten(example), tf.nest.flatten(inputs), strict=True):
        shape = tf.TensorShape([None] * len(axes)).concatenate(own.shape[1:])
        if not shape.is_compatible_with(given.shape):
            raise UserError(f"{field} must be {_wanted(own, axes)}, received {described(given)}.")


def described(structure: Any) -> str:
    """Dtypes and shapes of a structure of arrays in at most 160 characters: `(float32 [6, 8, 8, 1], int64 [6])`."""
    text = _described(structure)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def one_line(error: BaseException) -> str:
    """The first line of an error's text that says something, shortened."""
    # Keras writes first which layer raised, or the whole configuration that it cannot read; what was raised is in bold.
    text = str(error).rpartition("Exception encountered: ")[2].replace("\x1b[1m", "").replace("\x1b[0m", "")
    lines = map(str.strip, text.splitlines())
    telling = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    line = telling[0] if telling else type(error).__name__
    return line if len(line) <= 2 * _LONGEST else f"{line[: 2 * _LONGEST - 3]}..."


@contextlib.contextmanager
def told_in_one_line(what: str) -> Iterator[None]:
    """Raises UserError in one line for what an operation refuses: a number beyond a table, say.

    TensorFlow's own error has a line for every call on the way.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        lines = map(str.strip, error.message.splitlines())
        telling = [line for line in lines if line and not line.startswith(_OF_THE_GRAPH)]
        raise UserError(f"{what}: {(telling or [one_line(error)])[0][: 2 * _LONGEST]}") from error


def array_of(value: Any, field: str) -> np.ndarray:
    """Anything that is like an array as one; UserError for rows of different lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError(
            f"{field} must be an array whose rows have the same length, received {described(value)}."
        ) from None


def numeric_array(value: Any, field: str) -> np.ndarray:
    """Anything that is like an array of numbers as one.

    Raises:
      UserError: for rows of different lengths, or values that are no numbers.
    """
    array = array_of(value, field)
    if array.dtype.kind not in "fiub" and not _is_bfloat16(array):
        raise UserError(f"{field} must be numbers, received dtype {array.dtype} and shape {list(array.shape)}.")
    return array


def _matched(example: Any, inputs: Any, field: str, axes: Sequence[str]) -> Any:
    if isinstance(example, Mapping):
        if not isinstance(inputs, Mapping) or set(inputs) != set(example):
            raise UserError(f"{field} must be {_wanted(example, axes)}, received {described(inputs)}.")
        return {key: _matched(example[key], inputs[key], f"{field}[{key!r}]", axes) for key in example}
    if _is_sequence(example):
        if not _is_sequence(inputs) or len(inputs) != len(example):
            raise UserError(f"{field} must be {_wanted(example, axes)}, received {described(inputs)}.")
        pairs = enumerate(zip(example, inputs, strict=True))
        return tuple(_matched(own, given, f"{field}[{position}]", axes) for position, (own, given) in pairs)
    return _array_like(example, inputs, field, axes)


def _array_like(example: Any, inputs: Any, field: str, axes: Sequence[str]) -> np.ndarray:
    expected = tuple(example.shape[1:])
    if isinstance(inputs, Mapping):
        raise UserError(f"{field} must be numbers {_shape_wanted(expected, axes)}, received {described(inputs)}.")
    array = numeric_array(inputs, field)
    if array.shape[len(axes) :] != expected or array.ndim < len(axes):
        raise UserError(
            f"{field} must be numbers {_shape_wanted(expected, axes)}, received dtype {array.dtype} and shape "
            f"{list(array.shape)}{_remedy(array.shape, expected, len(axes))}."
        )
    dtype = tf.as_dtype(example.dtype)
    return as_float32(array, field) if dtype.is_floating else _whole_numbers(array, dtype, field)


def as_float32(array: np.ndarray, field: str) -> np.ndarray:
    """An array as float32; ValueError if it then holds NaN or infinite values."""
    # A float64 beyond float32's range becomes infinite here, and is told as such.
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    check_finite(array, field)
    return array


def check_finite(array: np.ndarray, field: str) -> None:
    """Raises UserError if one of an array's floats is NaN or infinite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{field} must be finite, received {int((~np.isfinite(array)).sum())} NaN or infinite values.")


def _whole_numbers(array: np.ndarray, dtype: tf.DType, field: str) -> np.ndarray:
    # Casting would cut fractions off and wrap large numbers round, and both would point to other rows of a table.
    if dtype.is_bool:
        fits, wanted = array.dtype.kind == "b", "booleans"
    else:
        fits, wanted = array.dtype.kind in "iu", f"whole numbers ({dtype.name})"
        fits = fits and (not array.size or bool(array.min() >= dtype.min and array.max() <= dtype.max))
    if array.size and not fits:
        raise UserError(f"{field} must be {wanted}, received {array.dtype} from {array.min()} to {array.max()}.")
    return array.astype(dtype.as_numpy_dtype)


def _same_structure(example: Any, inputs: Any) -> bool:
    if isinstance(example, Mapping):
        same = isinstance(inputs, Mapping) and set(inputs) == set(example)
        return same and all(_same_structure(example[key], inputs[key]) for key in example)
    if _is_sequence(example):
        same = _is_sequence(inputs) and len(inputs) == len(example)
        return same and all(map(_same_structure, example, inputs))
    return hasattr(inputs, "shape")


def _wanted(example: Any, axes: Sequence[str]) -> str:
    """What is expected in the place of an example."""
    if isinstance(example, Mapping):
        parts = ", ".join(f"{key}: {_wanted(part, axes)}" for key, part in example.items())
        text = f"a dictionary {{{parts}}}"
    elif _is_sequence(example):
        text = f"a tuple or list ({', '.join(_wanted(part, axes) for part in example)})"
    else:
        text = f"{tf.as_dtype(example.dtype).name} [{', '.join([*axes, *map(str, example.shape[1:])])}]"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _shape_wanted(expected: tuple[int, ...], axes: Sequence[str]) -> str:
    return f"[{', '.join(axes)}, ...] with examples of shape {list(expected)}"


def _remedy(shape: tuple[int, ...], expected: tuple[int, ...], leading: int) -> str:
    """What to do about the shapes that are met most often."""
    own = shape[leading:]
    if len(expected) == 3 and own == (expected[2], *expected[:2]):
        return ": move the channels last with np.moveaxis(inputs, -3, -1)"
    if expected[-1:] == (1,) and own == expected[:-1]:
        return ": add a channel axis with inputs[..., np.newaxis]"
    if shape == expected and leading == 1:
        return ": add an example axis with inputs[np.newaxis]"
    return ""


def _described(structure: Any) -> str:
    if isinstance(structure, Mapping):
        return f"{{{', '.join(f'{str(key)[:40]}: {_described(part)}' for key, part in structure.items())}}}"
    if hasattr(structure, "shape") and hasattr(structure, "dtype"):
        return f"{getattr(structure.dtype, 'name', structure.dtype)} {_sizes(structure.shape)}"
    if _is_sequence(structure):
        try:
            array = np.asarray(structure)
        except (ValueError, TypeError):
            array = np.empty(0, object)
        if array.dtype.kind in "fiubUS" and not any(hasattr(part, "shape") for part in structure):
            return f"{array.dtype} {list(array.shape)}"
        first = ", ".join(map(_described, structure[:8]))
        return f"({first}{', ...' if len(structure) > 8 else ''})"
    return type(structure).__name__


def _sizes(shape: Any) -> str:
    shape = tf.TensorShape(shape)
    return str(shape.as_list()) if shape.rank is not None else "of unknown rank"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not isinstance(value, (str, bytes))


def _is_bfloat16(array: np.ndarray) -> bool:
    # It is not of NumPy's kind of floats.
    return array.dtype.name == "bfloat16"
