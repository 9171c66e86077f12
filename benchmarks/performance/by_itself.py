"""Rows that measure our step by itself: memory, scaling, first steps, the exported call, the input pipeline."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.performance.building import build_method, build_step
from benchmarks.performance.contestant import exported, ours, running, spread, take_turns
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work
from cml_tf import datasets

_STEPS = (2, 5, 10, 20)
_TASKS = (1, 2, 4, 8, 32)
_MANY = 20


class Cost(NamedTuple):
    """Of a step: seconds (median), MiB resident at the peak and after the imports, seconds of the first step."""

    seconds: float
    peak: float
    imported: float
    first: float


def cost(work: Work, rounds: int = 2) -> Cost:
    """Measured in a process of its own."""
    with running(ours(work)) as contestant:
        seconds = spread([contestant.ask("step")["seconds"] for _ in range(rounds)]).median
        memory = contestant.ask("memory")
        return Cost(seconds, memory["peak"], memory["imported"], contestant.first_seconds)


def many_steps(row: str, rounds: int) -> list[Figure]:
    """20 rematerialised steps beside 1 and 20 plain ones, in turns; at 84x84, one task."""
    one = Work(size=84, channels=3, tasks=1)
    plain = replace(one, steps=_MANY)
    works = {"one": one, "plain": plain, "again": replace(plain, hypergradient="reverse_rematerialised")}
    with ExitStack() as stack:
        contestants = {name: stack.enter_context(running(ours(work))) for name, work in works.items()}
        times = take_turns(contestants, rounds)
        peaks = {name: contestant.ask("memory") for name, contestant in contestants.items()}
    seconds = {name: spread(values).median for name, values in times.items()}
    peak = {name: memory["peak"] for name, memory in peaks.items()}
    memory = (
        f"{peak['again']:.0f} of {peak['one']:.0f} MiB (imports {peaks['one']['imported']:.0f}; plain "
        f"{peak['plain']:.0f}); {one.label}"
    )
    slower = seconds["again"] / seconds["plain"]
    duration = f"{seconds['again']:.3g} of {seconds['plain']:.3g} s"
    return [
        Figure(row, "of the memory of 1 step", peak["again"] / peak["one"], "x", "at most", 2.0, memory),
        Figure(row, "of the time of plain 20 steps", slower, "x", "at most", 1.5, duration),
    ]


def scaling(row: str) -> list[Figure]:
    """Time and memory against tasks, and against steps, at 28x28."""
    by_tasks = {tasks: cost(Work(tasks=tasks)) for tasks in _TASKS}
    by_steps = {1: by_tasks[4], **{steps: cost(Work(steps=steps)) for steps in _STEPS}}
    chunked = {tasks: cost(Work(tasks=tasks, task_chunk=4)) for tasks in (4, 32)}
    return [
        _growth(row, "time a task, 32 beside 4 tasks", [by_tasks[n].seconds / n for n in (32, 4)], by_tasks),
        _growth(row, "time a step, 20 beside 5 steps", [by_steps[n].seconds / n for n in (20, 5)], by_steps),
        _growth(row, "memory over imports a step, 20 beside 5", _memory_a_unit(by_steps, 20, 5), by_steps),
        _growth(row, "memory over imports a task, 32 beside 4", _memory_a_unit(by_tasks, 32, 4), by_tasks),
        _growth(row, "memory, 32 beside 4 tasks, task_chunk 4", [chunked[n].peak for n in (32, 4)], chunked),
    ]


def _memory_a_unit(costs: dict[int, Cost], large: int, small: int) -> list[float]:
    return [(costs[n].peak - costs[n].imported) / n for n in (large, small)]


def _growth(row: str, name: str, pair: Sequence[float], costs: dict[int, Cost]) -> Figure:
    # Linear to within a quarter: what one run of a small machine can tell.
    details = {str(count): value._asdict() for count, value in costs.items()}
    return Figure(row, name, pair[0] / pair[1], "x", "at most", 1.25, "", details)


def exported_call(row: str, rounds: int) -> list[Figure]:
    """Adapt-and-predict as exported, beside the plain layers exported alike; 5 steps, 25 and 75 images, 28x28."""
    work = Work(tasks=1, steps=5)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        places = {name: Path(directory) / name for name in ("ours", "plain")}
        works = {"ours": work, "plain": replace(work, plain=True)}
        calls = {n: stack.enter_context(running(exported(works[n], places[n], n))) for n in places}
        take_turns(calls, 3)
        times = take_turns(calls, rounds)
    median = {name: spread(seconds).median for name, seconds in times.items()}
    note = f"{median['ours'] * 1e3:.1f} ms against {median['plain'] * 1e3:.1f} ms"
    return [Figure(row, "times the plain version", median["plain"] / median["ours"], "x", "at least", 1.4, note)]


def kernels(row: str, rounds: int) -> list[Figure]:
    """The step with oneDNN's kernels, beside TensorFlow's own."""
    with ExitStack() as stack:
        choices = {
            name: stack.enter_context(running(ours(Work(), name, {"TF_ENABLE_ONEDNN_OPTS": value})))
            for name, value in (("oneDNN", "1"), ("Eigen", "0"))
        }
        times = take_turns(choices, rounds)
    median = {name: spread(seconds).median for name, seconds in times.items()}
    note = f"{median['oneDNN'] * 1e3:.0f} ms against {median['Eigen'] * 1e3:.0f} ms"
    return [Figure(row, "times TensorFlow's own kernels", median["Eigen"] / median["oneDNN"], "x", note=note)]


def input_pipeline(row: str, steps: int) -> list[Figure]:
    """Which share of training is spent waiting for episodes of glyphs, 28x28."""
    work = Work()
    step = build_step(build_method(work), work)
    source = datasets.load("glyphs").episodes("train", ways=work.ways, shots=work.shots, queries=work.queries, seed=0)
    episodes = iter(source.batches(0, work.tasks))
    waited, whole = [], []
    for _ in range(steps):
        start = time.perf_counter()
        episode = next(episodes)
        waited.append(time.perf_counter() - start)
        result = step(episode)
        # As the trainer does: it reads the metrics of every step.
        [value.numpy() for value in result.metrics.values()]
        whole.append(time.perf_counter() - start)
    kept = slice(steps // 5, None)
    share = float(np.sum(waited[kept]) / np.sum(whole[kept]))
    details: dict[str, Any] = {
        "milliseconds": {"waited": np.mean(waited[kept]) * 1e3, "step": np.mean(whole[kept]) * 1e3}
    }
    return [Figure(row, "share of the step spent waiting", share, "", "under", 0.05, f"{steps} steps", details)]
