"""Runs one of our scripts in a process that knows nothing of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.errors import ExportError

_SECONDS = 1800


def run_fresh(script: Path, arguments: Sequence[str], doing: str, failing: str) -> Any:
    """The JSON in the last line of what a script prints; -I leaves out the current directory and PYTHONPATH.

    Args:
      script: that imports nothing of this project.
      arguments: of it.
      doing: what takes too long, if it does.
      failing: what a fresh process could not do, if it ends with an error.

    Raises:
      ExportError: if it ends with an error, or too late.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(script), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{doing} took longer than {_SECONDS} s. Nothing was published.") from error
    if done.returncode:
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = " ".join(done.stderr.strip().splitlines()[-3:])
        raise ExportError(f"a fresh process cannot {failing} ({reason}): {last} Nothing was published.")
    return json.loads(done.stdout.strip().splitlines()[-1])
