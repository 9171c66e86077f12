"""Keras callbacks of a run: metrics file, checkpoints, and stopping on request."""

from __future__ import annotations

import errno
import hashlib
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

from cml_tf.experiments.stored import LATEST, earlier_checkpoint, earlier_checkpoints
from cml_tf.system.files import keep_another, named_faults, write_bytes
from cml_tf.training.checkpoints import write_checkpoint
from cml_tf.training.trainer import Trainer


class MetricsFile(keras.callbacks.Callback):
    """Appends one line a split to `metrics.jsonl` at the end of every epoch.

    When a run resumes, lines beyond its checkpoint are dropped first: they will be written again. Its state is how much
    is written, and the SHA-256 of it.
    """

    def __init__(self, path: Path, trainer: Trainer) -> None:
        super().__init__()
        self._path = path
        self._trainer = trainer
        self._bytes, self._digest = 0, hashlib.sha256()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Drops lines from after the position that training starts at."""
        kept: list[bytes] = []
        if self._path.exists():
            lines = self._path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _step_of(line) <= self._trainer.step]
            if kept != lines:
                write_bytes(self._path, b"".join(kept))
        self._bytes, self._digest = sum(map(len, kept)), hashlib.sha256(b"".join(kept))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's metrics."""
        logs = logs or {}
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        lines = "".join(
            json.dumps({"step": self._trainer.step, "split": split, **values}) + "\n"
            for split, values in (("train", train), ("validation", validation))
            if values
        ).encode()
        with named_faults(self._path), self._path.open("ab") as file:
            file.write(lines)
            # The checkpoint that follows is synced: it must not outlive the lines that it goes with.
            file.flush()
            os.fsync(file.fileno())
        self._bytes += len(lines)
        self._digest.update(lines)

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes nothing: the file itself says how much there is (`cml_tf.experiments.stored.check_metrics`)."""


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
      identity: JSON that is saved along (the configuration, and what data the run was trained on).
      keep: how many of the latest are kept, the very latest included.
      sound: whether `latest` was read when this training began, so that it is worth keeping.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        higher_is_better: bool,
        identity: dict[str, Any],
        keep: int = 1,
        sound: bool = False,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._trainer = trainer
        self._monitor = f"val_{trainer.problem.metric}"
        self._higher_is_better = higher_is_better
        self._identity = identity
        self._keep = keep
        self._latest = trainer.step if sound else None
        self.best: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the folder: one that is gone later is an error, and not made anew without what belongs beside it."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves."""
        score = (logs or {}).get(self._monitor)
        if score is not None and self._improves(score):
            self.best = score
            self._save("best", {"score": score})
        self._save_latest()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Saves, in the middle of an epoch too."""
        self._save_latest()

    def _improves(self, score: float) -> bool:
        if self.best is None or math.isnan(self.best):
            return True
        return score > self.best if self._higher_is_better else score < self.best

    def _save_latest(self) -> None:
        step, path = self._trainer.step, self._folder / LATEST
        if self._keep > 1 and self._latest is not None and self._latest != step:
            keep_another(path, earlier_checkpoint(self._folder, self._latest))
        self._save("latest", {})
        self._latest = step
        earlier = earlier_checkpoints(self._folder)
        for old in earlier[: max(0, len(earlier) - self._keep + 1)]:
            old.unlink(missing_ok=True)

    def _save(self, name: str, extra: dict[str, Any]) -> None:
        if not self._folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._folder))
        values, metadata = self._trainer.state()
        write_checkpoint(self._folder / f"{name}.npz", values, {**metadata, **self._identity, **extra})


class StopOnInterrupt(keras.callbacks.Callback):
    """Turns the first Ctrl-C (or SIGTERM) into a stop after the present step; a second one interrupts at once.

    In a validation it stops after the present batch: the validation is made again when training goes on. Before the
    first step of this start there is nothing to save, so that it interrupts at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requested = False
        self._began = False
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
        self._began = True
        if self._requested:
            self.model.stop_training = True

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Likewise."""
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
        if not self._began:
            raise KeyboardInterrupt


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


def _step_of(line: bytes) -> int:
    # A line cut short by a crash carries no step: it counts as beyond every checkpoint.
    if not line.endswith(b"\n"):
        return 2**63
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**63
