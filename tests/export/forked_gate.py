"""What the gate runs in fresh processes, forked from one that has imported TensorFlow: where freshness is not tested.

As a program it is such a process: it forgets this project and runs a script with the arguments that follow.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from export.device import conversion
from export.errors import ExportError
from export.gate import parity
from tests.helpers.programs import run_programs


def run_forked(script: Path, arguments: Sequence[str], doing: str, failing: str) -> Any:
    """As `export.gate.fresh_process.run_fresh`."""
    del doing
    (done,) = run_programs([[__name__, str(script), *arguments]])
    if done.code:
        raise ExportError(f"a fresh process cannot {failing}: {done.err[-1000:]}")
    return done.last_json


@contextlib.contextmanager
def forked_gate() -> Iterator[None]:
    """Seconds less for each export."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (parity, conversion):
            patch.setattr(module, "run_fresh", run_forked)
        yield


if __name__ == "__main__":
    for name in [name for name in sys.modules if name.partition(".")[0] in ("cml_tf", "export")]:
        del sys.modules[name]
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
