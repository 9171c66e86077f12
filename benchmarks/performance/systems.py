"""What related systems cost beside MAML: `python -m benchmarks.performance.systems [--method=WORDS ...] [--served]`.

A meta-step of each, on random 28x28 images (5 ways, 5 shots, 15 queries a class, 4 tasks, 64 filters), in time and peak
memory; each has a process of its own, and they take turns. With `--served` also a request that adapts and predicts, in
process and through the embedded server over gRPC, and how many numbers an adapted task holds. `--output=FILE` writes
the JSON object.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags
from rich.console import Console

from benchmarks.performance.system_costs import all_words, served_costs, settings_of, step_cost, table
from cml_tf.system.command_line import run
from cml_tf.system.files import write_json
from cml_tf.system.machine import leave_out_broken_amx, machine

_METHOD = flags.DEFINE_multi_string("method", [], "Words to measure beside MAML, such as maml,anil; all by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of meta-steps of each.", 2)
_SERVED = flags.DEFINE_bool("served", False, "Also measure requests to a server.")
_CALLS = flags.DEFINE_integer("calls", 30, "Number of requests of each.", 3)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    leave_out_broken_amx()
    methods = {words: settings_of(words) for words in dict.fromkeys(["maml", *(_METHOD.value or all_words())])}
    console = Console()
    rows = {words: step_cost(words, methods, _ROUNDS.value, console) for words in methods}
    if _SERVED.value:
        for words, figures in served_costs(methods, _CALLS.value).items():
            rows[words] |= figures
    result = {"machine": machine(), "rounds": _ROUNDS.value, "methods": rows}
    console.print(table(result))
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result)
    print(json.dumps(result))


if __name__ == "__main__":
    run(main)
