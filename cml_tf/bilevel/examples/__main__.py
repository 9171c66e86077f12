"""Runs an example: `python -m cml_tf.bilevel.examples --example=noisy_labels`. Prints a JSON line for each seed."""

from __future__ import annotations

import json

from absl import flags

from cml_tf.bilevel.examples import noisy_labels, task_heads
from cml_tf.system.command_line import run

EXAMPLES = {"noisy_labels": noisy_labels.result, "task_heads": task_heads.result}
_EXAMPLE = flags.DEFINE_enum("example", None, list(EXAMPLES), "Which one; its file says what it does.", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many seeds, from 0.", 1)


def main(arguments: list[str]) -> None:
    """Prints what comes of each seed."""
    del arguments
    for seed in range(_SEEDS.value):
        found = EXAMPLES[_EXAMPLE.value](seed)
        print(json.dumps({key: round(value, 4) for key, value in found.items()}), flush=True)


if __name__ == "__main__":
    run(main)
