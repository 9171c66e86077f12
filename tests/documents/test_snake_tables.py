"""The tables of docs/systems/one_step.md about Snake are those of its raw results."""

import json
from pathlib import Path

from examples.snake import results
from examples.snake.variance import players_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/systems/one_step.md").read_text(encoding="utf-8")


def test_returns():
    for line in results.table(results.read(ROOT / "examples/snake/runs.jsonl")).splitlines():
        assert line in PAGE.splitlines()


def test_variances():
    files = sorted((ROOT / "examples/snake/variances").glob("*.json"))
    assert len(files) >= 5
    assert players_table([json.loads(file.read_text(encoding="utf-8")) for file in files]) in PAGE
