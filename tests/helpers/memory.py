"""Memory of this process while it does something."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.performance.resident import resident


def growth(work: Callable[[], object]) -> float:
    """MiB by which the peak during `work` was above what the process held before."""
    # The kernel then takes the peak from now on (proc(5)).
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    if before["peak"] > before["now"] + 1:
        pytest.skip("this kernel does not let a process begin its peak of memory anew")
    work()
    return resident()["peak"] - before["now"]
