"""The speed and memory of the meta-step: `python -m benchmarks.performance.run [--only=ROW ...] [--output=FILE]`.

Each contestant has its own process; they take turns, so ratios are of one run on one machine. Use `make benchmark`,
which first creates the environment of the peer. Prints a table with targets and with the figures of the committed
result (`benchmarks/performance/results.json`). `--output` writes the JSON object after every row; rows that were not
measured again are copied from the committed result of the same machine. A row that fails is reported, the others
continue, and the exit code is 2.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from absl import flags
from rich.console import Console

from benchmarks.performance.against_peer import half_precision, large_images, speed_and_memory, times_the_peer
from benchmarks.performance.by_itself import exported_call, input_pipeline, kernels, many_steps, scaling
from benchmarks.performance.contestant import ContestantError
from benchmarks.performance.equality import UnequalError
from benchmarks.performance.first_step import first_steps
from benchmarks.performance.matrix_rate import gemm_gflops
from benchmarks.performance.nodes import beside_the_peer, by_itself, propagated_once
from benchmarks.performance.results import COMMITTED, Figure, merged, read_result, result, table
from benchmarks.performance.work import CORA, LARGE_GRAPH, SINE_WAVES, Work
from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_json
from cml_tf.system.machine import leave_out_broken_amx, machine

_FIVE_STEPS = Work(size=84, channels=3, steps=5)
# Summed losses are the graphs of four tasks at once: slower at 84x84, and too much memory on a large graph.
_ONE_BY_ONE = ("per_task",)
# The peer takes minutes for four tasks of 20 inner steps on it.
_LIGHTER = replace(LARGE_GRAPH, tasks=1, steps=5)
Row = Callable[[str], list[Figure]]
ROWS: dict[str, Row] = {
    "84x84_1_step": lambda row: large_images(row, 4.5, rounds=3),
    "84x84_5_steps": lambda row: speed_and_memory(row, _FIVE_STEPS, 3.0, rounds=2),
    "28x28_1_step": lambda row: times_the_peer(row, Work(), 2.5, rounds=9),
    "84x84_bfloat16": lambda row: half_precision(row, 2, "amx_bf16" in machine()["flags"]),
    "memory_20_steps": lambda row: many_steps(row, rounds=2),
    "scaling": scaling,
    "first_step": first_steps,
    "adapt_and_predict": lambda row: exported_call(row, rounds=20),
    "sinusoid": lambda row: times_the_peer(row, SINE_WAVES, 8.0, rounds=20),
    "kernels": lambda row: kernels(row, rounds=9),
    "input_pipeline": lambda row: input_pipeline(row, steps=30),
    "nodes_cora": lambda row: beside_the_peer(row, CORA, rounds=5),
    "nodes_large": lambda row: [
        *by_itself(row, LARGE_GRAPH, rounds=5),
        *beside_the_peer(row, _LIGHTER, rounds=2, backwards=_ONE_BY_ONE),
    ],
    "nodes_large_sgc": lambda row: propagated_once(row, LARGE_GRAPH, rounds=5),
}
_ONLY = flags.DEFINE_multi_enum("only", [], list(ROWS), "Row to measure, instead of all; may be repeated.")
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Measures the rows and prints what came of it."""
    del arguments
    started = time.monotonic()
    console = Console()
    leave_out_broken_amx()
    description = {**machine(), "gemm_gflops": {dtype: gemm_gflops(dtype) for dtype in ("float32", "bfloat16")}}
    old = read_result(COMMITTED)

    def keep(figures: list[Figure]) -> None:
        if _OUTPUT.value:
            write_json(Path(_OUTPUT.value), merged(result(description, figures), old))

    figures, faults = measured({row: ROWS[row] for row in _ONLY.value or ROWS}, console, keep)
    new = result(description, figures)
    console.print(table(new, old))
    console.print(f"{(time.monotonic() - started) / 60:.1f} minutes; {json.dumps(description)}", soft_wrap=True)
    print(json.dumps(new))
    if faults:
        fail(f"{len(faults)} of the rows failed: {'; '.join(faults)}")


def measured(
    rows: Mapping[str, Row], console: Console, keep: Callable[[list[Figure]], None]
) -> tuple[list[Figure], list[str]]:
    """Figures of the rows, and a line for each row that failed: its name and the reason.

    Args:
      rows: by name.
      console: told which row is measured, and which failed.
      keep: called after every row that was measured, with all figures so far.
    """
    figures: list[Figure] = []
    faults: list[str] = []
    started = time.monotonic()
    for row, measure in rows.items():
        console.print(f"{(time.monotonic() - started) / 60:4.1f} minutes: {row} ...", style="dim")
        try:
            figures += measure(row)
        except (ContestantError, UnequalError) as error:
            faults.append(_fault(row, str(error)))
        except Exception as error:
            # Half an hour of other rows must not be lost to a mistake in one.
            traceback.print_exc()
            faults.append(_fault(row, f"{type(error).__name__}: {error}"))
        else:
            keep(figures)
            continue
        console.print(f"failed: {faults[-1]}", style="red", markup=False, soft_wrap=True)
    return figures, faults


def _fault(row: str, reason: str) -> str:
    return f"row {row}: {' '.join(reason.split())}"


if __name__ == "__main__":
    run(main)
