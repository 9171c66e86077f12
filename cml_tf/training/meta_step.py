"""The meta-step: gradient, check, clipping and update of one meta-batch, compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.gradients import length
from cml_tf.datasets.base import check_integer
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.training.keras_features import check_unused
from cml_tf.training.meta_gradient import MetaGradient, in_pieces, meta_gradient, worst_point
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas
from cml_tf.training.schedule import Moment, Schedule
from cml_tf.training.task_mapping import can_be_vectorised, is_masked


class StepResult(NamedTuple):
    """What a training step reports.

    Attributes:
      term_losses: `[tasks, terms]` of the terms that count (`Method.counted`), before the update.
      metrics: by name, `[tasks]`.
      finite: whether loss and norms of gradients were finite; the update was made only then.
    """

    term_losses: tf.Tensor
    metrics: dict[str, tf.Tensor]
    finite: tf.Tensor


def _check_number(name: str, value: Any, expected: str) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise UserError(f"{name} must be {expected}, received {value!r}.")


@dataclass(frozen=True)
class Work:
    """What the parts of a step hand to each other.

    Attributes:
      method: with the terms and the order of derivatives of this step.
      episode: the meta-batch, or those of its tasks that are this process'.
      weights: of the method's terms, `[terms]`.
      scalars: of its scheduled numbers, by name.
      gradient: of the outer loss; before the reduction one a replica, of its tasks.
      norms: global norms of the gradient's groups.
      finite: whether loss and norms are.
    """

    method: Method
    episode: Episode
    weights: tf.Tensor
    scalars: dict[str, tf.Tensor]
    gradient: MetaGradient | None = None
    norms: tuple[tf.Tensor, ...] = ()
    finite: tf.Tensor | None = None


Part = Callable[[Work], Work]


class MetaStep:
    """One outer step, compiled once: the parts `gradient`, `reduction`, `finiteness`, `clipping` and `update`.

    Replicas make a gradient each, of their tasks. All that follows the reduction is made once in every process, of the
    same numbers, so that their variables stay alike.

    Args:
      method: what to train.
      optimizers: a Keras optimiser for each trained group; groups may share one object.
      clip_norm: largest global norm of a group's gradient, 0 for none. Groups are clipped apart, so that a co-learner
        of weight 0 leaves the learner's path untouched.
      task_chunk: how many tasks are worked on at a time; memory grows with it. 0 chooses (`map_tasks`).
      vectorised: whether all tasks are worked on at once, every operation with a task axis. None chooses: so they are
        where the learner and the terms have dense layers only and no chunk is set. With convolutions it takes more
        memory, and is for devices with more cores than a task can use; with other layers it cannot be done.
      jit_compile: whether XLA compiles the step: for GPUs; slower on CPUs.
      sharpness: radius of the ball around all trained variables in whose worst point the meta-gradient is taken, 0 for
        where they are (Sharp-MAML, arXiv 2206.03996, equation 9). It doubles the work. Reported losses and metrics are
        those at the variables.
      accumulate: in how many pieces the tasks of a replica are worked on, one after the other: memory for gradients is
        that of a piece's tasks.
      replicas: that share the tasks; one by default.

    Attributes:
      parts: by name, in the order in which they are made.
    """

    def __init__(
        self,
        method: Method,
        optimizers: Mapping[str, keras.optimizers.Optimizer],
        clip_norm: float = 0.0,
        task_chunk: int = 0,
        vectorised: bool | None = None,
        jit_compile: bool = False,
        sharpness: float = 0.0,
        accumulate: int = 1,
        replicas: Replicas | None = None,
    ) -> None:
        trained = method.trained_variables()
        if set(optimizers) != set(trained):
            raise UserError(f"optimizers must have the keys {sorted(trained)}, received {sorted(optimizers)}.")
        _check_number("clip_norm", clip_norm, "0 (none) or positive")
        check_integer("task_chunk", task_chunk, minimum=0)
        _check_number("sharpness", sharpness, "0 (none) or a positive radius")
        if not isinstance(jit_compile, bool):
            raise UserError(f"jit_compile must be True or False, received {jit_compile!r}.")
        self.replicas = replicas or ONE
        if jit_compile and self.replicas.strategy is not None:
            raise UserError("jit_compile must be False for a step that replicas share, received True: leave it out.")
        check_integer("accumulate", accumulate, minimum=1)
        if accumulate > 1 and not method.reducer.is_mean:
            raise UserError(
                f"accumulate must be 1 with {type(method.reducer).__name__}, which compares all tasks of a meta-batch, "
                f"received {accumulate}: use the mean over tasks, or leave out accumulate."
            )
        self.accumulate = accumulate
        self.method = method
        self.clip_norm = clip_norm
        self.sharpness = sharpness
        self.task_chunk = task_chunk
        possible = can_be_vectorised(method, convolutions=True)
        if vectorised and (task_chunk or not possible):
            raise UserError(
                "vectorised needs a method of dense or plain convolutional layers with an unrolled inner loop and "
                f"task_chunk 0, received {'such a' if possible else 'another'} method and task_chunk {task_chunk}: "
                "leave vectorised at auto."
            )
        self._asked_vectorised = bool(vectorised)
        self.vectorised = can_be_vectorised(method) and not task_chunk if vectorised is None else vectorised
        distinct = {id(optimizers[group]): optimizers[group] for group in trained}
        self._groups_by_optimizer = [
            (optimizer, [group for group in trained if optimizers[group] is optimizer])
            for optimizer in distinct.values()
        ]
        for optimizer, groups in self._groups_by_optimizer:
            variables = [variable for group in groups for variable in trained[group]]
            check_unused(optimizer, variables)
            optimizer.build(variables)
        self.parts: dict[str, Part] = {
            "gradient": self._gradient,
            "reduction": self._reduction,
            "finiteness": self._finiteness,
            "clipping": self._clipping,
            "update": self._update,
        }
        self._compiled = tf.function(self._step, autograph=False, jit_compile=jit_compile)

    def __call__(self, episode: Episode, moment: Moment | None = None) -> StepResult:
        """Runs one step on a meta-batch.

        Terms that count for nothing (`Method.counted`) are left out: the step without them is another graph.

        Args:
          episode: the meta-batch, or those of its tasks that are this process'.
          moment: of the outer step; that of step 0 under no schedule by default.
        """
        method = self.method
        if self._asked_vectorised and is_masked(episode):
            raise UserError(
                "vectorised must be None or False for episodes with a mask, received True: leave vectorised at auto."
            )
        tasks = int(episode.query.targets.shape[0])
        self.replicas.check_divides(tasks * self.replicas.processes, self.accumulate)
        weights, first_order, scalars = moment or Schedule()(0, method.terms, method.schedules)
        names, own = zip(*((term.name, weight) for term, weight in method.counted(weights)), strict=True)
        dtype = keras.config.floatx()
        # Of arrays, since TensorFlow keeps what it makes of every single number, each step's too, for good.
        number = tf.as_dtype(dtype).as_numpy_dtype
        values = {name: tf.constant(np.array(value, number)) for name, value in scalars.items()}
        return self._compiled(episode, tf.constant(own, dtype), first_order, names, values)

    @property
    def optimizers(self) -> list[keras.optimizers.Optimizer]:
        """The distinct optimisers, in the order of the groups they serve."""
        return [optimizer for optimizer, _ in self._groups_by_optimizer]

    def finalize(self) -> None:
        """What Keras does after the last step: an optimiser with `use_ema` puts its averages into the variables."""
        trained = self.method.trained_variables()
        for optimizer, groups in self._groups_by_optimizer:
            optimizer.finalize_variable_values([variable for group in groups for variable in trained[group]])

    @property
    def traces(self) -> int:
        """How often the step was traced: once for each order and choice of terms, as long as shapes stay the same."""
        return self._compiled.experimental_get_tracing_count()

    def _step(
        self,
        episode: Episode,
        weights: tf.Tensor,
        first_order: bool,
        terms: tuple[str, ...],
        scalars: dict[str, tf.Tensor],
    ) -> StepResult:
        method = self.method.with_terms(terms)
        work = Work(method.of_first_order() if first_order else method, episode, weights, scalars)
        for part in self.parts.values():
            work = part(work)
        assert work.gradient is not None
        return StepResult(work.gradient.term_losses, work.gradient.metrics, work.finite)

    def _gradient(self, work: Work) -> Work:
        return replace(work, gradient=self.replicas.run(self._of_replica, work))

    def _of_replica(self, work: Work) -> MetaGradient:
        episode, options = self.replicas.share(work.episode), (self.task_chunk, self.vectorised, work.scalars)

        def of_piece(piece: Episode) -> MetaGradient:
            return meta_gradient(work.method, piece, work.weights, *options, self.replicas)

        gradient = in_pieces(of_piece, episode, self.accumulate)
        if not self.sharpness:
            return gradient
        reduced = self.replicas.mean(gradient.gradients)
        with worst_point(self.method.trained_variables(), reduced, self.sharpness):
            worst = in_pieces(of_piece, episode, self.accumulate)
        return gradient._replace(gradients=worst.gradients)

    def _reduction(self, work: Work) -> Work:
        def reduced(own: MetaGradient) -> MetaGradient:
            loss, gradients = self.replicas.mean((own.loss, own.gradients))
            term_losses, metrics = self.replicas.joined((own.term_losses, own.metrics))
            return MetaGradient(loss, term_losses, metrics, gradients)

        return replace(work, gradient=self.replicas.one_of(self.replicas.run(reduced, work.gradient)))

    def _finiteness(self, work: Work) -> Work:
        assert work.gradient is not None
        loss = work.gradient.loss
        # A long gradient can be clipped. Otherwise an optimiser that squares it would never forget the infinite square.
        norm_of = length if self.clip_norm else tf.linalg.global_norm
        norms = tuple(norm_of(gradients) for gradients in work.gradient.gradients.values())
        # A rule's own variables need not be of the learner's number format.
        numbers = tf.stack([loss, *(tf.cast(norm, loss.dtype) for norm in norms)])
        return replace(work, norms=norms, finite=tf.reduce_all(tf.math.is_finite(numbers)))

    def _clipping(self, work: Work) -> Work:
        assert work.gradient is not None
        if not self.clip_norm:
            return work
        clipped = {
            group: tuple(tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)[0])
            for (group, gradients), norm in zip(work.gradient.gradients.items(), work.norms, strict=True)
        }
        return replace(work, gradient=work.gradient._replace(gradients=clipped))

    def _update(self, work: Work) -> Work:
        assert work.gradient is not None
        trained, gradients = self.method.trained_variables(), work.gradient.gradients

        def apply() -> bool:
            for optimizer, groups in self._groups_by_optimizer:
                optimizer.apply(
                    [gradient for group in groups for gradient in gradients[group]],
                    [variable for group in groups for variable in trained[group]],
                )
            return True

        tf.cond(work.finite, apply, lambda: False)
        return work


class NonFiniteLoss(UserError, ArithmeticError):
    """Training met a loss or gradient that is not finite. The step's update was not made.

    Example:
      >>> error = NonFiniteLoss.at(7, np.array([[0.5], [np.nan]]), ["query_loss"], "the support loss")
      >>> print(error)
      step 7 has a loss that is not finite in episode 15 (task 1): [nan] (terms ['query_loss']). ...
    """

    @classmethod
    def at(cls, step: int, losses: np.ndarray, names: Sequence[str], first: str) -> NonFiniteLoss:
        """The error of a step.

        Args:
          step: outer steps made before.
          losses: of the step, `[tasks, terms]`.
          names: of the terms.
          first: what was not finite first, and what to do (`cml_tf.training.first_fault`).
        """
        tasks = np.flatnonzero(~np.isfinite(losses).all(1))
        start = step * len(losses)
        if tasks.size:
            where = ", ".join(f"episode {start + task} (task {task}): {losses[task].tolist()}" for task in tasks)
            what = f"a loss that is not finite in {where}"
        else:
            last = start + len(losses) - 1
            what = f"a gradient whose norm is not finite, although all losses are, in episodes {start} to {last}"
        return cls(f"step {step} has {what} (terms {list(names)}). The update was skipped. Not finite first: {first}.")
