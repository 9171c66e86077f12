"""A training that dies at a chosen moment, as by `kill -9`: between two calls of a write, or when its time comes.

Starts are forked from a process that has imported TensorFlow and done nothing with it, which saves each some seconds.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks.reliability.loopback import tf_configs
from cml_tf.experiments.callbacks import MetricsFile
from cml_tf.experiments.configuration import load_config
from cml_tf.experiments.runs import train_run
from cml_tf.experiments.strategies import TF_CONFIG, chosen_replicas
from cml_tf.system.command_line import LOST

MOMENTS = ("opened", "half", "written", "synced", "renamed", "kept", "torn line")
"""Where in a write a training may die; `half` and `torn line` have half of a checkpoint, or of a line, on the disk."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


class Death(NamedTuple):
    """When a training is killed.

    Attributes:
      moment: one of `MOMENTS`, or empty: at a time.
      after: how many such moments it survives, or seconds from its start.
    """

    moment: str
    after: float


class Kind(NamedTuple):
    """A training that is to survive.

    Attributes:
      source: configuration file with words.
      changes: of the configuration, by dotted key.
      processes: how many share its tasks.
    """

    source: str
    changes: dict[str, Any]
    processes: int = 1


_WAVES = "configs/sinusoid.py:cml,5shot,smoke,meta_sgd"
_SMALL = {"learner.hidden": (8, 8), "train.clip_norm": 1.0, "train.validate_every": 3, "train.patience": 60}
KINDS = {
    "waves": Kind(_WAVES, {**_SMALL, "train.steps": 150}),
    "workers": Kind(_WAVES, {**_SMALL, "train.steps": 60}, processes=2),
    "glyphs": Kind(
        "configs/glyphs.py:smoke",
        {
            **{"dataset.ways": 3, "learner.filters": 4, "train.steps": 40, "train.validate_every": 2},
            **{"train.validation_episodes": 8},
        },
    ),
}


def train(kind: str, workdir: Path, death: Death | None, victim: int = 0) -> bool:
    """Starts a training and waits for its end; True if it was not killed.

    Args:
      kind: a key of `KINDS`.
      workdir: of the run.
      death: of one of its processes.
      victim: which one; the first alone writes.

    Raises:
      RuntimeError: if it failed.
    """
    clusters = tf_configs(KINDS[kind].processes)
    deaths = [death if index == victim else None for index in range(len(clusters))]
    calls = [(kind, workdir, *own) for own in zip(deaths, clusters, strict=True)]
    started = [_FORKS.Process(target=_train, args=call) for call in calls]
    for process in started:
        process.start()
    for process in started:
        process.join()
    codes = [process.exitcode for process in started]
    killed = codes.pop(victim) if codes[victim] == -signal.SIGKILL else 0
    # What lost another process says so, unless it had nothing left to do with it.
    if not set(codes) <= ({0, LOST, -signal.SIGUSR1} if killed else {0}):
        raise RuntimeError(f"a start of {workdir} ended with exit codes {codes}.")
    return not killed


def _train(kind: str, workdir: Path, death: Death | None, cluster: str) -> None:
    config = load_config(KINDS[kind].source)
    config.update_from_flattened_dict(KINDS[kind].changes)
    if death is not None and death.moment:
        _die_in_a_write(death)
    elif death is not None:
        timer = threading.Timer(death.after, _die)
        timer.daemon = True
        timer.start()
    words = []
    if KINDS[kind].processes > 1:
        os.environ[TF_CONFIG], words = cluster, ["--strategy=multi_worker", "--worker_wait=120"]
    flags.FLAGS(["killed_training", *words])
    with chosen_replicas() as replicas:
        train_run(config, workdir, 0, (), replicas)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_a_write(death: Death) -> None:
    left = iter(range(int(death.after), -1, -1))

    def dying(function: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            last = next(left) == 0
            if last and before:
                _die()
            result = function(*arguments, **named)
            if last:
                _die()
            return result

        return called

    holder, name, before = {
        "opened": (tempfile, "mkstemp", False),
        "half": (np, "savez", False),
        "written": (os, "fsync", True),
        "synced": (os, "replace", True),
        "renamed": (os, "replace", False),
        "kept": (os, "link", False),
        "torn line": (MetricsFile, "on_epoch_end", False),
    }[death.moment]
    function = {"half": _half_an_archive, "torn line": _half_a_line}.get(death.moment, getattr(holder, name))
    if death.moment in ("half", "torn line"):
        function = _whole_until_the_last(getattr(holder, name), function, int(death.after))
    setattr(holder, name, dying(function, before))


def _whole_until_the_last(whole: Callable[..., Any], half: Callable[..., Any], last: int) -> Callable[..., Any]:
    calls = iter(range(last + 1))
    return lambda *arguments, **named: (half if next(calls) == last else whole)(*arguments, **named)


def _half_an_archive(file: Any, _savez: Callable[..., Any] = np.savez, **arrays: Any) -> None:
    content = io.BytesIO()
    _savez(content, **arrays)
    file.write(content.getvalue()[: len(content.getvalue()) // 2])
    file.flush()


def _half_a_line(callback: MetricsFile, epoch: int, logs: dict[str, Any] | None = None) -> None:
    del epoch, logs
    with callback._path.open("a") as file:
        file.write('{"step": 12, "split": "trai')
