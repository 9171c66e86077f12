"""The flat form of an adapted task: what a server hands to a client that adapts once and asks often.

A rule says what it holds (`AdaptationRule.state_spec`): a `tf.TensorSpec` for each tensor. A first axis may be open,
which is then the number of support examples. The tensors come one after the other, each row-major, as one float32
vector; after them the learner's threaded state, which belongs to the task too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from cml_tf.learners.learner import Learner, State

Specification = tuple[tf.TensorSpec, ...]


def pack(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Tensors as one float32 vector."""
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors] or [tf.zeros([0])], 0)


def unpack(packed: tf.Tensor, specification: Specification) -> list[tf.Tensor]:
    """The tensors of a vector that `pack` made; where their number of rows is open, its length tells it."""
    if not specification:
        return []
    rows = None if is_fixed(specification) else rows_of(tf.size(packed), specification)
    shapes = [[rows if size is None else size for size in spec.shape] for spec in specification]
    sizes = [math.prod(shape) if rows is None else tf.reduce_prod(tf.stack([1, *shape])) for shape in shapes]
    pieces = tf.split(packed, sizes, num=len(sizes))
    return [
        tf.cast(tf.ensure_shape(tf.reshape(piece, shape), spec.shape), spec.dtype)
        for piece, shape, spec in zip(pieces, shapes, specification, strict=True)
    ]


def is_fixed(specification: Specification) -> bool:
    """Whether a packed task has the same length whatever the support set is."""
    return all(spec.shape.is_fully_defined() for spec in specification)


def packed_size(specification: Specification, rows: int | tf.Tensor = 0) -> int | tf.Tensor:
    """The length of a packed task that was adapted to so many examples."""
    fixed, by_row = _sizes(specification)
    return fixed + by_row * rows


def rows_of(size: tf.Tensor, specification: Specification) -> tf.Tensor:
    """How many support examples a packed task of that length was adapted to."""
    fixed, by_row = _sizes(specification)
    return (size - fixed) // by_row


def _sizes(specification: Specification) -> tuple[int, int]:
    """How many numbers there are at any rate, and how many more for each support example."""
    fixed = sum(math.prod(spec.shape) for spec in specification if spec.shape.is_fully_defined())
    by_row = sum(math.prod(spec.shape[1:]) for spec in specification if not spec.shape.is_fully_defined())
    return fixed, by_row


def threaded_specification(learner: Learner) -> Specification:
    """What a learner's threaded state adds to every packed task."""
    variables = threaded(learner, learner.state_variables)
    names = learner.variable_names
    return tuple(tf.TensorSpec(v.shape, v.dtype, names[id(v)]) for v in variables)


def threaded(learner: Learner, state: State) -> list[tf.Tensor]:
    """The tensors (or variables) of a state that its task carries."""
    flags = tf.nest.flatten(tuple(learner.threaded_state()))
    return [tensor for tensor, flag in zip(tf.nest.flatten(tuple(state)), flags, strict=True) if flag]


def with_threaded(learner: Learner, state: State, tensors: Sequence[tf.Tensor]) -> State:
    """A state with others in the place of the tensors that a task carries."""
    remaining = iter(tensors)
    return State(
        *(
            tuple(next(remaining) if flag else tensor for tensor, flag in zip(group, flags, strict=True))
            for group, flags in zip(state, learner.threaded_state(), strict=True)
        )
    )
