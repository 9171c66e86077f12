"""The meta-step: loss and gradient over a meta-batch. The only place where the two loops meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from cml_tf.episodes import Episode
from cml_tf.method import Method
from cml_tf.task_mapping import map_tasks


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


class StepResult(NamedTuple):
    """What a training step reports.

    Attributes:
      term_losses: `[tasks, terms]`, before the update.
      metrics: by name, `[tasks]`.
      finite: whether loss and gradients were finite; the update was made only then.
    """

    term_losses: tf.Tensor
    metrics: dict[str, tf.Tensor]
    finite: tf.Tensor


def evaluate_losses(method: Method, episode: Episode) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Losses `[tasks, terms]` and metrics by name, `[tasks]`, without gradients."""
    initial, term_values = method.rule.initial(method.learner), method.term_values()
    return _losses(method, initial, term_values, episode)


def meta_gradient(method: Method, episode: Episode, weights: tf.Tensor) -> MetaGradient:
    """The outer loss `reducer(sum over terms of weight * loss)` and its gradient by variable group.

    Args:
      method: the choices on all axes.
      episode: a meta-batch.
      weights: of the terms, `[terms]`; a tensor, so that gamma may change without retracing.
    """
    trained = method.trained_variables()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variables in trained.values():
            tape.watch([variable.value for variable in variables])
        initial, term_values = method.rule.initial(method.learner), method.term_values()
        losses, metrics = _losses(method, initial, term_values, episode)
        per_task = tf.reduce_sum(losses * tf.cast(weights, losses.dtype), 1)
        loss = method.reducer(per_task)
    flat = [variable.value for variables in trained.values() for variable in variables]
    gradients = iter(tape.gradient(loss, flat, unconnected_gradients=tf.UnconnectedGradients.NONE))
    by_group = {group: tuple(next(gradients) for _ in variables) for group, variables in trained.items()}
    _check_connected(trained, by_group)
    return MetaGradient(loss, losses, metrics, by_group)


def _losses(method: Method, initial: Any, term_values: Any, episode: Episode) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    def one(task: Episode) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        results = method.losses(initial, term_values, task)
        metrics: dict[str, tf.Tensor] = {}
        for term, result in zip(method.terms, results, strict=True):
            if taken := sorted(metrics.keys() & result.metrics.keys()):
                raise ValueError(f"term {term.name!r} reports {taken} as another term does: give it another prefix.")
            metrics.update(result.metrics)
        return tf.stack([result.loss for result in results]), metrics

    return map_tasks(one, episode)


def _check_connected(trained: Mapping[str, Any], gradients: Mapping[str, Any]) -> None:
    for group, variables in trained.items():
        for variable, gradient in zip(variables, gradients[group], strict=True):
            if gradient is None:
                raise ValueError(
                    f"the outer loss does not depend on variable {variable.path!r} of group {group!r}: freeze it "
                    "(trainable = False before the learner is made), or let a term use it."
                )


class MetaStep:
    """One outer step, compiled once: gradient, clipping, finiteness check, optimiser updates.

    Args:
      method: what to train.
      optimizers: a Keras optimiser for each trained group; groups may share one object.
      clip_norm: largest global norm of a group's gradient, 0 for none. Groups are clipped apart, so that a co-learner
        of weight 0 leaves the learner's path untouched.
    """

    def __init__(self, method: Method, optimizers: Mapping[str, keras.optimizers.Optimizer], clip_norm: float = 0.0):
        trained = method.trained_variables()
        if set(optimizers) != set(trained):
            raise ValueError(f"optimizers must be given for {sorted(trained)}, received {sorted(optimizers)}.")
        if clip_norm < 0:
            raise ValueError(f"clip_norm must be 0 (none) or positive, received {clip_norm}.")
        self.method = method
        self.clip_norm = clip_norm
        distinct = {id(optimizers[group]): optimizers[group] for group in trained}
        self._groups_by_optimizer = [
            (optimizer, [group for group in trained if optimizers[group] is optimizer])
            for optimizer in distinct.values()
        ]
        for optimizer, groups in self._groups_by_optimizer:
            optimizer.build([variable for group in groups for variable in trained[group]])
        self._compiled = tf.function(self._step, autograph=False)

    def __call__(self, episode: Episode) -> StepResult:
        """Runs one step on a meta-batch, with the terms' weights as they are now."""
        return self._compiled(episode, self.method.weights())

    @property
    def optimizers(self) -> list[keras.optimizers.Optimizer]:
        """The distinct optimisers, in the order of the groups they serve."""
        return [optimizer for optimizer, _ in self._groups_by_optimizer]

    @property
    def traces(self) -> int:
        """How often the step was traced: 1, as long as episodes keep their shapes."""
        return self._compiled.experimental_get_tracing_count()

    def _step(self, episode: Episode, weights: tf.Tensor) -> StepResult:
        result = meta_gradient(self.method, episode, weights)
        norms = [tf.linalg.global_norm(gradients) for gradients in result.gradients.values()]
        finite = tf.reduce_all(tf.math.is_finite(tf.stack([tf.cast(result.loss, norms[0].dtype), *norms])))
        tf.cond(finite, lambda: self._update(result.gradients, norms), lambda: False)
        return StepResult(result.term_losses, result.metrics, finite)

    def _update(self, gradients: dict[str, tuple[tf.Tensor, ...]], norms: list[tf.Tensor]) -> bool:
        trained = self.method.trained_variables()
        clipped = {}
        for (group, group_gradients), norm in zip(gradients.items(), norms, strict=True):
            clipped[group] = list(group_gradients)
            if self.clip_norm:
                clipped[group], _ = tf.clip_by_global_norm(clipped[group], self.clip_norm, use_norm=norm)
        for optimizer, groups in self._groups_by_optimizer:
            optimizer.apply(
                [gradient for group in groups for gradient in clipped[group]],
                [variable for group in groups for variable in trained[group]],
            )
        return True
