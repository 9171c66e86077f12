"""Figures in the documents and on top of the files in configs/ are the paper's or those of the committed results.

None is left behind when runs are added or redone.
"""

import importlib
import itertools
import re

import pytest

from cml_tf.studies.paper import paper_figures
from cml_tf.studies.results import read_results
from cml_tf.studies.scores import over_seeds, paired, settings
from tests.helpers.documents import ROOT

WITH_INTERVAL = re.compile(r"\d+\.\d+ ± \d+\.\d+")
# Where in which document figures begin and end (a regular expression), and the results that they are from.
OMNIGLOT = [f"omniglot_small{name}" for name in ("", "_figures", "_anew", "_zero_head")]
INITIAL = [f"initial_weights_{name}" for name in ("waves", "glyphs", "omniglot_small", "resnet12", "cora")]
QUICK = "## Glyphs, 5-way 1-shot, the quickstart's budget"
SECTIONS = {
    "Omniglot": ("PAPER_RESULTS.md", "## Omniglot, small", "^## ", OMNIGLOT),
    "sine waves": ("PAPER_RESULTS.md", "## Sine waves", "^## ", ["sinusoid"]),
    "initial weights": ("RESULTS.md", "## Initial weights", "^## ", INITIAL),
    "quickstart": ("RESULTS.md", QUICK, "^\\*\\*Three", ["glyphs_quickstart"]),
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
            pairs = [paired(*runs) for runs in itertools.combinations(methods.values(), 2)]
            texts |= {difference.over_seeds.text().lstrip("−") for difference in pairs if difference}
    return texts


@pytest.mark.parametrize("name", SECTIONS)
def test_every_figure_with_an_interval_is_in_the_results(name):
    document, heading, end, results = SECTIONS[name]
    figures = WITH_INTERVAL.findall(" ".join(section(document, heading, end).split()))
    assert len(figures) > 10
    assert sorted(set(figures) - known(results)) == []


# The results that the files in configs/ have figures of; the others have none.
MEASURED = {
    "sinusoid": "sinusoid",
    "glyphs": "glyphs_quickstart",
    "omniglot": "omniglot_small_anew",
    "cora": "nodes",
    "citeseer": "nodes",
}
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


def records(name):
    """What stands on top of a file in configs/: what it says of the paper, of our runs, and of their time."""
    told = importlib.import_module(f"configs.{name}").__doc__
    found = re.fullmatch(r".*?(?:\nPaper(?P<paper>.*))?\nHere(?P<here>.*)\nTime: (?P<time>.*)", told, re.DOTALL)
    return {part: " ".join((text or "").split()) for part, text in found.groupdict().items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_papers_figures_on_top_of_a_configuration_are_those_of_its_cells(name):
    own = [figure for figure in paper_figures() if re.match(rf"{name}_\d", figure.setting)]
    told = records(name)["paper"]
    assert set(re.findall(r"\d+\.\d\d(?: ± \d+\.\d\d)?", told)) <= {figure.text for figure in own}
    plain = {figure.text for figure in own if figure.run in ("maml", "cml") and figure.readings == ("",)}
    assert all(text in told for text in plain if text[0].isdigit())


@pytest.mark.parametrize("data", CONFIGS)
def test_our_figures_on_top_of_a_configuration_are_in_the_results_and_in_a_document(data):
    told = records(data)["here"]
    figures = set(WITH_INTERVAL.findall(told))
    assert bool(figures) == (data in MEASURED) and (figures or "not run" in told)
    documents = "".join((ROOT / f"docs/{name}.md").read_text() for name in ("PAPER_RESULTS", "RESULTS", "NODES"))
    if figures:
        found = settings(read_results(ROOT / f"docs/results/{MEASURED[data]}.jsonl").values())
        own = [found[setting] for setting in found if setting.startswith(f"{data}_")]
        assert figures <= {over_seeds(runs).text() for methods in own for runs in methods.values()}
        assert all(figure in documents for figure in figures)
    for hours in re.findall(r"[\d.]+ / [\d.]+", records(data)["time"]):
        assert hours.rstrip(".") in documents
