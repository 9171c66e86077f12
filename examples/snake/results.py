"""A file with one JSON line for each finished run, which several programs may fill at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.errors import UserError
from cml_tf.system.files import locked, parsed_json, write_text
from cml_tf.training.evaluator import confidence_interval
from examples.snake.training import Settings


def read(path: Path) -> list[dict[str, Any]]:
    """The lines; none if there is no file.

    Raises:
      UserError: if a line is no result.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            result = parsed_json(line)
            if not {"settings", "seed", "curve", "final"} <= result.keys():
                raise ValueError("keys are missing")
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}, must be the JSON object of a run, found {error}: remove it, repeat the run."
            ) from error
        found.append(result)
    return found


def is_done(path: Path, settings: Settings, seed: int) -> bool:
    """Whether the file has a run.

    Raises:
      UserError: if it has one of that mix with other settings, of any seed: a table averages over seeds.
    """
    of_mix = [result for result in read(path) if result["settings"]["mix"] == settings.mix]
    for result in of_mix:
        if result["settings"] == settings.as_json():
            continue
        different = [key for key, value in settings.as_json().items() if result["settings"].get(key) != value]
        raise UserError(
            f"--results must hold runs of the settings asked for, found {settings.mix}, seed {result['seed']}, in "
            f"{path} with another {', '.join(different)}: choose another file."
        )
    return seed in [result["seed"] for result in of_mix]


def add(path: Path, result: dict[str, Any]) -> None:
    """Adds a line."""
    with locked(path, wait=True):
        lines = [*read(path), result]
        write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: what comes of each mix, as means over seeds with their 95 % intervals."""
    by_mix = defaultdict(list)
    for result in results:
        curve, final = result["curve"], result["final"]
        row = (final["drawn"], final["greedy"], float(np.mean(curve["drawn"])), curve["gamma"][-1])
        by_mix[result["settings"]["mix"]].append(row)
    lines = ["| mix | seeds | return | return, greedy | mean of the curve | last gamma |", "|---|---|---|---|---|---|"]
    for mix, rows in by_mix.items():
        columns = (_interval(column, places) for column, places in zip(np.array(rows).T, (2, 2, 2, 3), strict=True))
        lines.append(f"| {mix} | {len(rows)} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _interval(values: np.ndarray, places: int) -> str:
    wide = f" ± {confidence_interval(values):.{places}f}" if len(values) > 1 else ""
    return f"{values.mean():.{places}f}{wide}"
