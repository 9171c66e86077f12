"""Gives advice: `python -m export.client.advise --model=NAME --support=DIR|FILE.npz [--query=DIR|FILE --address ...]`.

Tells which support labels look wrong and which class needs another example, by leaving out each support example in
turn; with `--query` also which of those queries to label next. The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cml_tf.system.command_line import run
from export.client.advice import Advice, ask_next, leave_one_out
from export.client.connection_flags import client
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_flags import graph_of_flags, sent
from export.client.printed import advice_as_table, advice_as_text

_SUPPORT = flags.DEFINE_string(
    "support", None, "Folder with one subfolder of images per class, an .npz, or a .csv.", required=True
)
_QUERY = flags.DEFINE_string("query", None, "Examples without a label yet: which of them to label next.")


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
    sys.stdout.write(advice_as_table(advice, support.names) + advice_as_text(advice, following))
    print(json.dumps(_as_json(advice, support, following)))


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
