"""Loss and gradient over a meta-batch: the only place where the two loops meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cml_tf.adaptation.gradients import ascent, dense_gradients
from cml_tf.adaptation.rule import Initial
from cml_tf.episodes import Episode
from cml_tf.learners.layers.derivative_order import outer_gradient
from cml_tf.objectives.reducers import TaskGradients
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas
from cml_tf.training.task_mapping import map_tasks


class MetaGradient(NamedTuple):
    """One meta-batch's outer loss and what follows from it.

    Attributes:
      loss: the outer loss, a scalar.
      term_losses: `[tasks, terms]`.
      metrics: by name, `[tasks]`.
      gradients: by variable group, as `Method.trained_variables`.
    """

    loss: tf.Tensor
    term_losses: tf.Tensor
    metrics: dict[str, tf.Tensor]
    gradients: dict[str, tuple[tf.Tensor, ...]]


def evaluate_losses(
    method: Method, episode: Episode, scalars: dict[str, tf.Tensor] | None = None
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Losses `[tasks, terms]` and metrics by name, `[tasks]`, without gradients; `scalars` as of `Method.initial`."""
    initial, term_values = method.initial(scalars), method.term_values()
    return map_tasks(lambda task: _losses(method, initial, term_values, task), episode)


def meta_gradient(
    method: Method,
    episode: Episode,
    weights: tf.Tensor,
    task_chunk: int = 0,
    vectorised: bool = False,
    scalars: dict[str, tf.Tensor] | None = None,
    replicas: Replicas | None = None,
) -> MetaGradient:
    """The outer loss, `reducer` of the tasks' `sum over terms of weight * loss`, and its gradient by variable group.

    Each task's gradient is taken before the next task begins, so memory does not hold the activations of all tasks; the
    reducer then says how much each task's gradient counts.

    Args:
      method: the choices on all axes.
      episode: a meta-batch.
      weights: of the terms, `[terms]`; a tensor, so that gamma may change without retracing.
      task_chunk: how many tasks are worked on at a time, as in `map_tasks`.
      vectorised: whether all are worked on at once, likewise.
      scalars: of `Method.initial`.
      replicas: among which the meta-batch is shared: this is called on each of them with its share, and the mean over
        replicas of what it gives is the outer loss and its gradient. None for one.
    """
    trained = method.trained_variables()
    trained.pop("reducer", None)
    values = [variable.value for variables in trained.values() for variable in variables]

    def one(task: Episode) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        with outer_gradient(), tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            initial, term_values = method.initial(scalars), method.term_values()
            losses, metrics = _losses(method, initial, term_values, task)
            loss = tf.reduce_sum(losses * tf.cast(weights, losses.dtype))
        with outer_gradient():
            gradients = dense_gradients(tape, loss, values)
        _check_connected(trained, gradients)
        return loss, losses, metrics, gradients

    per_task, losses, metrics, gradients = map_tasks(one, episode, task_chunk, vectorised)
    of_tasks = _of_tasks(method, trained, gradients)
    loss, shares, of_reducer = _reduced(method, per_task, of_tasks, replicas or ONE)
    reduced = iter([tf.tensordot(tf.cast(shares, gradient.dtype), gradient, 1) for gradient in gradients])
    by_group = {group: tuple(next(reduced) for _ in variables) for group, variables in trained.items()}
    return MetaGradient(loss, losses, metrics, by_group | ({"reducer": of_reducer} if of_reducer else {}))


def worst_point(
    trained: Mapping[str, Sequence[keras.Variable]], gradients: Mapping[str, Sequence[tf.Tensor]], radius: float
) -> keras.StatelessScope:
    """A scope in which all trained variables are at the worst point near by (`cml_tf.adaptation.gradients.ascent`).

    Args:
      trained: variables by group.
      gradients: of the outer loss, by group likewise; their norm is that of all groups together.
      radius: of the ball around where the variables are.
    """
    offsets = tf.nest.flatten(ascent([gradients[group] for group in trained], radius))
    variables = tf.nest.flatten([*trained.values()])
    return keras.StatelessScope([(v, v.value + offset) for v, offset in zip(variables, offsets, strict=True)])


def in_pieces(function: Callable[[Episode], MetaGradient], episode: Episode, pieces: int) -> MetaGradient:
    """The mean over pieces of a meta-batch of what a function gives, one piece after the other.

    One sum of gradients is held, however many pieces there are. In a graph only.

    Args:
      function: gives loss and gradient of a piece.
      episode: a meta-batch, whose reducer is the mean over tasks.
      pieces: how many, of the same size.
    """
    if pieces == 1:
        return function(episode)
    of_tasks = (episode.support, episode.query, episode.key, episode.classes)
    parts = tf.nest.map_structure(lambda part: tf.reshape(part, [pieces, -1, *part.shape[1:]]), of_tasks)

    @tf.function(autograph=False)
    def one(number: tf.Tensor) -> MetaGradient:
        support, query, key, classes = tf.nest.map_structure(lambda part: part[number], parts)
        return function(Episode(support, query, episode.context, key, classes))

    first = one(tf.constant(0))
    rows = tf.nest.map_structure(
        lambda row: tf.TensorArray(row.dtype, pieces, element_shape=row.shape).write(0, row),
        (first.term_losses, first.metrics),
    )

    def body(number: tf.Tensor, sums: Any, rows: Any) -> tuple[tf.Tensor, Any, Any]:
        own = one(number)
        sums = tf.nest.map_structure(tf.add, sums, (own.loss, own.gradients))
        written = tf.nest.map_structure(lambda rows, row: rows.write(number, row), rows, (own.term_losses, own.metrics))
        return number + 1, sums, written

    start = tf.constant(1), (first.loss, first.gradients), rows
    _, sums, rows = tf.while_loop(
        lambda number, *_: number < pieces, body, start, parallel_iterations=1, maximum_iterations=pieces - 1
    )
    loss, gradients = tf.nest.map_structure(lambda total: total / pieces, sums)
    term_losses, metrics = tf.nest.map_structure(lambda array: array.concat(), rows)
    return MetaGradient(loss, term_losses, metrics, gradients)


def _of_tasks(method: Method, trained: Mapping[str, Sequence[Any]], gradients: Sequence[tf.Tensor]) -> TaskGradients:
    """Gradients `[tasks, ...]` by group, those of the learner by its own two."""
    flat = iter(gradients)
    groups = {group: tuple(next(flat) for _ in variables) for group, variables in trained.items()}
    of_learner = groups.pop("learner", ())
    extractor = len(method.learner.variables.extractor)
    return {"extractor": of_learner[:extractor], "head": of_learner[extractor:], **groups}


def _reduced(
    method: Method, per_task: tf.Tensor, gradients: TaskGradients, replicas: Replicas
) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, ...]]:
    """The outer loss, how much each task's gradient counts, and the gradient of the reducer's own variables.

    What is no mean over tasks must see all of them, wherever they are.
    """
    everywhere = replicas.count > 1 and not method.reducer.is_mean
    if everywhere:
        compared = method.reducer.compares
        known = {group: own for group, own in gradients.items() if compared is None or group in compared}
        per_task, gradients = replicas.joined((per_task, known))
    values = tuple(tf.convert_to_tensor(variable) for variable in method.reducer.variables)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([per_task, *values])
        loss = method.reducer(per_task, gradients, values)
    shares, *own = tape.gradient(loss, [per_task, *values], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    # The mean over replicas follows, and a task is on one of them.
    return loss, replicas.own_rows(shares) * replicas.count if everywhere else shares, tuple(own)


def _losses(
    method: Method, initial: Initial, term_values: Any, task: Episode
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    results = method.losses(initial, term_values, task)
    metrics: dict[str, tf.Tensor] = {}
    for term, result in zip(method.terms, results, strict=True):
        if taken := sorted(metrics.keys() & result.metrics.keys()):
            raise ValueError(f"the term {term.name!r} reports {taken} like another term: give it another prefix.")
        metrics.update(result.metrics)
    return tf.stack([result.loss for result in results]), metrics


def _check_connected(trained: Mapping[str, Sequence[Any]], gradients: Sequence[Any]) -> None:
    owned = [(group, variable) for group, variables in trained.items() for variable in variables]
    for (group, variable), gradient in zip(owned, gradients, strict=True):
        if gradient is None:
            raise ValueError(
                f"the outer loss does not depend on variable {variable.path!r} of group {group!r}: freeze it "
                "(trainable = False before the learner is created), or use it in a term."
            )
