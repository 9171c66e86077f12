"""A second process of the quickstart: a training or an export keeps little more than one core busy."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor

from cml_tf.system.processes import end_with_parent, environment_of_child


@contextlib.contextmanager
def second_process() -> Iterator[Executor]:
    """What is submitted runs in one other process, which has ended when this has.

    Where this ends with an error, Ctrl-C among them, the other process is told to stop, as by a supervisor: a training
    saves. It is told so too when this process is killed.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawning, initializer=_begin, initargs=(environment_of_child(),)) as pool:
        number = pool.submit(os.getpid)
        try:
            yield pool
        except BaseException:
            # Unless it has ended itself.
            with contextlib.suppress(ProcessLookupError, BrokenExecutor):
                os.kill(number.result(), signal.SIGTERM)
            raise


def _begin(environment: Mapping[str, str]) -> None:
    # In a session of its own it does not get the terminal's Ctrl-C: a second signal would not let it save.
    os.setsid()
    os.environ.update(environment)
    end_with_parent()
