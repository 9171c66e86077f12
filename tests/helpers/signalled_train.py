"""The training program, which meets a signal at a given step: signalled_train SIGNAL STEP [flags of cml_tf.train]."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from typing import Any

import keras

from cml_tf.experiments import runs
from cml_tf.training.trainer import Trainer


class SignalAt(keras.callbacks.Callback):
    """Sends a signal to its own process after a step."""

    def __init__(self, trainer: Trainer, number: int, step: int) -> None:
        super().__init__()
        self._trainer = trainer
        self._number = number
        self._step = step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sends it."""
        if self._trainer.step == self._step:
            os.kill(os.getpid(), self._number)


def main() -> None:
    """Runs the program with one callback more, after all others: their positions are part of a checkpoint."""
    name, step = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    original = runs._callbacks

    def with_signal(experiment: Any, *arguments: Any) -> Iterator[keras.callbacks.Callback]:
        yield from original(experiment, *arguments)
        yield SignalAt(experiment.trainer, signal.Signals[name], step)

    runs._callbacks = with_signal
    runpy.run_module("cml_tf.train", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
