"""Trains a candidate for some seconds, and writes down what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cml_tf.datasets import EpisodeSource
from cml_tf.errors import Interrupted
from cml_tf.experiments.callbacks import PauseAt
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import CHECKPOINTS, evaluation_method, load_run, train_run
from cml_tf.training.evaluator import Diverged, Evaluator
from cml_tf.training.meta_step import NonFiniteLoss
from export.autopilot.candidates import VALIDATION_EPISODES, Candidate
from export.autopilot.journal import Budget, Journal, Point
from export.autopilot.signals import Signals
from export.autopilot.survey import Survey

# What ends one candidate and says nothing about the others.
_OWN_FAULTS = (NonFiniteLoss, Diverged, tf.errors.ResourceExhaustedError)


class Trials:
    """Trains candidates, each in a run of its own, which resumes exactly.

    Args:
      workdir: gets `runs/NAME` for each.
      found: the pictures.
      seed: of all runs.
      journal: gets steps, times and scores, and is saved.
      budget: the time.
      signals: that end a training.
      tell: is told each score in a line.
    """

    def __init__(
        self,
        workdir: Path,
        found: Survey,
        seed: int,
        journal: Journal,
        budget: Budget,
        signals: Signals,
        tell: Callable[[str], None],
    ) -> None:
        self._workdir = workdir
        self._survey = found
        self._seed = seed
        self._journal = journal
        self._budget = budget
        self._signals = signals
        self._tell = tell

    def directory(self, name: str) -> Path:
        """Of a candidate's run."""
        return self._workdir / "runs" / name

    def checkpoint(self, name: str) -> str:
        """The one of a candidate's checkpoints that counts: `best`, or `latest` before the first validation.

        Empty for a candidate that failed before it had any.
        """
        kept = self.directory(name) / CHECKPOINTS
        return next((one for one in ("best", "latest") if (kept / f"{one}.npz").is_file()), "")

    def train(self, candidate: Candidate, seconds: Callable[[], float]) -> bool:
        """Goes on with a candidate.

        Args:
          candidate: begun or not.
          seconds: is asked after the first step for how much longer; 0 or less for no further step.

        Returns:
          Whether it could go on; the journal says why not.
        """
        name, journal, clock = candidate.name, self._journal, self._budget.clock
        began, before = clock(), journal.trained.get(candidate.name, 0.0)
        pause = PauseAt(asked=self._signals.asked, clock=clock)
        further: list[float] = []

        def first_step() -> None:
            further.append(seconds())
            pause.pause_at(clock() + further[0])

        watch = _Watch(self, name, began, clock, first_step)
        fault = ""
        keras.backend.clear_session()
        try:
            experiment = train_run(candidate.config(self._survey, self._seed), self.directory(name), 0, [watch, pause])
            # A single step is not worth the time of a score.
            if further and further[0] > 0 and name not in journal.scores() and not self._signals.asked():
                self._score(name, began, experiment)
        except Interrupted:
            self._signals.ask()
        except _OWN_FAULTS as error:
            fault = journal.left_out[name] = f"failed: {str(error).splitlines()[0]}"
            self._tell(f"{name} {fault}")
        finally:
            if watch.steps:
                journal.trained[name] = before + clock() - began
            journal.spent = self._budget.spent
            journal.save(self._workdir)
        return not fault

    def test_episodes(self, name: str) -> EpisodeSource:
        """The episodes that a candidate is tested on, which are the same for all."""
        return load_run(self.directory(name), self.checkpoint(name)).episodes("test")

    def validated(self, name: str, began: float, accuracy: float) -> None:
        """Notes and tells a score of a candidate whose present start began then."""
        seconds = self._journal.trained.get(name, 0.0) + self._budget.clock() - began
        self._journal.points.append(Point(name, self._journal.steps[name], seconds, accuracy))
        self._journal.spent = self._budget.spent
        self._journal.save(self._workdir)
        self._tell(f"{name}: {100 * accuracy:.1f} % on validation classes after {self._journal.steps[name]} steps")

    def started(self, name: str, seconds: float) -> None:
        """Notes how long a start took."""
        self._journal.starts[name] = seconds
        self._journal.steps.setdefault(name, 0)

    def stepped(self, name: str) -> None:
        """Notes a step."""
        self._journal.steps[name] += 1

    def timed(self, name: str, seconds: float) -> None:
        """Notes how long an episode took in a validation, of which the first one compiles."""
        self._journal.episode[name] = min(seconds, self._journal.episode.get(name, seconds))

    def _score(self, name: str, began: float, experiment: Experiment) -> None:
        """On the validation episodes, for a candidate whose time was too short for a validation of its own."""
        asked = self._budget.clock()
        evaluator = Evaluator(evaluation_method(experiment), experiment.problem.metric)
        found = evaluator.evaluate(experiment.episodes("validation"), VALIDATION_EPISODES, self._seed)
        self.timed(name, (self._budget.clock() - asked) / VALIDATION_EPISODES)
        self.validated(name, began, found.mean)


class _Watch(keras.callbacks.Callback):
    """Tells trials of a training's starts, steps and validations."""

    def __init__(
        self, trials: Trials, name: str, began: float, clock: Callable[[], float], first_step: Callable[[], None]
    ) -> None:
        super().__init__()
        self._trials = trials
        self._name = name
        self._start_began = began
        self._clock = clock
        self._first_step = first_step
        self._test_began = 0.0
        self._steps = 0

    @property
    def steps(self) -> int:
        """That were made."""
        return self._steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts."""
        if not self._steps:
            self._trials.started(self._name, self._clock() - self._start_began)
        self._steps += 1
        self._trials.stepped(self._name)
        if self._steps == 1:
            self._first_step()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins to measure."""
        self._test_began = self._clock()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measures; a validation that was broken off, which has no score, took less than its time."""
        if not logs:
            return
        self._trials.timed(self._name, (self._clock() - self._test_began) / VALIDATION_EPISODES)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes the score."""
        accuracy = (logs or {}).get("val_accuracy")
        if accuracy is not None:
            self._trials.validated(self._name, self._start_began, float(accuracy))
