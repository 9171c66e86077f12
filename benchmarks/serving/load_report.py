"""The figures of a load."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks.serving.load import Answered, Load
from benchmarks.serving.memory import figures

_PERCENTILES = (50, 95, 99)
# The allocator's own ups and downs; a leak of one small answer in a hundred requests is more than this.
_TOLERATED_MIB_PER_MINUTE = 2.0


def report(done: Load, clients: int) -> dict:
    """The figures: latencies in milliseconds by protocol and kind, tasks a second, memory of the server."""
    groups: dict[str, list[Answered]] = defaultdict(list)
    for answer in done.answered:
        groups[f"{answer.protocol}, {answer.kind}"].append(answer)
    return {
        "clients": clients,
        "seconds": round(done.seconds, 1),
        "answers": len(done.answered),
        "tasks_per_second": _rate(done.answered, done.seconds),
        "errors": done.errors,
        "kinds": {name: _figures(group, done.seconds) for name, group in sorted(groups.items())},
        **figures(done.memory, _TOLERATED_MIB_PER_MINUTE),
    }


def _figures(group: Sequence[Answered], seconds: float) -> dict:
    times = np.array([answer.seconds for answer in group]) * 1e3
    percentiles = {f"p{share}": round(float(np.percentile(times, share)), 1) for share in _PERCENTILES}
    return {"answers": len(group), **percentiles, "tasks_per_second": _rate(group, seconds)}


def _rate(group: Sequence[Answered], seconds: float) -> float:
    return round(sum(answer.tasks for answer in group) / seconds, 2)


def table(result: dict) -> Table:
    """The same, to be read."""
    columns = ("milliseconds", "answers", *(f"p{share}" for share in _PERCENTILES), "tasks/s")
    drawn = Table(*columns, title=f"{result['clients']} clients, {result['seconds']} s, {result['answers']} answers")
    for name, row in result["kinds"].items():
        shares = (f"{row[f'p{share}']:.1f}" for share in _PERCENTILES)
        drawn.add_row(name, str(row["answers"]), *shares, f"{row['tasks_per_second']:.1f}")
    grown = result["memory_slope_mib_per_minute"]
    line = (
        "too short for a slope" if grown is None else f"{grown:+.2f} ± {result['memory_slope_ci95']:.2f} MiB a minute"
    )
    drawn.caption = f"{len(result['errors'])} errors; memory {result['memory_mib']['last']:.0f} MiB, {line}"
    return drawn
