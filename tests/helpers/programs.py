"""Running the project's programs as a user does: in processes of their own, from the root of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.helpers.forked_programs import ROOT, Program

# Native libraries write about processors and missing GPUs to a program's stderr before any of its own code runs.
_NATIVE_NOISE = ("WARNING: All log messages before absl::InitializeLog", "I0000 ", "W0000 ", "E0000 ")


class Finished(NamedTuple):
    """What a program left behind: exit code (negative: the signal that killed it) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """The lines on stderr, native libraries' remarks left out."""
        return [line for line in self.err.splitlines() if line and not line.startswith(_NATIVE_NOISE)]

    @property
    def last_json(self) -> dict:
        """The JSON object on the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


def environment() -> dict[str, str]:
    """Ours, with a terminal wide enough that tables are not cut."""
    return {**os.environ, "COLUMNS": "200", "TF_CPP_MIN_LOG_LEVEL": "3"}


def run_python(*arguments: str, **more: str) -> Finished:
    """Runs `python arguments` with more in its environment."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**environment(), **more}, capture_output=True, text=True, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


def run_program(module: str, *arguments: str) -> Finished:
    """Runs `python -m module arguments` to its end, in a fresh process."""
    return run_python("-m", module, *arguments)


def run_programs(calls: Sequence[Sequence[str]], directory: Path = ROOT) -> list[Finished]:
    """Runs many `[module, *arguments]` in a directory, each in a process of its own, one after the other.

    They are forked from one that has imported TensorFlow and done nothing with it, so that none need import it anew.
    """
    # Programs that they start, from wherever, find the project too.
    given = {**environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        out, errors = Path(scratch) / "out", Path(scratch) / "errors"
        for call in calls:
            code = Program(list(call), out, errors, given, directory).wait()
            results.append(Finished(code, out.read_text(), errors.read_text()))
    return results
