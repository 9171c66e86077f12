"""Draws the committed `scaling` row: `python -m benchmarks.performance.plots --drawing=docs/images/scaling.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.axes import Axes

from benchmarks.performance.results import COMMITTED, read_result
from cml_tf.studies.pictures.style import colours, house_style, new_figure, write_png
from cml_tf.system.command_line import fail, run

_PICTURE = flags.DEFINE_string("drawing", "docs/images/scaling.png", "PNG file of the drawing.")
# By name of the figure that has the series in its details.
_TASKS, _STEPS = "time a task, 32 beside 4 tasks", "time a step, 20 beside 5 steps"
_CHUNKED = "memory, 32 beside 4 tasks, task_chunk 4"
Costs = dict[str, dict[str, float]]


def main(arguments: list[str]) -> None:
    """Draws time and memory against tasks and inner steps."""
    del arguments
    result = read_result(COMMITTED)
    series = details(result) if result else {}
    if set(series) != {_TASKS, _STEPS, _CHUNKED}:
        fail(
            f"{COMMITTED} has no row `scaling`: measure it with python -m benchmarks.performance.run --only=scaling "
            f"--output={COMMITTED}."
        )
    with house_style():
        figure = new_figure(8, 5)
        (seconds_by_tasks, seconds_by_steps), (memory_by_tasks, memory_by_steps) = figure.subplots(2, 2)
        _draw(seconds_by_tasks, {"": series[_TASKS]}, "seconds", "tasks in the meta-batch", "seconds a meta-step")
        _draw(seconds_by_steps, {"": series[_STEPS]}, "seconds", "inner steps", "seconds a meta-step")
        chunks = {"task_chunk 0 (chosen)": series[_TASKS], "task_chunk 4": series[_CHUNKED]}
        _draw(memory_by_tasks, chunks, "peak", "tasks in the meta-batch", "peak, MiB")
        _draw(memory_by_steps, {"": series[_STEPS]}, "peak", "inner steps", "peak, MiB")
    write_png(figure, Path(_PICTURE.value))


def details(result: dict[str, Any]) -> dict[str, Costs]:
    """What was measured for each count, by name of the figure."""
    figures = [figure for figure in result["figures"] if figure["row"] == "scaling"]
    return {figure["name"]: figure["details"] for figure in figures if figure["name"] in (_TASKS, _STEPS, _CHUNKED)}


def _draw(axes: Axes, series: dict[str, Costs], what: str, across: str, up: str) -> None:
    for (name, costs), colour in zip(series.items(), colours(["first", "second"]).values(), strict=False):
        counts = sorted(map(int, costs))
        axes.plot(counts, [costs[str(count)][what] for count in counts], "o-", color=colour, label=name)
    axes.set(xlabel=across, ylabel=up)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if len(series) > 1:
        axes.legend()


if __name__ == "__main__":
    run(main)
