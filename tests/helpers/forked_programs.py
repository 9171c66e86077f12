"""Processes forked from one that has imported TensorFlow and done nothing with it: seconds less for each start."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FORKS = multiprocessing.get_context("forkserver")
# What programs import, but none of them: their flags cannot be defined twice.
_PROGRAMS = ("cml_tf.experiments.runs", "cml_tf.system.command_line")
_FORKS.set_forkserver_preload([*_PROGRAMS, "export.server.embedded", "export.server.tensorflow_serving", __name__])


class Program:
    """`python -m words` in a directory, as far as tests need a `subprocess.Popen`; its output goes to files."""

    def __init__(
        self, words: list[str], out: Path, errors: Path, environment: Mapping[str, str] = os.environ, directory=ROOT
    ) -> None:
        given = (words, str(out), str(errors), dict(environment), str(directory))
        self._process = _FORKS.Process(target=_run, args=given, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"the process did not end within {timeout} s"
        return self._process.exitcode

    def send_signal(self, number: int = signal.SIGKILL) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def called(function, *arguments):
    """What a function gives in a process of its own."""
    with futures.ProcessPoolExecutor(1, mp_context=_FORKS) as pool:
        return pool.submit(function, *arguments).result(120)


def _run(words: list[str], out: str, errors: str, environment: dict[str, str], directory: str) -> None:
    for path, descriptor in ((out, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    # As Python itself does when it starts.
    sys.path[:0] = [directory, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
