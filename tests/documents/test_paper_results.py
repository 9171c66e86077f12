"""Figures in the documents are those of the committed results: none is left behind when runs are added or redone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cml_tf.studies.results import read_results
from cml_tf.studies.scores import over_seeds, paired, settings

ROOT = Path(__file__).resolve().parents[2]
WITH_INTERVAL = re.compile(r"\d+\.\d+ ± \d+\.\d+")
# Where in which document figures begin and end (a regular expression), and the results that they are from.
SECTIONS = {
    "Omniglot": (
        "PAPER_RESULTS.md",
        "## Omniglot, small",
        "^## ",
        [
            "omniglot_small",
            "omniglot_small_figures",
            "omniglot_small_fan_in_uniform",
            "omniglot_small_zero_head",
        ],
    ),
    "sine waves": ("PAPER_RESULTS.md", "## Sine waves", "^## ", ["sinusoid"]),
    "initial weights": (
        "RESULTS.md",
        "## Initial weights",
        "^## ",
        [f"initial_weights_{name}" for name in ("waves", "glyphs", "omniglot_small", "resnet12", "cora")],
    ),
    "quickstart": (
        "RESULTS.md",
        "## Glyphs, 5-way 1-shot, the quickstart's budget",
        "^\\*\\*Three",
        ["glyphs_quickstart"],
    ),
    "nodes": ("NODES.md", "## Results", "^Beside the paper's Table 3", ["nodes"]),
}


def section(document, heading, end):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.split(end, text.split(heading + "\n")[1], flags=re.MULTILINE)[0]


def known(names):
    """Of each file every score with its interval, and every paired difference of two methods of a setting, unsigned."""
    texts = set()
    for name in names:
        for methods in settings(read_results(ROOT / f"docs/results/{name}.jsonl").values()).values():
            texts |= {over_seeds(runs).text() for runs in methods.values()}
            for runs in methods.values():
                for others in methods.values():
                    if difference := paired(runs, others):
                        texts.add(difference.over_seeds.text().lstrip("−"))
    return texts


@pytest.mark.parametrize("name", SECTIONS)
def test_every_figure_with_an_interval_is_in_the_results(name):
    document, heading, end, results = SECTIONS[name]
    figures = WITH_INTERVAL.findall(" ".join(section(document, heading, end).split()))
    assert len(figures) > 10
    assert sorted(set(figures) - known(results)) == []
