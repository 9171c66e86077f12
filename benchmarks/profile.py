"""Where the time goes: `python -m benchmarks.profile [--what=step --size=84 --channels=3 --steps=1 --by=op|layer]`.

Of a meta-step of images, of one of sine waves (`--what=sine_waves`), or of adapt-and-predict as exported, for one task
(`--what=exported_call`).

Times are summed over threads, so their sum may exceed the time of the step. A fused operation counts for the layer of
its first original operation. Prints a table, and one JSON object as the last line.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from absl import flags
from rich.table import Table

from benchmarks.op_times import grouped, traced
from benchmarks.performance.child import ExportedCall, StepOfOurs
from benchmarks.performance.work import SINE_WAVES, Work
from benchmarks.told import tell
from cml_tf.registry import members
from cml_tf.system.command_line import run

_WHAT = flags.DEFINE_enum("what", "step", ["step", "sine_waves", "exported_call"], "What is profiled.")
_SIZE = flags.DEFINE_integer("size", 84, "Height and width of images.", 16)
_CHANNELS = flags.DEFINE_integer("channels", 3, "Channels of images.", 1)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block.", 1)
_STEPS = flags.DEFINE_integer("steps", 1, "Inner steps.", 0)
_TASKS = flags.DEFINE_integer("tasks", 4, "Tasks in the meta-batch.", 1)
_CHUNK = flags.DEFINE_integer("task_chunk", 0, "Tasks processed at a time; 0 for automatic.", 0)
_HYPERGRADIENT = flags.DEFINE_enum(
    "hypergradient", "reverse", list(members("hypergradient")), "Method for the meta-gradient."
)
_POLICY = flags.DEFINE_enum("dtype_policy", "float32", ["float32", "mixed_bfloat16"], "Dtype policy of the layers.")
_PLAIN = flags.DEFINE_bool("plain", False, "Use the plain layers of benchmarks.peers.plain.")
_BY = flags.DEFINE_enum(
    "by", "op", ["op", "layer"], "Rows of the table: operations or layers; the JSON object has both."
)
_RUNS = flags.DEFINE_integer("runs", 3, "Steps to average over.", 1)
_ROWS = flags.DEFINE_integer("rows", 25, "Number of rows in the table.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Profiles and prints."""
    del arguments
    work = Work(
        size=_SIZE.value,
        channels=_CHANNELS.value,
        filters=_FILTERS.value,
        steps=_STEPS.value,
        tasks=_TASKS.value,
        task_chunk=_CHUNK.value,
        hypergradient=_HYPERGRADIENT.value,
        dtype_policy=_POLICY.value,
        plain=_PLAIN.value,
    )
    if _WHAT.value == "sine_waves":
        work = SINE_WAVES
    elif _WHAT.value == "exported_call":
        work = replace(work, tasks=1)
    with tempfile.TemporaryDirectory() as directory:
        once = ExportedCall(work, Path(directory)) if _WHAT.value == "exported_call" else StepOfOurs(work)
    once()
    once()
    start = time.perf_counter()
    once()
    seconds = time.perf_counter() - start
    times = traced(once, _RUNS.value)
    by = {kind: grouped(times, kind) for kind in ("op", "layer")}
    result = {
        "what": _WHAT.value,
        "work": vars(work),
        "seconds": seconds,
        **{f"by_{kind}": rows for kind, rows in by.items()},
    }
    tell(table(by[_BY.value][: _ROWS.value], sum(time.seconds for time in times), work, seconds), result, _OUTPUT.value)


def table(rows: list[tuple[str, float, float]], total: float, work: Work, seconds: float) -> Table:
    """The groups that take longest."""
    drawn = Table("", "ms", "share", "times", title=f"{work.label}: {seconds * 1e3:.1f} ms", title_justify="left")
    for group, taken, count in rows:
        drawn.add_row(group, f"{taken * 1e3:.1f}", f"{taken / total:.1%}", f"{count:.0f}")
    drawn.caption = f"{total * 1e3:.0f} ms in all, summed over threads"
    return drawn


if __name__ == "__main__":
    run(main)
