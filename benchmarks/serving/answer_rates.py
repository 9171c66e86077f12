"""Answers a second, of one caller and of many at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.table import Table

from benchmarks.serving.paired_latency import Call


def rate(calls: Sequence[Call], seconds: float) -> float:
    """Answers a second, where each call is made again and again by a thread of its own for so long.

    Raises:
      Exception: whatever a call raises.
    """
    end = time.perf_counter() + seconds

    def answers(call: Call) -> int:
        count = 0
        while True:
            call()
            if time.perf_counter() > end:
                return count
            count += 1

    with ThreadPoolExecutor(len(calls)) as threads:
        return sum(threads.map(answers, calls)) / seconds


def report(rates: dict[str, np.ndarray]) -> dict:
    """The figures: medians over rounds of both ways, and of their ratios.

    Args:
      rates: of each model answers a second in process and served, `[rounds, 2]`.
    """
    models = {
        name: {
            "in_process": round(float(np.median(of_model[:, 0])), 2),
            "served": round(float(np.median(of_model[:, 1])), 2),
            "served_over_in_process": round(float(np.median(of_model[:, 1] / of_model[:, 0])), 3),
        }
        for name, of_model in rates.items()
    }
    return {"rounds": len(next(iter(rates.values()))), "tasks_per_second": models}


def table(result: dict) -> Table:
    """The figures, to be read; `result` is a report with the numbers of clients and filters."""
    title = f"{result['clients']} clients, {result['filters']} filters, {result['rounds']} rounds"
    drawn = Table("tasks a second", "one caller in process", "served", "ratio", title=title)
    for name, row in result["tasks_per_second"].items():
        figures = (f"{row['in_process']:.1f}", f"{row['served']:.1f}", f"{row['served_over_in_process']:.2f}")
        drawn.add_row(name, *figures)
    return drawn
