"""Figures, their targets, and what they were before."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from cml_tf.system.machine import differences

COMMITTED = Path(__file__).with_name("results.json")
_BOUNDS = {"at least": operator.ge, "at most": operator.le, "under": operator.lt}


@dataclass(frozen=True)
class Figure:
    """One number of a row.

    Attributes:
      row: the row's name.
      name: what the number is.
      value: the number.
      unit: of the number; `x` for ratios.
      bound: `at least`, `at most` or `under`; empty where there is no target.
      target: the number asked for.
      note: what it rests on.
    """

    row: str
    name: str
    value: float
    unit: str
    bound: str = ""
    target: float = 0.0
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return bool(_BOUNDS[self.bound](self.value, self.target)) if self.bound else None


def result(machine: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    """The JSON object of a run."""
    return {"machine": dict(machine), "figures": [{**asdict(figure), "met": figure.met} for figure in figures]}


def read_result(path: Path) -> dict[str, Any] | None:
    """An earlier run's object; None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def merged(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """`new`, with the rows of `old` that were not measured again; only where both are of one machine."""
    if old is None or differences(old["machine"], new["machine"]):
        return new
    rows = {figure["row"] for figure in new["figures"]}
    return {**new, "figures": [f for f in old["figures"] if f["row"] not in rows] + new["figures"]}


def table(new: dict[str, Any], old: dict[str, Any] | None) -> Table:
    """Every figure with its target and what it was."""
    before = {(f["row"], f["name"]): f["value"] for f in old["figures"]} if old else {}
    drawn = Table("row", "figure", "target", "now", "then", "", title="The meta-step", title_justify="left")
    for figure in new["figures"]:
        then = before.get((figure["row"], figure["name"]))
        target = f"{figure['bound']} {figure['target']:g}" if figure["bound"] else ""
        drawn.add_row(
            figure["row"],
            figure["name"] + (f" ({figure['note']})" if figure["note"] else ""),
            target,
            f"{figure['value']:.3g} {figure['unit']}",
            "" if then is None else f"{then:.3g} ({figure['value'] / then - 1:+.0%})" if then else f"{then:.3g}",
            {True: "met", False: "MISSED", None: ""}[figure["met"]],
        )
    drawn.caption = comparison(new, old)
    return drawn


def comparison(new: dict[str, Any], old: dict[str, Any] | None) -> str:
    """What "then" was."""
    if old is None:
        return "There is no committed result for comparison."
    odd = differences(old["machine"], new["machine"])
    return f"The committed result is from another machine: {'; '.join(odd)}." if odd else "then: the committed result."
