"""What was not finite first in a step that failed: variables, data, the support loss, a query loss, or a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.gradients import length
from cml_tf.adaptation.rule import Initial
from cml_tf.episodes import Episode
from cml_tf.problems import Problem
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient, worst_point
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas
from cml_tf.training.schedule import Moment

_MOST_TASKS = 3


def first_fault(
    method: Method,
    problem: Problem,
    episode: Episode,
    moment: Moment,
    replicas: Replicas | None = None,
    sharpness: float = 0.0,
) -> str:
    """What a step on a meta-batch met first that is not finite, in words, with its tasks and what to do.

    The step is made again, stage by stage and task by task, which takes longer than the step did.

    Args:
      method: whose variables are as they were before the step.
      problem: what the targets mean.
      episode: the meta-batch, or those of its tasks that are this process'.
      moment: of the outer step.
      replicas: that share the meta-batch; one by default.
      sharpness: of the step (`cml_tf.training.meta_step.MetaStep`).
    """
    replicas = replicas or ONE
    dtype = keras.config.floatx()
    # Those of an iterable are arrays.
    episode = Episode(*tf.nest.map_structure(tf.convert_to_tensor, episode._replace(context=())))._replace(
        context=episode.context
    )
    scalars = {name: tf.constant(value, dtype) for name, value in moment.scalars.items()}
    numbers = replicas.numbers_of_process(len(episode.support.targets))
    # Terms that do not count were left out of the step.
    terms, own = zip(*method.counted(moment.weights), strict=True)
    method, weights = method.with_terms([term.name for term in terms]), tf.constant(own, dtype)
    method = method.of_first_order() if moment.first_order else method
    for found, remedy in (
        (_variables(method), "Go back to an earlier checkpoint, and lower the outer rate, or set clip_norm"),
        (_data(episode, numbers), "Remove or replace these values"),
        (
            _support_losses(method, problem, episode, numbers, scalars),
            "Lower the inner rate, or take fewer inner steps",
        ),
        (_query_losses(method, episode, numbers, scalars), "Lower the inner or outer rate, or set clip_norm"),
        (_gradients(method, episode, numbers, weights, scalars), "Lower the inner or outer rate, or set clip_norm"),
        (
            _worst_gradients(method, episode, numbers, weights, scalars, sharpness),
            "Lower train.sharpness, the inner or the outer rate, or set clip_norm",
        ),
    ):
        if told := list(found):
            more = f" and {len(told) - _MOST_TASKS} more" if len(told) > _MOST_TASKS else ""
            return f"{', '.join(told[:_MOST_TASKS])}{more}. {remedy}"
    where = "" if replicas.processes == 1 else " of the tasks of this process; the others say what it is of theirs"
    return f"nothing{where}, when the step was made again. Lower the inner or outer rate, or set clip_norm"


def _variables(method: Method) -> Iterator[str]:
    for group, variables in method.all_variables().items():
        for variable in variables:
            if _count(variable):
                yield f"the variable {variable.path} of {group}, before the step"


def _data(episode: Episode, numbers: Sequence[int]) -> Iterator[str]:
    for place, number in enumerate(numbers):
        task = _task(episode, place)
        for part in ("support", "query"):
            for field in ("inputs", "targets"):
                if wrong := sum(map(_count, tf.nest.flatten(getattr(getattr(task, part), field)))):
                    yield f"{wrong} values of {part}.{field} of task {number}"
    if wrong := sum(map(_count, tf.nest.flatten(episode.context))):
        yield f"{wrong} values of the context"


def _support_losses(
    method: Method, problem: Problem, episode: Episode, numbers: Sequence[int], scalars: dict[str, tf.Tensor]
) -> Iterator[str]:
    initial = method.initial(scalars)
    for place, number in enumerate(numbers):
        task = _task(episode, place)
        for when, predictor in _path(method, initial, task):
            loss = method.rule.support_loss(problem, predictor, task.support)
            if _count(loss):
                yield f"the support loss of task {number}, {float(loss)} {when}"
                break


def _path(method: Method, initial: Initial, task: Episode) -> Iterable[tuple[str, Any]]:
    """What predicts before adaptation and on the way, and in words when that is."""
    if method.rule.answers_unadapted:
        yield "before adaptation", method.rule.unadapted(method.learner, initial, task.support, task.context)
    adapted = method.outcome(initial, task).adapted
    if adapted.path is None:
        yield "after adaptation", adapted
        return
    for step, predictor in enumerate(adapted.path[1:], 1):
        yield f"after inner step {step}", predictor


def _query_losses(
    method: Method, episode: Episode, numbers: Sequence[int], scalars: dict[str, tf.Tensor]
) -> Iterator[str]:
    losses, _ = evaluate_losses(method, episode, scalars)
    for number, of_task in zip(numbers, losses.numpy(), strict=True):
        for term, loss in zip(method.terms, of_task, strict=True):
            if not np.isfinite(loss):
                yield f"the query loss of task {number}, {float(loss)} in the term {term.name!r}"


def _gradients(
    method: Method, episode: Episode, numbers: Sequence[int], weights: tf.Tensor, scalars: dict[str, tf.Tensor]
) -> Iterator[str]:
    whole = episode._replace(context=())
    batches = [
        (f" of task {number}", tf.nest.map_structure(lambda t, n=place: t[n : n + 1], whole))
        for place, number in enumerate(numbers)
    ]
    for of, part in [*batches, (" of all tasks together", whole)]:
        found = meta_gradient(method, part._replace(context=episode.context), weights, scalars=scalars).gradients
        for group, gradients in found.items():
            for variable, gradient in zip(method.trained_variables()[group], gradients, strict=True):
                if _count(gradient):
                    yield f"the gradient of {variable.path} of {group}{of}"
            if not np.isfinite(tf.linalg.global_norm(gradients)) and np.isfinite(length(gradients)):
                yield f"the squared gradient of {group}{of}, which is {float(length(gradients)):.2g} long"


def _worst_gradients(
    method: Method,
    episode: Episode,
    numbers: Sequence[int],
    weights: tf.Tensor,
    scalars: dict[str, tf.Tensor],
    sharpness: float,
) -> list[str]:
    """Of the gradients that a step with sharpness follows, at the worst point of the tasks of this process."""
    if not sharpness:
        return []
    here = meta_gradient(method, episode, weights, scalars=scalars).gradients
    with worst_point(method.trained_variables(), here, sharpness):
        found = [*_gradients(method, episode, numbers, weights, scalars)]
    return [f"{told}, at the worst point within {sharpness:g}" for told in found]


def _task(episode: Episode, place: int) -> Episode:
    """One task, without the task axis and masked examples."""
    parts = (episode.support, episode.query, episode.key, episode.classes)
    support, query, key, classes = tf.nest.map_structure(lambda tensor: tf.convert_to_tensor(tensor)[place], parts)
    return Episode(support.counted(), query.counted(), episode.context, key, classes)


def _count(value: Any) -> int:
    """How many of the values are not finite; none of what are no floats."""
    values = value.values if isinstance(value, tf.SparseTensor) else value
    tensor = tf.convert_to_tensor(values)
    return int(tf.math.count_nonzero(~tf.math.is_finite(tensor))) if tensor.dtype.is_floating else 0
