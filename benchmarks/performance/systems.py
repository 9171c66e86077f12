"""What related systems cost beside MAML: `python -m benchmarks.performance.systems [--method=WORDS ...] [--served]`.

A meta-step of each, on random 28x28 images (4 tasks, 15 queries a class; `--task_size`, `--filters`), in time and peak
memory; each has a process of its own, and they take turns. With `--served` also a request that adapts and
predicts, in process and through the embedded server over gRPC, and how many numbers an adapted task holds.
`--output=FILE` writes the JSON object.
"""

from __future__ import annotations

from absl import flags
from rich.console import Console

from benchmarks.performance.system_costs import Size, all_words, served_costs, step_cost, table
from benchmarks.told import tell
from cml_tf.system.command_line import run
from cml_tf.system.machine import leave_out_broken_amx, machine

_METHOD = flags.DEFINE_multi_string("method", [], "Words to measure beside MAML, such as maml,anil; all by default.")
_TASK_SIZE = flags.DEFINE_string("task_size", Size().episodes, "Words of a configuration for the size of a task.")
_FILTERS = flags.DEFINE_integer("filters", Size().filters, "Channels of the convolutions.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of meta-steps of each.", 2)
_SERVED = flags.DEFINE_bool("served", False, "Also measure requests to a server.")
_CALLS = flags.DEFINE_integer("calls", 30, "Number of requests of each.", 3)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    leave_out_broken_amx()
    size, wanted = Size(_TASK_SIZE.value, _FILTERS.value), dict.fromkeys(["maml", *(_METHOD.value or all_words())])
    methods = {words: (size.source(words), size.settings(words)) for words in wanted}
    console = Console()
    rows = {words: step_cost(words, methods, _ROUNDS.value, console) for words in methods}
    if _SERVED.value:
        for words, figures in served_costs(methods, _CALLS.value).items():
            rows[words] |= figures
    result = {"machine": machine(), **size._asdict(), "rounds": _ROUNDS.value, "methods": rows}
    tell(table(result), result, _OUTPUT.value)


if __name__ == "__main__":
    run(main)
