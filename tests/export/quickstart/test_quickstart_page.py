from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from cml_tf.studies.page import render_page
from cml_tf.training.evaluator import Evaluation, PairedDifference, compare
from export.quickstart.page import Classified, QuickstartResults, quickstart_page, reading
from export.quickstart.plan import CML, MAML, SINUSOID, Plan

_PLAN = Plan(Path("runs/quickstart"))


def _evaluation(mean, metric="accuracy"):
    return Evaluation(metric, np.array([mean - 0.01, mean, mean + 0.01]), 0, "same", {})


def _results(maml=0.7125, cml=0.7350):
    evaluations = {MAML: _evaluation(maml), CML: _evaluation(cml)}
    return QuickstartResults(
        maml=Classified(_PLAN.config(MAML), evaluations[MAML], 1000, 1000),
        cml=Classified(_PLAN.config(CML), evaluations[CML], 1000, 1750),
        difference=replace(compare(evaluations[CML], evaluations[MAML]), ci95=0.004),
        class_counts={"train": 862, "validation": 225, "test": 107},
        letters=("Ա armenian capital letter ayb", "<i>"),
        sinusoid=_PLAN.config(SINUSOID),
        sinusoid_scores={0: _evaluation(2.5, "mse"), 1: _evaluation(0.75, "mse")},
        reproduce=_PLAN.reproduce(),
        next_commands=(*_PLAN.next_commands(), _PLAN.notebook()),
        versions={"Python": "3.11.0", "tensorflow": "2.21.0"},
    )


def _words(results):
    """The page's text without tags."""
    body = render_page(quickstart_page(results)).partition("<body>")[2]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def test_the_numbers_are_those_given():
    words = _words(_results())
    # Three scores 0.01 apart: Student's quantile 4.3027 times 0.01 / sqrt(3) is 2.48 points.
    assert words.count("71.25 ± 2.48 %") >= 2 and words.count("73.50 ± 2.48 %") >= 2
    assert words.count("+2.25 ± 0.40 points") >= 2
    for number in ("1,000", "1,750", "862 Latin", "225 Greek", "107 Armenian", "2.50 ± 0.02", "0.75 ± 0.02"):
        assert number in words, number


def test_budget_settings_commands_and_versions_are_on_the_page():
    words, config = _words(_results()), _PLAN.config(CML)
    for told in (
        f"{config.train.steps} meta-steps of {config.train.meta_batch} episodes",
        f"rate {config.adaptation.rate:g}",
        f"{config.dataset.queries} queries of each",
        f"{config.eval.queries} queries of each",
        *(re.sub(r"\s+", " ", command.text) for command in (*_PLAN.reproduce(), *_PLAN.next_commands())),
        "3.11.0",
        "2.21.0",
    ):
        assert told in words
    # Names of classes are escaped.
    page = render_page(quickstart_page(_results()))
    assert "<i>" not in page and "&lt;i&gt;" in page


READINGS = [
    (0.02, "1.60 to 2.40 points, does not contain zero: on such classes, this CML run is better than this MAML"),
    (-0.02, "−2.40 to −1.60 points, does not contain zero: on such classes, this MAML run is better than this"),
    (0.001, "−0.30 to 0.50 points, contains zero: these 600 episodes do not show"),
]


def test_the_reading_follows_the_interval_and_names_its_limits():
    for mean, says in READINGS:
        text = reading(PairedDifference(mean, 0.004, 600))
        assert says in text
        assert "one seed" in text and "does not compare the methods in general" in text
