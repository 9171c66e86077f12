"""Running the project's programs as a user does: in processes of their own, from the root of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
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
    """Runs many `[module, *arguments]`, each in a process of its own that need not import TensorFlow anew.

    The processes are forked, one after the other, from one that has imported it and done nothing with it. They run in
    `directory`.
    """
    command = [sys.executable, "-m", "tests.helpers.forked_programs"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = {**environment(), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        command, cwd=directory, env=given, input=json.dumps(calls), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the forking process failed:\n{done.stderr}")
    return [Finished(**finished) for finished in json.loads(done.stdout.splitlines()[-1])]
