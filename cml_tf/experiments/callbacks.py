"""Keras callbacks of a run: metrics file, checkpoints, and stopping on request."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from cml_tf.system.files import named_faults, write_text
from cml_tf.training.checkpoints import write_checkpoint
from cml_tf.training.trainer import Trainer


class MetricsFile(keras.callbacks.Callback):
    """Appends one line a split to `metrics.jsonl` at the end of every epoch.

    When a run resumes, lines beyond its checkpoint are dropped first: they will be written again.
    """

    def __init__(self, path: Path, trainer: Trainer) -> None:
        super().__init__()
        self._path = path
        self._trainer = trainer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Drops lines from after the position that training starts at."""
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _step_of(line) <= self._trainer.step]
            if kept != lines:
                write_text(self._path, "".join(kept))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's metrics."""
        logs = logs or {}
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        with named_faults(self._path), self._path.open("a", encoding="utf-8") as file:
            for split, values in (("train", train), ("validation", validation)):
                if values:
                    file.write(json.dumps({"step": self._trainer.step, "split": split, **values}) + "\n")
            # The checkpoint that follows is synced: it must not outlive the lines that it goes with.
            file.flush()
            os.fsync(file.fileno())


class EpochEvents(keras.callbacks.TensorBoard):
    """Writes event files for TensorBoard, one point an epoch.

    Keras' own callback makes scalars of a step's metrics even where it writes epochs only. TensorFlow keeps each scalar
    of a new value for good: 3 KiB a step, a gigabyte in 350,000 steps.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Does nothing: neither steps nor graphs are written, nor is anything traced."""


class Checkpoints(keras.callbacks.Callback):
    """Saves `latest` after every epoch and at the end, and `best` when the validation score improves.

    It must come after all callbacks that keep a state, so that it saves what they have become. It is not called when
    training fails, so the last good checkpoint stays.

    Args:
      folder: where the files go.
      trainer: whose state is saved.
      higher_is_better: for the score.
      identity: JSON that is saved along (what data the run was trained on).
    """

    def __init__(self, folder: Path, trainer: Trainer, higher_is_better: bool, identity: dict[str, Any]) -> None:
        super().__init__()
        self._folder = folder
        self._trainer = trainer
        self._monitor = f"val_{trainer.problem.metric}"
        self._higher_is_better = higher_is_better
        self._identity = identity
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves."""
        score = (logs or {}).get(self._monitor)
        if score is not None and self._improves(score):
            self.best = score
            self._save("best", {"score": score})
        self._save("latest", {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Saves, in the middle of an epoch too."""
        self._save("latest", {})

    def _improves(self, score: float) -> bool:
        if self.best is None or math.isnan(self.best):
            return True
        return score > self.best if self._higher_is_better else score < self.best

    def _save(self, name: str, extra: dict[str, Any]) -> None:
        values, metadata = self._trainer.state()
        write_checkpoint(self._folder / f"{name}.npz", values, {**metadata, **self._identity, **extra})


class StopOnInterrupt(keras.callbacks.Callback):
    """Turns the first Ctrl-C (or SIGTERM) into a stop after the present step; a second one interrupts at once."""

    def __init__(self) -> None:
        super().__init__()
        self._requested = False
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes over the signals; they exist in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Asks the trainer to stop here."""
        if self._requested:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the signals back."""
        self.release()

    def release(self) -> None:
        """Gives the signals back; harmless when called again."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        self.release()


class PauseAt(keras.callbacks.Callback):
    """Pauses training at a time, which loses nothing: the next start of the run goes on from there.

    It pauses at the end of an epoch, after its validation, when another epoch would end too late; and after a step when
    the time has come.

    Args:
      deadline: on the clock; infinite until `pause_at` is called, by default.
      asked: is asked after each step whether to pause there, whatever the time.
      clock: seconds that only grow.
    """

    def __init__(
        self,
        deadline: float = math.inf,
        asked: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._deadline = deadline
        self._asked = asked
        self._clock = clock
        self._validation = 0.0
        self._began = self._first_ended = self._test_began = 0.0
        self._steps = 0

    def pause_at(self, deadline: float) -> None:
        """Sets another deadline, in the midst of training too."""
        self._deadline = deadline

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins to measure the epoch."""
        self._began, self._steps = self._clock(), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Asks the trainer to stop here, if it is time."""
        now = self._clock()
        self._steps += 1
        if self._steps == 1:
            self._first_ended = now
        late = now >= self._deadline
        if batch + 1 == self.params["steps"]:
            late = late or now + self._epoch(now) + 2 * self._validation > self._deadline
        if late or self._asked():
            self.model.stop_training = True

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins to measure the validation."""
        self._test_began = self._clock()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Measures the validation."""
        self._validation = self._clock() - self._test_began

    def _epoch(self, now: float) -> float:
        """How long the steps of another epoch would take; the first step is compiled in many starts."""
        if self._steps == 1:
            return (now - self._began) * self.params["steps"]
        return (now - self._first_ended) / (self._steps - 1) * self.params["steps"]


def _step_of(line: str) -> int:
    # A line cut short by a crash carries no step: it counts as beyond every checkpoint.
    if not line.endswith("\n"):
        return 2**63
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**63
