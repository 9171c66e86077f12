"""Differentiating a repeated step without keeping what happened inside of the repetitions.

`tf.recompute_grad` does not serve here: it stops all tapes while it runs the function, and the inner gradient is taken
by a tape inside. Nor does the gradient of `tf.while_loop`: it keeps every intermediate tensor of every turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.adaptation.hypergradients.hypergradient import Hypergradient, InnerLoop, Iterate, Solution
from cml_tf.registry import Given, register


class RematerialisedReverse(Hypergradient):
    """The gradient of `Reverse`, in memory and a graph that do not grow with the number of steps.

    Forwards only the iterates are kept; backwards each step is made once more, from the last to the first, and
    differentiated at once. Support set and context are data: they receive no gradient.
    """

    def solve(self, loop: InnerLoop) -> Solution:
        """Two loops in the graph, one forwards and one backwards."""
        if isinstance(loop.steps, int) and loop.steps == 0:
            return Solution(loop.start, (loop.start,))

        def step(iterate: Iterate, meta: Any) -> Iterate:
            return loop.step(iterate, meta, loop.support, loop.context, True)

        path = rematerialised_path(step, loop.start, loop.meta, loop.steps)
        if not isinstance(loop.steps, int):
            # Of no step at all the path is empty.
            with_start = tf.nest.map_structure(lambda first, rest: tf.concat([first[None], rest], 0), loop.start, path)
            return Solution(tf.nest.map_structure(lambda tensor: tensor[-1], with_start), None)
        iterates = [tf.nest.map_structure(lambda tensor, k=k: tensor[k], path) for k in range(loop.steps)]
        return Solution(iterates[-1], (loop.start, *iterates))


def rematerialised_path(step: Callable[[Any, Any], Any], start: Any, constants: Any, steps: int | tf.Tensor) -> Any:
    """The iterates `step(start)`, `step(step(start))`, ... stacked on a new first axis `[steps, ...]`.

    The result can be differentiated once, with respect to `start` and `constants` and to nothing else.

    Args:
      step: takes an iterate and the constants, returns the next iterate; all iterates have the same shapes.
      start: the first iterate, a `tf.nest` structure of tensors.
      constants: what else the step depends on and gradients are wanted of, the same at each step.
      steps: 1 or more; 0 too where it is a tensor.
    """
    flat_start, flat_constants = tf.nest.flatten(start), tf.nest.flatten(constants)
    floating = [tensor.dtype.is_floating for tensor in flat_start]

    def advance(current: Sequence[tf.Tensor], constants_now: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        iterate = tf.nest.pack_sequence_as(start, list(current))
        return tf.nest.flatten(step(iterate, tf.nest.pack_sequence_as(constants, list(constants_now))))

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> Any:
        first, fixed = list(tensors[: len(flat_start)]), list(tensors[len(flat_start) :])
        path = tf.scan(lambda current, _: advance(current, fixed), tf.range(steps), first, parallel_iterations=1)

        def backwards(carried: Any, turn: Any) -> Any:
            (adjoint, of_constants), (current, arriving) = carried, turn
            watched = [tensor for tensor, differentiable in zip(current, floating, strict=True) if differentiable]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([*watched, *fixed])
                following = advance(current, fixed)
            incoming = [own + new for own, new in zip(adjoint, _chosen(arriving, floating), strict=True)]
            gradients = dense_gradients(
                tape,
                _chosen(following, floating),
                [*watched, *fixed],
                output_gradients=incoming,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            added = zip(of_constants, gradients[len(watched) :], strict=True)
            return gradients[: len(watched)], [total + new for total, new in added]

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            currents = [tf.concat([tensor[None], later], 0)[:-1] for tensor, later in zip(first, path, strict=True)]
            zeros = [tf.zeros_like(tensor) for tensor in _chosen(first, floating)], [tf.zeros_like(t) for t in fixed]
            turns = currents, list(upstream)
            adjoint, of_constants = tf.foldr(backwards, turns, zeros, parallel_iterations=1)
            of_start = iter(adjoint)
            return [*(next(of_start) if differentiable else None for differentiable in floating), *of_constants]

        return path, gradient

    return tf.nest.pack_sequence_as(start, list(run(*flat_start, *flat_constants)))


def _chosen(tensors: Sequence[tf.Tensor], wanted: Sequence[bool]) -> list[tf.Tensor]:
    return [tensor for tensor, want in zip(tensors, wanted, strict=True) if want]


@register("hypergradient", "reverse_rematerialised")
def _rematerialised(options: object, given: Given) -> RematerialisedReverse:
    """Exact, recomputing each inner step on the way back: memory does not grow with the steps."""
    return RematerialisedReverse()
