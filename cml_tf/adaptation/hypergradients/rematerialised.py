"""Differentiating a repeated step without keeping what happened inside of the repetitions.

`tf.recompute_grad` does not serve here: it stops all tapes while it runs the function, and the inner gradient is taken
by a tape inside. Nor does the gradient of `tf.while_loop`: it keeps every intermediate tensor of every turn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.registry import Given, register

PullBack = Callable[[Any, Any, list[tf.Tensor]], tuple[list[tf.Tensor], list[tf.Tensor]]]
"""From where a step starts, its constants, and the cotangents of the floating leaves of where it ends, to those of the
floating leaves of its start and to those of the constants."""


class RematerialisedReverse(Hypergradient):
    """The gradient of `Reverse`, in memory and a graph that do not grow with the number of steps.

    Forwards only the iterates are kept; backwards each step is made once more, from the last to the first, and
    differentiated at once. Support set and context are data: they receive no gradient.

    Example:
      >>> path = RematerialisedReverse().solve(loop).path
      >>> len(path) == loop.steps + 1
      True
    """

    exact = True

    def solve(self, loop: InnerLoop) -> Solution:
        """Two loops in the graph, one forwards and one backwards."""

        def step(iterate: Iterate, meta: Any) -> Iterate:
            return loop.step(iterate, meta, loop.support, loop.context, True)

        return solution_on_path(loop, step)


def solution_on_path(loop: InnerLoop, step: Callable[[Any, Any], Any], pull_back: PullBack | None = None) -> Solution:
    """An inner loop whose iterates are those of `rematerialised_path`; without steps it is its start."""
    if isinstance(loop.steps, int) and loop.steps == 0:
        return Solution(loop.start, (loop.start,))
    path = rematerialised_path(step, loop.start, loop.meta, loop.steps, pull_back)
    if not isinstance(loop.steps, int):
        # Of no step at all the path is empty.
        with_start = tf.nest.map_structure(lambda first, rest: tf.concat([first[None], rest], 0), loop.start, path)
        return Solution(tf.nest.map_structure(lambda tensor: tensor[-1], with_start), None)
    iterates = [tf.nest.map_structure(lambda tensor, k=k: tensor[k], path) for k in range(loop.steps)]
    return Solution(iterates[-1], (loop.start, *iterates))


def rematerialised_path(
    step: Callable[[Any, Any], Any],
    start: Any,
    constants: Any,
    steps: int | tf.Tensor,
    pull_back: PullBack | None = None,
) -> Any:
    """The iterates `step(start)`, `step(step(start))`, ... stacked on a new first axis `[steps, ...]`.

    The result can be differentiated once, with respect to `start` and `constants` and to nothing else.

    Args:
      step: takes an iterate and the constants, returns the next iterate; all iterates have the same shapes.
      start: the first iterate, a `tf.nest` structure of tensors.
      constants: what else the step depends on and gradients are wanted of, the same at each step.
      steps: 1 or more; 0 too where it is a tensor.
      pull_back: the gradient through one step; by default exact, by making the step once more.
    """
    pull_back = pull_back or functools.partial(through_step, step)

    def forwards(first: Any, fixed: Any) -> Any:
        flat = tf.scan(
            lambda current, _: tf.nest.flatten(step(tf.nest.pack_sequence_as(first, list(current)), fixed)),
            tf.range(steps),
            tf.nest.flatten(first),
            parallel_iterations=1,
        )
        path = tf.nest.pack_sequence_as(first, list(flat))
        return path, path

    def backwards(first: Any, fixed: Any, path: Any, upstream: list[tf.Tensor]) -> Any:
        def turn(carried: Any, at: Any) -> Any:
            (adjoint, of_constants), (current, arriving) = carried, at
            incoming = [own + new for own, new in zip(adjoint, arriving, strict=True)]
            iterate = tf.nest.pack_sequence_as(first, list(current))
            of_iterate, more = pull_back(iterate, fixed, incoming)
            return of_iterate, [total + new for total, new in zip(of_constants, more, strict=True)]

        pairs = zip(tf.nest.flatten(first), tf.nest.flatten(path), strict=True)
        currents = [tf.concat([tensor[None], later], 0)[:-1] for tensor, later in pairs]
        zeros = tuple(list(map(tf.zeros_like, tensors)) for tensors in (floating(first), tf.nest.flatten(fixed)))
        return tf.foldr(turn, (currents, upstream), zeros, parallel_iterations=1)

    return with_own_gradient(forwards, backwards, start, constants)


def with_own_gradient(
    forwards: Callable[[Any, Any], tuple[Any, Any]],
    backwards: Callable[[Any, Any, Any, list[tf.Tensor]], tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]],
    start: Any,
    constants: Any,
) -> Any:
    """What `forwards` makes of the start and the constants, with the gradient that `backwards` says.

    Leaves that are no floating numbers (counters) have no gradient: cotangents are those of `floating` leaves alone.

    Args:
      forwards: returns the result, of as many leaves as `start` has and of the same dtypes, and what to keep of the
        way there.
      backwards: takes both arguments, what was kept and the cotangents of the result's floating leaves; returns the
        cotangents of the floating leaves of `start`, and of the constants.
      start: a `tf.nest` structure of tensors.
      constants: likewise, all floating.
    """
    flat_start, flat_constants = tf.nest.flatten(start), tf.nest.flatten(constants)
    wanted = [tensor.dtype.is_floating for tensor in flat_start]

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> Any:
        # One tensor may stand in several places, each of which has a gradient of its own.
        own = [tf.identity(tensor) for tensor in tensors]
        first = tf.nest.pack_sequence_as(start, own[: len(flat_start)])
        fixed = tf.nest.pack_sequence_as(constants, own[len(flat_start) :])
        result, kept = forwards(first, fixed)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            arriving = [tensor for tensor, want in zip(upstream, wanted, strict=True) if want]
            of_floating, of_constants = backwards(first, fixed, kept, arriving)
            of_start = iter(of_floating)
            return [*(next(of_start) if want else None for want in wanted), *of_constants]

        return tf.nest.flatten(result), gradient

    return tf.nest.pack_sequence_as(start, list(run(*flat_start, *flat_constants)))


def floating(structure: Any) -> list[tf.Tensor]:
    """The leaves that have gradients."""
    return [tensor for tensor in tf.nest.flatten(structure) if tensor.dtype.is_floating]


def apart(loop: InnerLoop, iterate: Iterate) -> tuple[Iterate, list[tf.Tensor], list[int]]:
    """An iterate whose leaves are all tensors of their own, the floating ones, and where among those what adapts is."""
    iterate = tf.nest.map_structure(tf.identity, iterate)
    leaves, adapted = floating(iterate), tf.nest.flatten((loop.moved(iterate.parameters), iterate.rule_state.adapted))
    return iterate, leaves, [next(at for at, leaf in enumerate(leaves) if leaf is one) for one in adapted]


def through_step(
    step: Callable[[Any, Any], Any], iterate: Any, fixed: Any, incoming: list[tf.Tensor]
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """A `PullBack` through a step, by making it once more."""
    watched, constants = floating(iterate), tf.nest.flatten(fixed)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([*watched, *constants])
        following = floating(step(iterate, fixed))
    gradients = dense_gradients(
        tape,
        following,
        [*watched, *constants],
        output_gradients=incoming,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return gradients[: len(watched)], gradients[len(watched) :]


@register("hypergradient", "reverse_rematerialised")
def _rematerialised(options: object, given: Given) -> RematerialisedReverse:
    """Exact, recomputing each inner step on the way back: memory does not grow with the steps."""
    return RematerialisedReverse()
