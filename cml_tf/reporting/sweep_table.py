"""Tables of a sweep's results: scores over seeds, and CML beside MAML on the same episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.reporting.intervals import Interval, two_decimals
from cml_tf.statistics import confidence_interval

Runs = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, order=True)
class Cell:
    """What is compared: one setting (`cora_2way_1shot`) and one base method (`g_meta`, empty for the file's own)."""

    setting: str
    base: str


@dataclass(frozen=True)
class Pair:
    """MAML and CML in one cell, by seed; either may have fewer seeds, or none.

    Attributes:
      maml: results by seed.
      cml: likewise.
    """

    maml: Runs
    cml: Runs

    def differences(self) -> dict[int, np.ndarray]:
        """CML minus MAML by seed, episode by episode.

        Raises:
          ValueError: if the two were not scored on the same episodes.
        """
        paired = {}
        for seed in sorted(self.maml.keys() & self.cml.keys()):
            left, right = self.maml[seed], self.cml[seed]
            if left["manifest_hash"] != right["manifest_hash"]:
                raise ValueError(f"{left['run']} and {right['run']} were scored on different episodes.")
            paired[seed] = np.asarray(right["scores"]) - np.asarray(left["scores"])
        return paired


def pairs(results: Iterable[Mapping[str, Any]]) -> dict[Cell, Pair]:
    """Results by cell and method.

    Raises:
      ValueError: for a configuration file whose name ends in neither `_maml` nor `_cml`.
    """
    found: dict[Cell, dict[str, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: {"maml": {}, "cml": {}})
    for result in results:
        path, _, variant = result["source"].partition(":")
        setting, _, method = Path(path).stem.rpartition("_")
        if method not in ("maml", "cml"):
            raise ValueError(f"a table needs configurations that end in _maml or _cml, received {path}.")
        found[Cell(setting, variant)][method][result["seed"]] = result
    return {cell: Pair(**found[cell]) for cell in sorted(found)}


def over_seeds(runs: Runs) -> Interval | None:
    """The mean of the runs' means in the unit of the table, with its interval over seeds; None below two seeds."""
    return _interval([_scale(run) * run["mean"] for run in runs.values()])


def markdown(results: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table, a row a cell: accuracies in %, others as they are.

    `±` is the half-width of the 95 % interval over seeds; in the last column it is that over all episodes of all seeds,
    which says how well these very runs are told apart, not the methods.
    """
    lines = [
        "| setting | base | seeds | without CML | with CML | paired difference, ± over seeds | ± over episodes |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell, pair in pairs(results).items():
        seeds = sorted(pair.maml.keys() | pair.cml.keys())
        texts = [_text(over_seeds(runs)) for runs in (pair.maml, pair.cml)]
        lines.append(
            f"| {cell.setting} | {cell.base or 'maml'} | {len(seeds)} | {' | '.join(texts)} | {_paired(pair)} |"
        )
    return "\n".join(lines)


def _paired(pair: Pair) -> str:
    differences = pair.differences()
    if not differences:
        return "not run | not run"
    scale = _scale(next(iter(pair.maml.values())))
    by_seed = _interval([scale * float(values.mean()) for values in differences.values()])
    episodes = scale * np.concatenate(list(differences.values()))
    return f"{_text(by_seed, '+')} | ± {confidence_interval(episodes):.2f}"


def _interval(means: list[float]) -> Interval | None:
    if len(means) < 2:
        return None
    return Interval("", float(np.mean(means)), confidence_interval(np.asarray(means)))


def _text(interval: Interval | None, sign: str = "") -> str:
    return "not run" if interval is None else f"{two_decimals(interval.mean, sign)} ± {interval.half_width:.2f}"


def _scale(run: Mapping[str, Any]) -> float:
    return 100.0 if run["metric"] == "accuracy" else 1.0
