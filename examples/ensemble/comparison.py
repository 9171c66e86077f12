"""An ensemble beside its members: a table of what was scored on the same episodes, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cml_tf.training.evaluator import confidence_interval

SIZES = tuple({"filters": filters, "extra_blocks": extra} for filters in (16, 32) for extra in (0, 1))
"""Of the members: channels of each block, and blocks beyond four."""


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: accuracies in %, and the ensemble's paired differences, as means over seeds with 95 % intervals.

    Args:
      lines: of the file of results, at least one.
    """
    own = np.array([np.mean(line["ensemble"]["scores"]) for line in lines])
    members = np.array([[np.mean(member["scores"]) for member in line["members"]] for line in lines])
    chosen = [int(np.argmax([member["validation"] for member in line["members"]])) for line in lines]
    names = [f"{size['filters']} filters, {4 + size['extra_blocks']} blocks" for size in SIZES]
    compared = dict(zip(names, members.T, strict=True))
    compared["the member that is best in validation"] = members[np.arange(len(lines)), chosen]
    compared["the member that is best in the test"] = members.max(1)
    rows = [
        "| who answers | accuracy [%] | the ensemble less it |",
        "|---|---|---|",
        f"| ensemble | {_interval(own)} | |",
    ]
    rows += [f"| {name} | {_interval(values)} | {_interval(own - values, '+')} |" for name, values in compared.items()]
    combiners = ", ".join(f"{line['combiner']} (seed {line['seed']})" for line in lines)
    return "\n".join([*rows, "", f"Chosen to combine: {combiners}."])


def _interval(values: np.ndarray, sign: str = "") -> str:
    wide = f" ± {100 * confidence_interval(values):.2f}" if len(values) > 1 else ""
    return f"{100 * values.mean():{sign}.2f}{wide}".replace("-", "−")
