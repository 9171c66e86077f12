"""SIGTERM, with which schedulers cancel a job, undoes a rollout as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first Ctrl-C or SIGTERM interrupts; after that only Ctrl-C does. For the main thread.

    Raises:
      KeyboardInterrupt: where a signal comes.
    """
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Who cancels a job often sends SIGINT and SIGTERM, one after the other: the second must not stop the restoring.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
