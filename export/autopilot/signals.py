"""Ctrl-C and SIGTERM ask an autopilot to end with what it has; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Signals:
    """Within it, the first signal is a request; the second does what signals do."""

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def ask(self) -> None:
        """Notes a signal that somebody else took."""
        self._asked = True
        self._release()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.ask()

    def _release(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
