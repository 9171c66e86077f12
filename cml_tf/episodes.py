"""Episodes: what a learner adapts to, what it is judged on, and the checks at the boundary.

An *episode* is one few-shot task: a support set to adapt on and a query set to be judged on. Episodes travel in
*meta-batches*: axis 0 of every tensor is the task axis, axis 1 counts examples. Inside the two loops each task is
looked at alone, so the same classes also hold a single task without the task axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.boundary.arrays import array_of, arrays_like, as_float32, check_finite, described, numeric_array
from cml_tf.errors import UserError
from cml_tf.problems import Classification, Problem


class Examples(NamedTuple):
    """Labelled examples.

    Example:
      >>> one_task = cml_tf.Examples(np.zeros((1, 5, 28, 28, 1)), np.arange(5)[None])
      >>> one_task.targets.shape
      (1, 5)

    Attributes:
      inputs: a tensor, or any `tf.nest` structure of tensors (a list counts as several inputs), with leading axes
        `[tasks, examples]` (`[examples]` for one task).
      targets: classification: integer labels `[tasks, examples]` in `[0, ways)`, or soft labels
        `[tasks, examples, ways]` that are floats; regression: floats `[tasks, examples, outputs]`.
      mask: booleans `[tasks, examples]`: which rows count, at least one a task; `()` means all. So that tasks of
        different sizes stand in one meta-batch: the others are cut off before anything sees them.
    """

    inputs: Any
    targets: Any
    mask: Any = ()

    def counted(self) -> Examples:
        """The examples of one task (no task axis) that count."""
        if isinstance(self.mask, tuple):
            return self
        inputs, targets = tf.nest.map_structure(lambda leaf: tf.boolean_mask(leaf, self.mask), tuple(self[:2]))
        return Examples(inputs, targets)


class Episode(NamedTuple):
    """A meta-batch of episodes (or one episode, without the task axis).

    Example:
      >>> part = cml_tf.Examples(np.zeros((4, 10, 1)), np.zeros((4, 10, 1)))
      >>> cml_tf.Episode(support=part, query=part).context
      ()

    Attributes:
      support: the examples that the inner loop adapts to.
      query: the examples that the outer loss and the metrics are taken on.
      context: any `tf.nest` structure *without* task axis, shared by the whole meta-batch (a graph, for example). It
        reaches every forward pass; `()` means there is none.
      key: whole numbers `[tasks, 2]` that objectives draw their random numbers from; `()` means there are none.
        Episodes of this library's datasets have one, a function of (seed, split, number).
      classes: which class of the split each label stands for, whole numbers `[tasks, ways]`; `()` means that it is not
        known. Episodes of this library's classifications have them, for objectives that look across tasks.
    """

    support: Examples
    query: Examples
    context: Any = ()
    key: Any = ()
    classes: Any = ()


def validate_episode(episode: Episode, problem: Problem, example_inputs: Any = None) -> Episode:
    """Checks a meta-batch that comes from outside, and returns it as NumPy arrays with canonical dtypes.

    Args:
      episode: a meta-batch; tensors or anything `np.asarray` takes.
      problem: what the targets mean.
      example_inputs: a learner's, `[examples, ...]`: inputs must be like them. None where no learner is known.

    Returns:
      The episode with int32 labels and float32 targets. Inputs are in the structure and of the dtypes of the learner's
      example; without one, floats become float32 (integers stay: they may be indices).

    Raises:
      UserError: naming the field, what was expected and what was received.
    """
    if not isinstance(episode, Episode):
        raise UserError(f"episodes must be cml_tf.Episode(support, query, context), received {type(episode).__name__}.")
    support = _validate_examples("support", episode.support, problem, example_inputs)
    query = _validate_examples("query", episode.query, problem, example_inputs)
    tasks = {name: np.shape(part.targets)[0] for name, part in (("support", support), ("query", query))}
    if tasks["support"] != tasks["query"]:
        raise UserError(
            f"support and query must contain the same number of tasks on axis 0, received {tasks['support']} and "
            f"{tasks['query']}."
        )
    _check_same_example_shape(support, query)
    for position, array in enumerate(tf.nest.flatten(episode.context)):
        values = array.values if isinstance(array, tf.SparseTensor) else array
        check_finite(np.asarray(values), f"context[{position}]")
    key = _validate_numbers("key", episode.key, (tasks["support"], 2), "[tasks, 2]", np.int64)
    ways = problem.ways if isinstance(problem, Classification) else 0
    classes = _validate_numbers("classes", episode.classes, (tasks["support"], ways), "[tasks, ways]", np.int32)
    return Episode(support, query, episode.context, key, classes)


def _validate_numbers(field: str, numbers: Any, shape: tuple[int, int], axes: str, dtype: type) -> Any:
    if isinstance(numbers, tuple) and not numbers:
        return numbers
    array = array_of(numbers, field)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise UserError(
            f"{field} must be whole numbers {axes} = {list(shape)}, received dtype {array.dtype} and shape "
            f"{list(array.shape)}."
        )
    return array.astype(dtype)


def validated(
    episodes: Iterable[Episode],
    problem: Problem,
    example_inputs: Any = None,
    check_context: Callable[[Any], None] | None = None,
) -> Iterator[Episode]:
    """Yields every episode of a foreign iterable through `validate_episode`, with its position in the error.

    Args:
      episodes: meta-batches.
      problem: what their targets mean.
      example_inputs: as of `validate_episode`.
      check_context: raises UserError for a context that the learner does not take.
    """
    for position, episode in enumerate(episodes):
        try:
            checked = validate_episode(episode, problem, example_inputs)
            if check_context is not None:
                check_context(checked.context)
        except UserError as error:
            raise UserError(f"episode {position} of the iterable: {error}") from error
        yield checked


def _validate_examples(field: str, examples: Examples, problem: Problem, example_inputs: Any) -> Examples:
    if not isinstance(examples, Examples):
        raise UserError(f"{field} must be cml_tf.Examples(inputs, targets), received {type(examples).__name__}.")
    targets = array_of(examples.targets, f"{field}.targets")
    mask = _validate_mask(f"{field}.mask", examples.mask, targets.shape[:2])
    targets = _validate_targets(f"{field}.targets", _repeated(targets, mask), problem)
    leading = targets.shape[:2]
    if field == "support" and 0 in leading:
        raise UserError(f"support.targets must contain at least one task and one example, received shape {leading}.")

    def check(array):
        array = numeric_array(array, f"{field}.inputs")
        if array.shape[:2] != leading:
            raise UserError(
                f"{field}.inputs must start with axes [tasks, examples] = {list(leading)} as {field}.targets does, "
                f"received shape {list(array.shape)}."
            )
        return as_float32(array, f"{field}.inputs") if array.dtype.kind == "f" else array

    inputs = tf.nest.map_structure(lambda leaf: _repeated(leaf, mask), examples.inputs)
    if example_inputs is not None:
        inputs = arrays_like(example_inputs, inputs, f"{field}.inputs", ("tasks", "examples"))
    if not tf.nest.flatten(inputs):
        raise UserError(f"{field}.inputs must contain at least one tensor, received an empty structure.")
    return Examples(tf.nest.map_structure(check, inputs), targets, mask)


def _validate_mask(field: str, mask: Any, leading: tuple[int, ...]) -> Any:
    if isinstance(mask, tuple) and not mask:
        return mask
    array = array_of(mask, field)
    if array.dtype.kind != "b" or array.shape != leading:
        raise UserError(
            f"{field} must be booleans [tasks, examples] = {list(leading)}, received dtype {array.dtype} and shape "
            f"{list(array.shape)}."
        )
    if empty := np.flatnonzero(~array.any(1)).tolist():
        raise UserError(f"{field} must count at least one example a task, received none in tasks {empty[:5]}.")
    return array


def _repeated(values: Any, mask: Any) -> Any:
    """An array with a task's first row that counts in the place of those that do not, which may hold anything."""
    shape = getattr(values, "shape", ())
    if isinstance(mask, tuple) or tuple(shape[:2]) != mask.shape:
        return values
    array = np.asarray(values)
    first = array[np.arange(len(mask)), mask.argmax(1)]
    return np.where(mask.reshape(*mask.shape, *[1] * (array.ndim - 2)), array, first[:, None])


def _validate_targets(field: str, targets: np.ndarray, problem: Problem) -> np.ndarray:
    if isinstance(problem, Classification):
        if targets.dtype.kind in "iu":
            return _validate_labels(field, targets, problem.ways)
        expected = f"integer labels [tasks, examples] or soft labels [tasks, examples, {problem.ways}]"
        width = problem.ways
    else:
        expected = f"float targets [tasks, examples, {problem.outputs}]"
        width = problem.outputs
    if targets.dtype.kind not in "fiu" or targets.ndim != 3 or targets.shape[-1] != width:
        raise UserError(f"{field} must be {expected}, received dtype {targets.dtype} and shape {list(targets.shape)}.")
    targets = as_float32(targets, field)
    if isinstance(problem, Classification) and not _are_distributions(targets):
        raise UserError(f"{field} must be soft labels that are not negative and sum to 1 over the {width} classes.")
    return targets


def _are_distributions(soft_labels: np.ndarray) -> bool:
    return bool((soft_labels >= 0).all() and np.allclose(soft_labels.sum(-1), 1, atol=1e-3))


def _validate_labels(field: str, labels: np.ndarray, ways: int) -> np.ndarray:
    if labels.ndim != 2:
        raise UserError(
            f"{field} must be integer labels [tasks, examples] (soft ones are floats), received shape "
            f"{list(labels.shape)}."
        )
    outside = labels[(labels < 0) | (labels >= ways)]
    if outside.size:
        raise UserError(f"{field} must lie in [0, {ways}), received {sorted(set(outside.tolist()))[:5]}.")
    return labels.astype(np.int32)


def _check_same_example_shape(support: Examples, query: Examples) -> None:
    try:
        tf.nest.assert_same_structure(support.inputs, query.inputs)
    except (ValueError, TypeError):
        # Its text holds every value.
        raise UserError(
            "support.inputs and query.inputs must have the same structure, received "
            f"{described(support.inputs)} and {described(query.inputs)}."
        ) from None
    for left, right in zip(tf.nest.flatten(support.inputs), tf.nest.flatten(query.inputs), strict=True):
        if left.shape[2:] != right.shape[2:]:
            raise UserError(
                f"support and query inputs must have examples of one shape, received {list(left.shape[2:])} and "
                f"{list(right.shape[2:])}."
            )
