"""What the paper reports (CML, UAI 2024, arXiv 2406.04639) beside what was measured.

Its figures are in `paper_figures.json`: a list of objects, one a cell of its tables, with the table's number, the data
and method in words, and where a sweep has the like: `setting` and `run` (`maml`, `cml:gamma_02`) and `readings`, the
names of a sweep's further evaluations ("" for the run's own). The paper's ± is over three runs (five for nodes); `mean`
is null where it says that training did not converge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cml_tf.reporting.page import Table
from cml_tf.reporting.sweep_scores import ScoredMethod, Setting, over_seeds
from cml_tf.reporting.sweep_table import NOT_RUN

# Written out: the BUILD files are made from the names of files in the sources.
_FILE = "paper_figures.json"
_NO_CONVERGENCE = "did not converge"


@dataclass(frozen=True)
class PaperFigure:
    """One cell of the paper's tables; accuracies in %.

    Attributes:
      table: its number.
      data: data, ways and shots.
      method: as the paper has it.
      setting: of a sweep, without the method (`omniglot_5way_1shot`).
      run: method and variant (`cml:gamma_02`).
      readings: further evaluations of the run that the cell can mean; "" is the run's own.
      mean: None where training did not converge.
      half_width: None where the paper's table was read without it.
    """

    table: str
    data: str
    method: str
    setting: str
    run: str
    readings: tuple[str, ...]
    mean: float | None
    half_width: float | None

    @property
    def text(self) -> str:
        """The figure as the paper prints it."""
        if self.mean is None:
            return _NO_CONVERGENCE
        return f"{self.mean:.2f}" if self.half_width is None else f"{self.mean:.2f} ± {self.half_width:.2f}"


@cache
def paper_figures() -> tuple[PaperFigure, ...]:
    """All cells, in the order of the paper's tables."""
    text = resources.files("cml_tf.reporting").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(PaperFigure(**{**cell, "readings": tuple(cell["readings"])}) for cell in json.loads(text))


def paper_table(found: Mapping[str, Setting]) -> Table:
    """A row a cell and reading: the paper's figure, the one measured, and with how many outer steps and seeds."""
    rows = []
    for figure in paper_figures():
        kind, _, variant = figure.run.partition(":")
        for reading in figure.readings:
            method = ScoredMethod(kind, variant, reading)
            runs = found.get(figure.setting, {}).get(method, {})
            trained = found.get(figure.setting, {}).get(ScoredMethod(kind, variant), {})
            measured = over_seeds(runs).text() if runs else NOT_RUN
            rows.append(
                (figure.table, figure.data, figure.method, figure.text, method.name, measured, _budget(trained))
            )
    return Table(("table", "data", "method", "paper", "here", "measured", "outer steps, seeds"), tuple(rows))


def _budget(trained: Mapping[int, Mapping[str, Any]]) -> str:
    if not trained:
        return ""
    steps = sorted({run["steps"] for run in trained.values()})
    numbers = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{numbers}, {len(trained)}"
