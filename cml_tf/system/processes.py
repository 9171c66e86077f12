"""Programs run side by side in processes of their own, which end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import FrameType
from typing import NoReturn

_PARENT = "CML_TF_PARENT_PROCESS"
_PARENT_SIGNAL = "CML_TF_PARENT_SIGNAL"
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Has the kernel tell this process to stop when the one that started it ends, even by SIGKILL.

    Does nothing in a process that was not started with `environment_of_child`.

    Raises:
      KeyboardInterrupt: if the parent has ended already.
    """
    parent = os.environ.get(_PARENT)
    if parent is None:
        return
    told = signal.Signals[os.environ.get(_PARENT_SIGNAL, "SIGTERM")]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, told)
    if os.getppid() != int(parent):
        raise KeyboardInterrupt


def environment_of_child(name: str = "SIGTERM") -> dict[str, str]:
    """The environment of a process that calls `end_with_parent`.

    Args:
      name: of the signal that it gets when this process ends: SIGTERM lets it save, and SIGKILL makes room at once for
        who takes its place.
    """
    return {**os.environ, _PARENT: str(os.getpid()), _PARENT_SIGNAL: name}


def run_side_by_side(
    commands: Mapping[str, Sequence[str]], at_a_time: int
) -> Generator[tuple[str, subprocess.CompletedProcess[str]]]:
    """Runs commands, `at_a_time` of them at once, and yields each with its name as it ends.

    When this is closed early (`contextlib.closing`), by Ctrl-C or SIGTERM too, no further one is started, those that
    run are told to stop once, as a supervisor does, and have ended when this has. For the main thread: others get no
    signals.

    Raises:
      KeyboardInterrupt: after Ctrl-C or SIGTERM.
    """
    children = _Children()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ThreadPoolExecutor(at_a_time) as pool:
            pending = {pool.submit(children.run, command): name for name, command in commands.items()}
            try:
                while pending:
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        yield pending.pop(future), future.result()
            finally:
                for future in pending:
                    future.cancel()
                children.stop()
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Children:
    """Processes that run now, each watched by a thread."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False
        self._lock = threading.Lock()

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs one to its end."""
        with self._lock:
            if self._stopping:
                raise RuntimeError("no more processes are started.")
            # In a session of its own it does not get the terminal's Ctrl-C: a second signal would not let it save.
            child = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                env=environment_of_child(),
            )
            self._running.add(child)
        out, err = child.communicate()
        with self._lock:
            self._running.discard(child)
        return subprocess.CompletedProcess(command, child.returncode, out, err)

    def stop(self) -> None:
        """Tells all that run to stop."""
        with self._lock:
            self._stopping = True
            for child in self._running:
                child.terminate()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
