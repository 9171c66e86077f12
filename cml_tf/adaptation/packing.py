"""The flat form of an adapted task: what a server hands to a client that wants to adapt once and predict often."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.adaptation.update_rules.base import UpdateRule
from cml_tf.learners.learner import Learner, Parameters, State


def pack_task(learner: Learner, update_rule: UpdateRule, parameters: Parameters, state: State) -> tf.Tensor:
    """Changed parameters, then threaded state, each in learner order and row-major, as one float32 vector."""
    tensors = tf.nest.flatten(tuple(update_rule.changed(parameters))) + _threaded(learner, state)
    return tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors] or [tf.zeros([0])], 0)


def unpack_task(
    learner: Learner, update_rule: UpdateRule, parameters: Parameters, state: State, packed: tf.Tensor
) -> tuple[Parameters, State]:
    """Puts a packed vector in the place of the changed parameters and threaded state of an initial learner."""
    changed = update_rule.changed(parameters)
    slots = tf.nest.flatten(tuple(changed)) + _threaded(learner, state)
    pieces = tf.split(packed, [int(slot.shape.num_elements()) for slot in slots]) if slots else []
    tensors = [tf.cast(tf.reshape(piece, slot.shape), slot.dtype) for piece, slot in zip(pieces, slots, strict=True)]
    groups = []
    for group, moves in zip(parameters, changed, strict=True):
        groups.append(tuple(tensors[: len(moves)]) if moves else group)
        tensors = tensors[len(moves) :]
    return Parameters(*groups), _with_threaded(learner, state, tensors)


def _threaded(learner: Learner, state: State) -> list[tf.Tensor]:
    flags = tf.nest.flatten(tuple(learner.threaded_state()))
    return [tensor for tensor, flag in zip(tf.nest.flatten(tuple(state)), flags, strict=True) if flag]


def _with_threaded(learner: Learner, state: State, tensors: list[Any]) -> State:
    remaining = iter(tensors)
    return State(
        *(
            tuple(next(remaining) if flag else tensor for tensor, flag in zip(group, flags, strict=True))
            for group, flags in zip(state, learner.threaded_state(), strict=True)
        )
    )
