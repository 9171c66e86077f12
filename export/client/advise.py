"""Gives advice: `python -m export.client.advise --model=NAME --support=DIR|FILE.npz [--query=DIR|FILE --address ...]`.

Tells which support labels look wrong and which class needs another example, by leaving out each support example in
turn; with `--query` also which of those queries to label next. The last line is one JSON object.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cml_tf.system.command_line import run
from export.client.advice import Advice, ask_next, leave_one_out
from export.client.connection_flags import client
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_flags import graph_of_flags, sent
from export.client.printed import printable

_SUPPORT = flags.DEFINE_string(
    "support", None, "Folder with one subfolder of images per class, an .npz, or a .csv.", required=True
)
_QUERY = flags.DEFINE_string("query", None, "Examples without a label yet: which of them to label next.")
_SHOWN = 10


def main(arguments: list[str]) -> None:
    """Asks and advises."""
    del arguments
    support = read_support(Path(_SUPPORT.value))
    queries = read_queries(Path(_QUERY.value)) if _QUERY.value else None
    graph, (inputs, *asked) = sent(graph_of_flags(), support, *([] if queries is None else [queries]))
    with client() as server:
        advice = leave_one_out(server, inputs, support.targets, graph)
        answer = server.adapt_and_predict(inputs, support.targets, asked[0], graph) if asked else None
    following = [] if answer is None or queries is None else [queries.names[place] for place in ask_next(answer)]
    Console().print(_table(advice, support))
    print(_told(advice, following))
    print(json.dumps(_as_json(advice, support, following)))


def _table(advice: Advice, support: ExampleSet) -> Table:
    table = Table("example", "label", "taken for", "probability of its label", title="each example left out once")
    order = np.argsort(np.where(np.isnan(advice.own), 2, advice.own), kind="stable")
    for position in order[:_SHOWN].tolist():
        taken = advice.taken_for[position]
        cells = (support.names[position], advice.labels[position], taken or "the only one of its class")
        share = "" if taken is None else f"{advice.own[position]:.3f}"
        table.add_row(*(Text(printable(cell)) for cell in cells), share)
    return table


def _told(advice: Advice, following: list[str]) -> str:
    lines = []
    if advice.accuracy is not None:
        lines.append(f"{advice.accuracy:.1%} of {len(advice.judged)} judged examples are taken for what they are.")
    if advice.suspects:
        lines.append(f"Look at the labels of {len(advice.suspects)} examples, the first in the table before all.")
    lines.append(f"Another example would help most in class {printable(str(advice.weakest_class))}.")
    if following:
        lines.append(f"Label next: {', '.join(map(printable, following[:_SHOWN]))}.")
    return "\n".join(lines)


def _as_json(advice: Advice, support: ExampleSet, following: list[str]) -> dict[str, Any]:
    rows = [
        {
            "name": support.names[position],
            "label": advice.labels[position],
            "taken_for": advice.taken_for[position],
            "probability": None if np.isnan(advice.own[position]) else float(advice.own[position]),
        }
        for position in range(len(advice.labels))
    ]
    return {
        "examples": rows,
        "accuracy": advice.accuracy,
        "suspects": [support.names[position] for position in advice.suspects],
        "weakest_class": advice.weakest_class,
        "label_next": following,
    }


if __name__ == "__main__":
    run(main)
