"""Every cell of the tables in CONFIDENCE.md, NORMALISATION.md and FREE_WAYS.md is what the committed results say.
So are the accuracies of systems at one budget.

Tables of other documents are held by test_paper_results.py.
"""

import dataclasses
import functools
import json
import re

import pytest

from cml_tf.studies.results import read_results
from cml_tf.studies.scores import OverSeeds, ScoredMethod, over_seeds, paired, settings
from tests.helpers.documents import ROOT

FIGURE = re.compile(r"\d+(?:\.\d+)? ± \d+(?:\.\d+)?")


def section(document, heading):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return re.split("^## ", text, flags=re.MULTILINE)[0]


def rows(document, heading):
    """The cells of all table rows of a section, without emphasis."""
    lines = [line for line in section(document, heading).splitlines() if line.startswith("|")]
    return [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in lines]


@functools.cache
def results(name):
    return settings(read_results(ROOT / f"docs/results/{name}.jsonl").values())


@functools.cache
def confidences():
    return [json.loads(path.read_text()) for path in sorted((ROOT / "docs/results/confidence").glob("*.json"))]


def of_runs(*keys, factor=1.0, decimals=0):
    """Of one measure over the runs."""
    found = [functools.reduce(lambda value, key: value[key], keys, run["measures"]) for run in confidences()]
    return OverSeeds.of([factor * one["mean"] for one in found], decimals).text()


# Measure, its unit and its decimals by the words of a row.
PER_CENT = (100.0, 1)
MEASURES = {
    "calibration error": ("ece", *PER_CENT),
    "cross-entropy, nats": ("nll", 1.0, 3),
    "Brier score": ("brier", 1.0, 3),
    "queries whose set holds their class (95 % asked)": ("coverage", *PER_CENT),
    "classes in a set": ("set_size", 1.0, 2),
    "queries of other classes taken for known (5 % asked)": ("false_accept", *PER_CENT),
    "queries of known classes taken for known": ("true_accept", 100.0, 0),
}
SCORES = ("feature_distance", "largest_probability", "energy")


def test_confidence():
    found = {name: [cell.removesuffix(" %") for cell in cells] for name, *cells in rows("CONFIDENCE.md", "Measured")}
    for words, (measure, factor, decimals) in MEASURES.items():
        for (shots, when), cell in zip(
            [(shots, when) for shots in "15" for when in ("before", "after")], found[words], strict=True
        ):
            assert not cell or cell == of_runs(shots, when, measure, factor=factor, decimals=decimals), (words, cell)
    accuracies = [of_runs(shots, "before", "accuracy", factor=100.0, decimals=1) for shots in "15"]
    assert found["accuracy"] == [accuracies[0], "the same", accuracies[1], "the same"]
    for name in SCORES:
        areas = [of_runs(shots, "scores", name, "auroc", decimals=3) for shots in "15"]
        let_in = [of_runs(shots, "scores", name, "fpr95", factor=100.0, decimals=1) for shots in "15"]
        assert found[name] == areas + let_in
    assert len(found) == len(MEASURES) + len(SCORES) + 4, "two headings, a rule and the accuracy"


PICTURES = {"normalisation_glyphs": "glyphs_5way_1shot", "normalisation_omniglot_small": "omniglot_5way_1shot"}
NODES = {"normalisation_cora": "cora_2way_1shot"}
# What RESULTS.md says of runs that were made before there were these files.
OLDER = {"1.54 ± 6.72", "20.42 ± 8.10"}


def method(kind, mode, alone=False):
    return ScoredMethod(kind, f"norm_{mode}", "alone" if alone else "")


def accuracies(files, mode):
    """The cells of a row: for each data set and method together and alone, which may be the same."""
    for name, setting in files.items():
        for kind in ("maml", "cml"):
            runs = [results(name)[setting].get(method(kind, mode, alone)) for alone in (False, True)]
            together, alone = ("refused" if one is None else over_seeds(one).text() for one in runs)
            yield from (together, "" if together == "refused" else "same" if alone == together else alone)


def test_normalisation():
    table = rows("NORMALISATION.md", "Measured")
    modes = ("batch_transductive", "per_step", "support", "tasknorm", "group", "layer", "none")
    for files, width in ((PICTURES, 9), (NODES, 5)):
        found = {cells[0]: cells[1:] for cells in table if len(cells) == width and cells[0] in modes}
        assert len(found) >= 6
        for mode, cells in found.items():
            assert cells == list(accuracies(files, mode)), mode
    differences = [cells for cells in table if cells[0].startswith(("MAML,", "CML,"))]
    assert len(differences) == 4
    for words, *cells in differences:
        kind, mode = re.fullmatch("(MAML|CML), `(.*)", words).groups()
        expected = [
            paired(*(results(name)[setting][method(kind.lower(), one, alone)] for one in (mode, modes[0]))).over_seeds
            for alone in (False, True)
            for name, setting in PICTURES.items()
        ]
        assert cells == [score.text("+") for score in expected], words
    told = " ".join(section("NORMALISATION.md", "Measured").split())
    in_tables = set(FIGURE.findall(" ".join(cell for cells in table for cell in cells)))
    assert set(FIGURE.findall(told)) - in_tables == OLDER


FREE = {name: ScoredMethod("maml", f"any_size,{name}") for name in ("proto_maml", "unicorn_maml")}
FIXED = {"MAML": ScoredMethod("maml"), **{name: ScoredMethod("maml", name) for name in FREE}}


def of_any_size(name, size):
    return results("free_ways")["glyphs_5way_1shot"][dataclasses.replace(FREE[name], evaluation=size)]


def of_one_size(name, size):
    return results("free_ways_fixed").get(f"glyphs_{size}", {}).get(FIXED[name])


def in_name(size):
    """`5-way 1-shot` as runs and evaluations are named."""
    return size.replace("-", "").replace(" ", "_")


# By the words of a row, which runs are compared with which.
DIFFERENCES = {
    "proto_maml`, any size less that size": ((of_any_size, "proto_maml"), (of_one_size, "proto_maml")),
    "proto_maml`, any size, less MAML, that size": ((of_any_size, "proto_maml"), (of_one_size, "MAML")),
    "unicorn_maml`, any size less that size": ((of_any_size, "unicorn_maml"), (of_one_size, "unicorn_maml")),
    "proto_maml` less MAML, both that size": ((of_one_size, "proto_maml"), (of_one_size, "MAML")),
    "unicorn_maml` less MAML, both that size": ((of_one_size, "unicorn_maml"), (of_one_size, "MAML")),
}


def test_free_ways():
    found = {cells[0]: cells[1:] for cells in rows("FREE_WAYS.md", "What was measured")}
    sizes = [name for name in found if re.fullmatch(r"\d+-way \d+-shot", name)]
    assert len(sizes) == 12
    for size in sizes:
        runs = [of_any_size(name, in_name(size)) for name in FREE]
        runs += [of_one_size(name, in_name(size)) for name in FIXED]
        expected = ["" if one is None else dataclasses.replace(over_seeds(one), decimals=1).text() for one in runs]
        assert found[size] == expected, size
    for words, pair in DIFFERENCES.items():
        compared = [[find(name, in_name(size)) for find, name in pair] for size in found[""]]
        for cell, runs in zip(found[words], compared, strict=True):
            assert bool(cell) == all(runs), words
            if not cell:
                continue
            expected = paired(*runs).over_seeds
            numbers = [float(number.replace("−", "-")) for number in cell.split(" ± ")]
            # A difference of 7.25 may be told as 7.2 and as 7.3.
            assert numbers == pytest.approx([expected.mean, expected.half_width], abs=0.05 + 1e-9, rel=0), words


# Of systems/README.md, by the variant of their runs.
SYSTEMS = {
    **{"AMFS": "kernel_ridge", "HyperMAML": "hypernetwork", "COMLN": "gradient_flow", "CxGrad": "cxgrad"},
    **{"A-MAML": "adjoint_heun", "BOML": "truncated", "MetaMix": "query_mixup", "FIML": "steepest_descent"},
    **{"One Step at a Time": "mixed_trajectory", "MetaDelta": "meta_delta,no_rotation"},
    "Meta-RKHS I": "tangent_energy",
}


def test_systems_at_one_budget():
    (omniglot,), (glyphs,) = (results(f"systems_{name}").values() for name in ("omniglot_small", "glyphs"))
    costs = json.loads((ROOT / "docs/results/systems_costs.json").read_text())["methods"]
    maml, found = ScoredMethod("maml"), 0
    for name, *cells, milliseconds in rows("systems/README.md", "At one budget")[2:]:
        variant = SYSTEMS.get(re.split("[:,]", name)[0], "")
        one = ScoredMethod("cml" if name == "CML" else "maml", variant)
        for runs, (accuracy, difference) in zip((omniglot, glyphs), (cells[:2], cells[2:]), strict=True):
            assert accuracy == over_seeds(runs[one]).text(), name
            assert difference == ("" if one == maml else paired(runs[one], runs[maml]).over_seeds.text("+")), name
        served = costs[",".join(filter(None, (one.kind, one.variant)))]["grpc_milliseconds"]
        assert milliseconds == f"{served:.3g}", name
        found += 1
    assert found == len(omniglot) == len(glyphs)


@pytest.mark.parametrize("document", ["CONFIDENCE.md", "NORMALISATION.md", "FREE_WAYS.md"])
def test_cells_are_found(document):
    heading = "What was measured" if document == "FREE_WAYS.md" else "Measured"
    assert sum(len(FIGURE.findall(" ".join(cells))) for cells in rows(document, heading)) > 30
