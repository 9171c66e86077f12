"""Memory of this process while it does something."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.performance.resident import resident


def growth(work: Callable[[], object]) -> float:
    """MiB by which the peak during `work` was above what the process held before."""
    # The kernel then takes the peak from now on (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()["now"]
    work()
    return resident()["peak"] - before
