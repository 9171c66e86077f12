"""What the paper reports (CML, UAI 2024, arXiv 2406.04639) beside what was measured.

Its figures are in `paper_figures.json`: a list of objects, one a cell of its tables (and of Figure 2), with the table's
number, the data and method in words, and where a sweep has the like: `setting` and `run` (`maml`, `cml:gamma_02`) and
`readings`, the names of a sweep's further evaluations ("" for the run's own). The paper's ± is over three runs (five
for nodes); where it has no number `mean` is null and `note` says what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cml_tf.studies.page import Table
from cml_tf.studies.scores import ScoredMethod, Setting, over_seeds
from cml_tf.studies.tables import NOT_RUN

# Written out: the BUILD files are made from the names of files in the sources.
_FILE = "paper_figures.json"
# These compare data: what a method gives on other data says nothing there.
_ACROSS_DATA = ("2 and 9", "3", "Figure 2")
_COLUMNS = ("table", "data", "method", "paper", "here", "measured", "on", "outer steps, seeds")


@dataclass(frozen=True)
class PaperFigure:
    """One cell of the paper's tables, or of its Figure 2; accuracies in %.

    Attributes:
      table: its number.
      data: data, ways and shots.
      method: as the paper has it.
      setting: of a sweep, without the method (`omniglot_5way_1shot`).
      run: method and variant (`cml:gamma_02`).
      readings: further evaluations of the run that the cell can mean; "" is the run's own.
      mean: None where there is no number.
      half_width: None where the paper's table was read without it.
      note: what there is in the place of a number.
    """

    table: str
    data: str
    method: str
    setting: str
    run: str
    readings: tuple[str, ...]
    mean: float | None
    half_width: float | None
    note: str

    @property
    def text(self) -> str:
        """The figure as the paper prints it."""
        if self.mean is None:
            return self.note
        return f"{self.mean:.2f}" if self.half_width is None else f"{self.mean:.2f} ± {self.half_width:.2f}"


@cache
def paper_figures() -> tuple[PaperFigure, ...]:
    """All cells, in the order of the paper's tables."""
    text = resources.files("cml_tf.studies").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(PaperFigure(**{**cell, "readings": tuple(cell["readings"])}) for cell in json.loads(text))


def paper_tables(found: Mapping[str, Setting]) -> tuple[Table, Table]:
    """A row a cell and reading: the paper's figure, the one measured, on what data, and with what budget.

    Returns:
      The cells that something was measured for: in their own setting, or else, in tables that compare methods on one
      set of data, in others of as many ways and shots. And all the rest.
    """
    measured, rest = [], []
    for figure in paper_figures():
        kind, _, variant = figure.run.partition(":")
        for reading in figure.readings:
            method = ScoredMethod(kind, variant, reading)
            cell = (figure.table, figure.data, figure.method, figure.text, method.name)
            settings = _settings(figure, method, found)
            for setting in settings:
                trained = found[setting].get(ScoredMethod(kind, variant), {})
                score = over_seeds(found[setting][method]).text()
                data = "the same" if setting == figure.setting else setting.rsplit("_", 2)[0]
                measured.append((*cell, score, data, _budget(trained, len(found[setting][method]))))
            if not settings:
                rest.append((*cell, NOT_RUN, "", ""))
    return Table(_COLUMNS, tuple(measured)), Table(_COLUMNS, tuple(rest))


def _settings(figure: PaperFigure, method: ScoredMethod, found: Mapping[str, Setting]) -> list[str]:
    if method in found.get(figure.setting, {}):
        return [figure.setting]
    if figure.table in _ACROSS_DATA:
        return []
    episodes = "_".join(figure.setting.split("_")[-2:])
    return [setting for setting, methods in found.items() if setting.endswith(f"_{episodes}") and method in methods]


def _budget(trained: Mapping[int, Mapping[str, Any]], scored: int) -> str:
    """Outer steps and seeds; how many seeds have this score, where adaptation diverged in others."""
    if not trained:
        return ""
    steps = sorted({run["steps"] for run in trained.values()})
    numbers = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{numbers}, {len(trained)}" if scored == len(trained) else f"{numbers}, {scored} of {len(trained)}"
