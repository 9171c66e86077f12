"""A repeated step that keeps every so many states, and makes those between again on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.hypergradients.rematerialised import floating, with_own_gradient
from cml_tf.adaptation.hypergradients.reverse import repeated

PullBack = Callable[[Any, Any, Any, list[tf.Tensor]], tuple[list[tf.Tensor], list[tf.Tensor]]]
"""From the states before and after a step, the constants, and the cotangents of the floating leaves of the state after
it, to those of the state before it and to those of the constants."""


def with_stored_states(
    step: Callable[[Any, Any], Any],
    pull_back: PullBack,
    start: Any,
    constants: Any,
    steps: int | tf.Tensor,
    stored_every: int = 1,
) -> Any:
    """The state after some steps, whose gradient is taken back from each step to the one before.

    It can be differentiated once, with respect to `start` and `constants` and to nothing else. About
    `steps / stored_every + stored_every` states are in memory at once; unless all are stored, each step is made twice.

    Args:
      step: takes a state and the constants, returns the next state; all states have the same shapes.
      pull_back: the gradient through one step.
      start: the first state, a `tf.nest` structure of tensors.
      constants: what else the step depends on and gradients are wanted of, the same at each step.
      steps: 0 or more.
      stored_every: how many steps lie between two states that are kept, 1 or more.
    """
    steps = tf.cast(steps, tf.int32)
    # Rounded up, and without a sum that a huge number would carry out of its range.
    stretches = -(-steps // stored_every)

    def length(stretch: tf.Tensor) -> tf.Tensor:
        return tf.minimum(stored_every, steps - stretch * stored_every)

    def forwards(first: Any, fixed: Any) -> tuple[Any, Any]:
        def stretch(number: tf.Tensor, state: Any) -> Any:
            return repeated(lambda current: step(current, fixed), state, length(number))

        states = _visited(stretch, first, stretches)
        return _read(states, stretches, first), states

    def backwards(first: Any, fixed: Any, states: Any, arriving: list[tf.Tensor]) -> Any:
        def back_through_stretch(done: tf.Tensor, carried: Any) -> Any:
            number = stretches - 1 - done
            count = length(number)
            within = _visited(lambda _, state: step(state, fixed), _read(states, number, first), count - 1)

            def back_through_step(made: tf.Tensor, adjoint: Any, of_constants: Any, after: Any) -> Any:
                before = _read(within, count - 1 - made, first)
                adjoint, more = pull_back(before, after, fixed, adjoint)
                return made + 1, adjoint, [own + new for own, new in zip(of_constants, more, strict=True)], before

            begin = (tf.constant(0), *carried, _read(states, number + 1, first))
            _, *carried, _ = tf.while_loop(
                lambda made, *_: made < count, back_through_step, begin, parallel_iterations=1
            )
            return done + 1, tuple(carried)

        begin = (tf.constant(0), (arriving, [tf.zeros_like(tensor) for tensor in floating(fixed)]))
        _, of_both = tf.while_loop(lambda done, _: done < stretches, back_through_stretch, begin, parallel_iterations=1)
        return of_both

    return with_own_gradient(forwards, backwards, start, constants)


def _visited(advance: Callable[[tf.Tensor, Any], Any], start: Any, turns: tf.Tensor) -> list[tf.TensorArray]:
    """A start and what each turn makes of the state before it, given its number: one array for each leaf."""
    leaves = tf.nest.flatten(start)
    # In a list of tensors, none of which is copied to be read.
    arrays = [
        tf.TensorArray(leaf.dtype, size=turns + 1, element_shape=leaf.shape, clear_after_read=False) for leaf in leaves
    ]

    def turn(made: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
        return made + 1, _write(arrays, made + 1, advance(made, _read(arrays, made, start)))

    begin = (tf.constant(0), _write(arrays, tf.constant(0), start))
    _, arrays = tf.while_loop(lambda made, _: made < turns, turn, begin, parallel_iterations=1)
    return arrays


def _write(arrays: list[tf.TensorArray], position: tf.Tensor, state: Any) -> list[tf.TensorArray]:
    return [array.write(position, leaf) for array, leaf in zip(arrays, tf.nest.flatten(state), strict=True)]


def _read(arrays: list[tf.TensorArray], position: tf.Tensor, structure: Any) -> Any:
    return tf.nest.pack_sequence_as(structure, [array.read(position) for array in arrays])
