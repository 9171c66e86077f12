import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cml_tf.studies.page import render_page
from cml_tf.training.evaluator import Evaluation, PairedDifference, compare
from export.quickstart.page import Classified, QuickstartResults, quickstart_page, reading
from export.quickstart.plan import CML, MAML, SINUSOID, Plan

_PLAN = Plan(Path("runs/quickstart"))
_CONFIG = _PLAN.config(CML)
_COMMANDS = (*_PLAN.reproduce(), *_PLAN.next_commands())


def _evaluation(mean, metric="accuracy"):
    return Evaluation(metric, np.array([mean - 0.01, mean, mean + 0.01]), 0, "same", {})


def test_numbers_settings_commands_and_versions_are_on_the_page():
    maml, cml = (_evaluation(mean) for mean in (0.7125, 0.7350))
    results = QuickstartResults(
        maml=Classified(_PLAN.config(MAML), maml, 1000, 1000),
        cml=Classified(_CONFIG, cml, 1000, 1750),
        difference=replace(compare(cml, maml), ci95=0.004),
        class_counts={"train": 862, "validation": 225, "test": 107},
        letters=("Ա armenian capital letter ayb", "<i>"),
        sinusoid=_PLAN.config(SINUSOID),
        sinusoid_scores={0: _evaluation(2.5, "mse"), 1: _evaluation(0.75, "mse")},
        reproduce=_PLAN.reproduce(),
        next_commands=(*_PLAN.next_commands(), _PLAN.notebook()),
        versions={"Python": "3.11.0", "tensorflow": "2.21.0"},
    )
    page = render_page(quickstart_page(results))
    assert "<i>" not in page and "&lt;i&gt;" in page, "names of classes are escaped"
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])))
    # Three scores 0.01 apart: Student's quantile 4.3027 times 0.01 / sqrt(3) is 2.48 points.
    for twice in ("71.25 ± 2.48 %", "73.50 ± 2.48 %", "+2.25 ± 0.40 points"):
        assert words.count(twice) >= 2
    for told in (
        *("1,000", "1,750", "862 Latin", "225 Greek", "107 Armenian", "2.50 ± 0.02", "0.75 ± 0.02", "3.11.0", "2.21.0"),
        f"{_CONFIG.train.steps} meta-steps of {_CONFIG.train.meta_batch} episodes",
        f"rate {_CONFIG.adaptation.rate:g}",
        *(f"{part.queries} queries of each" for part in (_CONFIG.dataset, _CONFIG.eval)),
        *(re.sub(r"\s+", " ", command.text) for command in _COMMANDS),
    ):
        assert told in words


READINGS = [
    (0.02, "1.60 to 2.40 points, does not contain zero.* this CML run is better than this MAML"),
    (-0.02, "−2.40 to −1.60 points, does not contain zero.* this MAML run is better than this"),
    (0.001, "−0.30 to 0.50 points, contains zero: these 600 episodes do not tell"),
]


@pytest.mark.parametrize(("mean", "says"), READINGS)
def test_the_reading_follows_the_interval_and_names_its_limits(mean, says):
    text = reading(PairedDifference(mean, 0.004, 600))
    assert re.search(says, text) and "one seed" in text and "no verdict" in text
