"""Gradients against central differences, and other comparisons of gradients by variable group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from cml_tf.episodes import Episode
from cml_tf.objectives.reducers import TaskGradients, TaskReducer
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method

STEP = 1e-5
RELATIVE = 1e-6
# What rounding leaves of a loss around 1 when two values are subtracted and divided by twice the step.
ROUNDING = 5e-11
# Of the largest effect: a group with less of one is differentiated apart.
SHARE = 0.01

Gradients = Mapping[str, Sequence[tf.Tensor]]


def gradients_of(method: Method, episode: Episode) -> dict[str, tuple[tf.Tensor, ...]]:
    """The meta-gradient by variable group, under the terms' own weights."""
    return meta_gradient(method, episode, method.weights()).gradients


class Recorder(TaskReducer):
    """A reducer, which remembers what gradients of tasks it was given."""

    def __init__(self, reducer: TaskReducer) -> None:
        super().__init__()
        self.reducer, self.variables = reducer, reducer.variables

    def __call__(self, losses: tf.Tensor, gradients: TaskGradients, values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """What the reducer makes of `[tasks]`."""
        self.seen = gradients
        return self.reducer(losses, gradients, values)


def outer_loss(method: Method, episode: Episode, of_tasks: TaskGradients | None = None) -> float:
    """The outer loss under the terms' own weights.

    Args:
      method: whose loss.
      episode: a meta-batch.
      of_tasks: gradients of tasks, constants to the reducer; for one that reads none they may be left out.
    """
    losses, _ = evaluate_losses(method, episode)
    of_tasks = {} if of_tasks is None else of_tasks
    return float(method.reducer(tf.reduce_sum(losses * method.weights(), 1), of_tasks, method.reducer.variables))


def assert_matches_central_differences(
    method: Method, episode: Episode, gradients: Gradients | None = None, seed: int = 0
) -> None:
    """Compares the meta-gradient with central differences along a random direction.

    A wrong gradient is orthogonal to a random direction with probability 0. All groups of variables are moved at once,
    but those of little effect, whose mistakes would go unseen among the others.
    """
    generator = np.random.default_rng(seed)
    recorder = Recorder(method.reducer)
    if gradients is None or not method.reducer.is_mean:
        seen = gradients_of(replace(method, reducer=recorder), episode)
        gradients = gradients or seen
    of_tasks = getattr(recorder, "seen", {})
    directions, slopes = {}, {}
    for group, variables in method.trained_variables().items():
        direction = _direction(generator, variables)
        slope = sum(np.sum(part * np.asarray(g)) for part, g in zip(direction, gradients[group], strict=True))
        # Uphill, so that the effects of no two groups cancel.
        directions[group] = [-part if slope < 0 else part for part in direction]
        slopes[group] = abs(slope)
    strong = [group for group, slope in slopes.items() if slope > SHARE * max(slopes.values())]
    for together in (strong, *([group] for group in slopes.keys() - set(strong))):
        expected = _along(method, episode, of_tasks, {group: directions[group] for group in together})
        received = sum(slopes[group] for group in together)
        np.testing.assert_allclose(
            received, expected, rtol=RELATIVE, atol=ROUNDING, err_msg=f"group {' and '.join(together)}"
        )


def assert_alike_all_at_once(method: Method, episode: Episode, tolerance: float = 1e-9) -> None:
    """All tasks at once, in a graph, have the gradients of one by one."""
    at_once = tf.function(lambda: meta_gradient(method, episode, method.weights(), vectorised=True), autograph=False)
    pairs = zip(*map(tf.nest.flatten, (at_once().gradients, gradients_of(method, episode))), strict=True)
    for left, right in pairs:
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance / 1000)


def assert_same_gradients(received: Gradients, expected: Gradients, tolerance: float = 1e-10) -> None:
    """Every tensor of every group agrees, absolutely and relatively."""
    assert set(received) == set(expected)
    for group in expected:
        for position, (left, right) in enumerate(zip(received[group], expected[group], strict=True)):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance, err_msg=f"{group}[{position}]")


def _direction(generator: np.random.Generator, variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    parts = [generator.standard_normal(variable.shape) for variable in variables]
    length = np.sqrt(sum(np.sum(part**2) for part in parts))
    return [part / length for part in parts]


def _along(
    method: Method, episode: Episode, of_tasks: TaskGradients, directions: Mapping[str, Sequence[np.ndarray]]
) -> float:
    groups = method.trained_variables()
    moved = [pair for group, parts in directions.items() for pair in zip(groups[group], parts, strict=True)]
    start = [variable.numpy() for variable, _ in moved]
    losses = []
    for sign in (1.0, -1.0):
        for (variable, part), value in zip(moved, start, strict=True):
            variable.assign(value + sign * STEP * part)
        losses.append(outer_loss(method, episode, of_tasks))
    for (variable, _), value in zip(moved, start, strict=True):
        variable.assign(value)
    return (losses[0] - losses[1]) / (2 * STEP)
