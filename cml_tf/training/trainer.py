"""The outer loop. The loop is ours; everything around it is Keras': callbacks, progress bar, optimisers, metrics."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.rule import AdaptationRule
from cml_tf.boundary.arrays import check_shapes, told_in_one_line
from cml_tf.datasets.base import EpisodeSource, check_integer
from cml_tf.episodes import Episode, validated
from cml_tf.errors import UserError
from cml_tf.learners.layer_state import settle_constants
from cml_tf.learners.learner import Learner, check_context
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.reducers import TaskReducer
from cml_tf.objectives.term import ObjectiveTerm
from cml_tf.problems import Problem
from cml_tf.training.answers import check_answers
from cml_tf.training.callback_state import (
    CallbackStates,
    callback_host,
    check_callbacks,
    restore_callback_states,
    settle_modes,
)
from cml_tf.training.checkpoints import CheckpointError, assign_values, named_values
from cml_tf.training.evaluator import Evaluator, RunningMeans
from cml_tf.training.first_fault import first_fault
from cml_tf.training.keras_features import Optimizers, check_method, check_trainable, optimizers_by_group
from cml_tf.training.meta_step import MetaStep, NonFiniteLoss
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas
from cml_tf.training.schedule import Schedule
from cml_tf.training.validation import Validation, check_validation

_VALIDATION_BATCH = 4


class _Stopped(Exception):
    """A validation was not finished."""


class Trainer:
    """Meta-trains a learner.

    Example:
      >>> problem, learner = cml_tf.Regression(1), mlp(1, (1,), hidden=(4,))
      >>> rule = GradientDescent(problem, SGD(0.01), hypergradient=FirstOrder())
      >>> trainer = Trainer(learner, rule, [QueryLoss(problem)], problem)
      >>> waves = cml_tf.datasets.load("sinusoid").episodes("train", shots=5, queries=10, seed=0)
      >>> history = trainer.fit(waves, steps=1, verbose=0)
      >>> trainer.step
      1

    Args:
      learner: what is adapted.
      rule: how it adapts.
      terms: of the outer loss.
      problem: what the targets mean; foreign episodes are checked against it.
      reducer: of the tasks' losses; their mean by default.
      optimizer: a Keras optimiser or its name for all variable groups (each variable has slots of its own), or a
        mapping from groups (`Method.trained_variables`) to optimisers; Adam at 1e-3 by default. Callbacks that set the
        learning rate set that of the first group's optimiser.
      clip_norm: largest global gradient norm of a group; 0 for none.
      task_chunk: how many tasks of a meta-batch are worked on at a time; memory grows with it. 0 chooses.
      vectorised: whether all are worked on at once; None chooses (`MetaStep`).
      jit_compile: whether XLA compiles the step: for GPUs; slower on CPUs.
      sharpness: radius within which the meta-gradient is taken at the worst point (`MetaStep`); 0 for none.
      schedule: what changes with the outer step, but for the weights of terms, which say so themselves, and the
        optimisers' rates.
      accumulate: in how many pieces the tasks of a replica are worked on, to save memory (`MetaStep`).
      replicas: that share the tasks of every meta-batch (docs/REPLICAS.md); one by default.

    Raises:
      UserError: for what Keras' own `fit` honours and meta-training cannot (docs/KERAS.md), by name.

    Attributes:
      step: outer steps made.
      stopped: whether a callback ended training at the end of an epoch (early stopping). It holds for later calls of
        `fit` too; set it to False to go on nevertheless.
    """

    def __init__(
        self,
        learner: Learner,
        rule: AdaptationRule,
        terms: Sequence[ObjectiveTerm],
        problem: Problem,
        *,
        reducer: TaskReducer | None = None,
        optimizer: Optimizers | None = None,
        clip_norm: float = 0.0,
        task_chunk: int = 0,
        vectorised: bool | None = None,
        jit_compile: bool = False,
        sharpness: float = 0.0,
        schedule: Schedule | None = None,
        accumulate: int = 1,
        replicas: Replicas | None = None,
    ) -> None:
        self.schedule = schedule or Schedule()
        self.replicas = replicas or ONE
        self.method = Method.of(learner, rule, terms, reducer)
        if self.schedule.first_order_steps and not rule.second_order:
            raise UserError(
                f"first_order_steps must be 0 for {rule.name}, whose meta-gradient has no second derivatives, received "
                f"{self.schedule.first_order_steps}."
            )
        self.problem = problem
        check_answers(self.method, problem)
        check_method(learner, terms)
        groups = list(self.method.trained_variables())
        by_group = optimizers_by_group(keras.optimizers.Adam(1e-3) if optimizer is None else optimizer, groups)
        options = clip_norm, task_chunk, vectorised, jit_compile, sharpness, accumulate
        self.meta_step = MetaStep(self.method, by_group, *options, self.replicas)
        self.step = 0
        self.stopped = False
        self.host = callback_host(self.method, self.meta_step.optimizers[0])
        self._epoch_is_ending = False
        self._means = RunningMeans()
        self._evaluators: dict[int | None, Evaluator] = {}
        self._validation_batches: Iterable[Episode] = ()
        self._callbacks: Sequence[keras.callbacks.Callback] = ()
        self._callback_states = CallbackStates()
        self._restored: dict[str, Any] = {}

    def fit(
        self,
        episodes: EpisodeSource | Iterable[Episode],
        steps: int,
        callbacks: Sequence[keras.callbacks.Callback] | None = (),
        validation: Validation | None = None,
        validate_every: int = 100,
        meta_batch: int = 4,
        verbose: int | str = 1,
    ) -> dict[str, list[float]]:
        """Trains until `steps` outer steps have been made in all, earlier calls and restored ones included.

        An *epoch*, for callbacks, is `validate_every` steps with the validation after it. A callback stops training by
        `model.stop_training = True`, at the end of the present step or, if that is an epoch's last one, of the epoch.

        Args:
          episodes: an `EpisodeSource`, or any iterable of meta-batches (which is skipped forward after a restore, so
            that it must yield the same episodes again).
          steps: outer steps in all.
          callbacks: Keras callbacks; they see the metrics of the epoch by name, validation ones with prefix `val_`.
          validation: what to validate on; None for no validation.
          validate_every: steps an epoch.
          meta_batch: tasks a step, for an `EpisodeSource`.
          verbose: 0 silent, 1 or "auto" progress bar, 2 one line an epoch.

        Returns:
          The history of this call: metric name to a list with one value an epoch.

        Raises:
          NonFiniteLoss: naming step, task and episode. Variables are as after the step before.
          UserError: if the iterable ends early, an episode is malformed or of another problem, a number is out of
            range, or a callback's state would not survive an interruption.
        """
        for name, number in (("steps", steps), ("validate_every", validate_every), ("meta_batch", meta_batch)):
            check_integer(name, number, minimum=1)
        check_validation(validation)
        callbacks, lines = callbacks or (), 1 if verbose == "auto" else int(verbose)
        for source in (episodes, validation.source if validation else None):
            if isinstance(source, EpisodeSource) and source.problem != self.problem:
                raise UserError(f"episodes must be for {self.problem}, received episodes for {source.problem}.")
        if isinstance(episodes, EpisodeSource):
            self.replicas.check_divides(meta_batch, self.meta_step.accumulate)
        check_callbacks(callbacks, self.meta_step.optimizers)
        settle_modes(callbacks)
        check_trainable(self.method.learner, self.method.terms)
        self._callback_states.begin(callbacks)
        history = keras.callbacks.History()
        epochs = -(-steps // validate_every)
        runner = keras.callbacks.CallbackList(
            [*callbacks, history],
            add_progbar=lines > 0,
            model=self.host,
            verbose=lines,
            epochs=epochs,
            steps=validate_every,
        )
        self._callbacks = tuple(callbacks)
        self.host.stop_training = self.stopped
        runner.on_train_begin()
        restore_callback_states(self._callbacks, self._restored)
        self._restored = {}
        self.replicas.align(itertools.chain(*self._variables().values()))
        batches = self._batches(episodes, meta_batch)
        # Made once for all epochs, and before the first one: what does not fit the learner is told before work is lost.
        if validation is not None:
            self._evaluator(validation.steps)
            tasks = self.replicas.rounded_up(_VALIDATION_BATCH)
            self._validation_batches = self._fitting(self.replicas.batches(validation.source, 0, tasks))
        while not self.finished(steps) and not self.host.stop_training:
            self._epoch(runner, batches, validation, steps, validate_every)
        if self.finished(steps):
            self.meta_step.finalize()
        runner.on_train_end()
        return history.history

    def _epoch(
        self,
        runner: keras.callbacks.CallbackList,
        batches: Iterator[Episode],
        validation: Validation | None,
        steps: int,
        validate_every: int,
    ) -> None:
        # An epoch whose validation was interrupted has all its steps, and its means still: it is validated now.
        pending = self._means.state and (self.step % validate_every == 0 or self.step >= steps)
        epoch = (self.step - 1 if pending else self.step) // validate_every
        first = self.step - epoch * validate_every
        last = min(validate_every, steps - epoch * validate_every)
        runner.on_epoch_begin(epoch)
        tasks, started, logs = 0, time.perf_counter(), self._means.result()
        for position in range(first, last):
            runner.on_train_batch_begin(position)
            tasks += self._one_step(batches)
            logs = {**self._means.result(), "tasks_per_second": tasks / (time.perf_counter() - started)}
            runner.on_train_batch_end(position, logs)
            self.host.stop_training = self.replicas.anywhere(self.host.stop_training)
            if self.host.stop_training and position + 1 < last:
                return
        paused, self.host.stop_training = self.host.stop_training, False
        if validation is not None:
            runner.on_test_begin()
            scores = self._validate(runner, validation)
            runner.on_test_end(scores)
            if not scores:
                return
            logs |= {f"val_{name}": value for name, value in scores.items()}
        self._means.reset()
        # Asked for in the middle of an epoch, stopping is a pause; asked for at its end, it is the end of training.
        self._epoch_is_ending = True
        runner.on_epoch_end(epoch, logs)
        self.stopped, self._epoch_is_ending = self.host.stop_training, False
        self.host.stop_training = self.stopped or paused

    def _one_step(self, batches: Iterator[Episode]) -> int:
        episode = next(batches, None)
        if episode is None:
            raise UserError(f"the iterable of episodes ended after {self.step} steps, but more were requested.")
        moment = self.schedule(self.step, self.method.terms, self.method.schedules)
        with told_in_one_line(f"step {self.step} failed"):
            result = self.meta_step(episode, moment)
        metrics = {name: value.numpy() for name, value in result.metrics.items()}
        counted = [term for term, _ in self.method.counted(moment.weights)]
        if not result.finite:
            sharpness = self.meta_step.sharpness
            first = first_fault(self.method, self.problem, episode, moment, self.replicas, sharpness)
            raise NonFiniteLoss.at(self.step, result.term_losses.numpy(), [term.name for term in counted], first)
        for term in counted:  # The others were left out of the step, and report nothing.
            term.heed(metrics)
        self._means.update(metrics)
        self.step += 1
        return len(result.term_losses)

    def _validate(self, runner: keras.callbacks.CallbackList, validation: Validation) -> dict[str, float]:
        """Empty if a callback stopped training in the midst of it."""
        try:
            batches = self._watched(runner, self._validation_batches)
            metrics = self._evaluator(validation.steps).metrics(batches, validation.episodes)
        except _Stopped:
            return {}
        return {name: float(values.mean(dtype=np.float64)) for name, values in metrics.items()}

    def _evaluator(self, steps: int | None) -> Evaluator:
        """Of adaptation with so many steps; None for as many as in training."""
        if steps not in self._evaluators:
            # A method without any is judged by what MAML lowers.
            reported = [term for term in self.method.terms if term.reported]
            terms = reported or [QueryLoss(self.problem, differentiated=False)]
            method = Method.of(self.method.learner, self.method.with_steps(steps).rule, terms, self.method.reducer)
            self._evaluators[steps] = Evaluator(method, self.problem.metric, self.replicas)
        return self._evaluators[steps]

    def _watched(self, runner: keras.callbacks.CallbackList, batches: Iterable[Episode]) -> Iterator[Episode]:
        """Batches of a validation, until a callback stops training after one of them."""
        for number, batch in enumerate(batches):
            yield batch
            runner.on_test_batch_end(number)
            # Told by one process, all of them stop.
            self.host.stop_training = self.replicas.anywhere(self.host.stop_training)
            if self.host.stop_training:
                raise _Stopped

    def finished(self, steps: int) -> bool:
        """Whether nothing is left to do until `steps` outer steps are made, or a callback ended training for good."""
        return self.stopped or (self.step >= steps and not self._means.state)

    def _batches(self, episodes: EpisodeSource | Iterable[Episode], meta_batch: int) -> Iterator[Episode]:
        if isinstance(episodes, EpisodeSource):
            return iter(self._fitting(self.replicas.batches(episodes, self.step * meta_batch, meta_batch)))
        context_fits = functools.partial(check_context, self.method.learner)
        checked = validated(episodes, self.problem, self.method.learner.example_inputs, context_fits)
        return map(self.replicas.of_process, itertools.islice(checked, self.step, None))

    def _fitting(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of a source, whose inputs are known to be such as the learner takes."""
        for part in batches.element_spec[:2]:
            check_shapes(self.method.learner.example_inputs, part.inputs, "inputs of episodes", ("tasks", "examples"))
        return batches

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that exact resumption needs: arrays by name, and a JSON object."""
        metadata = {
            "step": self.step,
            "stopped": self.stopped or (self._epoch_is_ending and self.host.stop_training),
            "means": self._means.state,
            "callbacks": self._callback_states.read(self._callbacks),
        }
        return named_values(self._variables()), metadata

    def restore(self, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
        """Continues from a `state`; callbacks get theirs back when `fit` begins.

        Raises:
          CheckpointError: if the state is another model's, or not a trainer's.
        """
        if missing := {"step", "stopped", "means", "callbacks"} - set(metadata):
            raise CheckpointError(f"this checkpoint is not from a trainer: it lacks {', '.join(sorted(missing))}.")
        assign_values(self._variables(), values)
        settle_constants(self.method.learner.extractor, self.method.learner.head)
        self.step = metadata["step"]
        self.stopped = metadata["stopped"]
        self._means.state = metadata["means"]
        self._restored = metadata["callbacks"]

    def _variables(self) -> dict[str, Sequence[keras.Variable]]:
        """Everything that a checkpoint holds, by group."""
        optimizers = {f"optimizer_{i}": one.variables for i, one in enumerate(self.meta_step.optimizers)}
        return {**self.method.all_variables(), **optimizers}
