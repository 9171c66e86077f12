"""The paper's figures beside those measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cml_tf.experiments.arguments import experiment_name
from cml_tf.experiments.configuration import load_config
from cml_tf.readouts.readouts import READOUTS
from cml_tf.studies.paper import paper_figures, paper_tables
from cml_tf.studies.scores import settings
from cml_tf.studies.tables import NOT_RUN
from tests.helpers.sweep_results import result

ROOT = Path(__file__).resolve().parents[2]
BY_RUN = {(figure.setting, figure.run): figure for figure in paper_figures()}


@pytest.mark.parametrize("setting, run", BY_RUN, ids=lambda value: str(value))
def test_every_cell_has_a_configuration(setting, run):
    data, *episodes = re.split(r"_(?=\d+(?:way|shot))", setting)
    source = f"{ROOT}/configs/{data}.py:{','.join([*episodes, run.replace(':', ',')])}"
    assert experiment_name(source, load_config(source)) == f"{setting}_{run}".replace(":", "-")
    for reading in BY_RUN[setting, run].readings:
        assert reading in ("", "co_learner_0_steps", "5_steps", "10_steps", *READOUTS)


def test_cells_are_there_once_and_percentages():
    cells = [(figure.table, figure.data, figure.method) for figure in paper_figures()]
    assert len(cells) == len(set(cells))
    assert {figure.table for figure in paper_figures()} == {"1", "2 and 9", "3", "4", "5", "7", "8", "Figure 2"}
    for figure in paper_figures():
        assert figure.mean is None or 20.0 < figure.mean < 100.0
        assert (figure.mean is None) == bool(figure.note)
        assert figure.half_width is None or 0.0 < figure.half_width < 3.0


def test_what_was_run_stands_beside_the_paper_and_the_rest_says_so():
    results = [result("cml", s, (0.9, 0.9), setting="omniglot_5way_1shot") for s in (0, 1)]
    measured, rest = paper_tables(settings(results))
    rows = {row[:3]: row for row in measured.rows}
    beside = rows["2 and 9", "Omniglot 5-way, 1-shot", "CML, 4-conv"]
    assert beside[3:] == ("93.99", "CML", "90.00 ± 0.00", "the same", "300, 2")
    # Tables 1, 5 and 8 have plain CML on miniImageNet, the other data are those of tables that compare data.
    assert {row[0] for row in measured.rows if row != beside} == {"1", "5", "8"}
    assert {row[6] for row in measured.rows if row != beside} == {"omniglot"}
    other = {row[:3]: row for row in rest.rows}["1", "miniImageNet 5-way, 1-shot", "MAML"]
    assert other[3:] == ("47.44 ± 0.23", "MAML", NOT_RUN, "", "")
    cells = [len(figure.readings) for figure in paper_figures()]
    assert len(measured.rows) + len(rest.rows) == sum(cells)


def test_waves_stand_beside_figure_2_and_other_ways_nowhere():
    other = result("cml", 0, (0.9, 0.9), setting="omniglot_20way_1shot")
    assert paper_tables(settings([other]))[0].rows == ()
    further = {"5_steps": {"scores": [0.2, 0.2]}}
    runs = [result("maml", s, (0.4, 0.5), metric="mse", evaluations=further, setting="sinusoid_10shot") for s in (0, 1)]
    assert [(*row[:6], row[7]) for row in paper_tables(settings(runs))[0].rows] == [
        ("Figure 2", "sine waves, K = 10", "MAML", "a picture, no number", "MAML", "0.450 ± 0.000", "300, 2"),
        ("Figure 2", "sine waves, K = 10", "MAML", "a picture, no number", "MAML [5_steps]", "0.200 ± 0.000", "300, 2"),
    ]


def test_both_readings_of_the_dagger_are_shown():
    found = [row for row in paper_tables({})[1].rows if row[:2] == ("1", "miniImageNet 5-way, 5-shot")]
    assert [row[4] for row in found if row[2] == "MAML + CML-dagger"] == [
        "CML [co_learner]",
        "CML [co_learner_theta_adapted]",
    ]
