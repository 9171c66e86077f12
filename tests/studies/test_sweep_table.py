"""Tables of sweeps: intervals over seeds, differences on the same episodes, holes that say so, the paper's figures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cml_tf.experiments.arguments import experiment_name
from cml_tf.experiments.configuration import load_config
from cml_tf.registry import members
from cml_tf.studies.paper import paper_figures, paper_tables
from cml_tf.studies.scores import (
    CML,
    MAML,
    ScoredMethod,
    diverged,
    machines,
    method_named,
    over_seeds,
    paired,
    settings,
)
from cml_tf.studies.tables import NOT_RUN, bases_table, budget, diverged_table, machines_table, markdown, methods_table
from cml_tf.training.evaluator import confidence_interval
from tests.helpers.programs import ROOT
from tests.helpers.sweep_results import CML_SCORES, MAML_SCORES, RESULTS, SETTING, result

HALF, MORE, LESS = (0.5, 0.5), (0.6, 0.6), (0.4, 0.4)


def runs_of(method, *scores, variant="", **arguments):
    """A run a pair of scores, with the seeds 0, 1, ..."""
    return [result(method, seed, pair, variant, **arguments) for seed, pair in enumerate(scores)]


def table_of(*runs):
    return methods_table(settings([run for of_method in runs for run in of_method])[SETTING])


def scores_of(**evaluations):
    return {name: {"scores": [value, value]} for name, value in evaluations.items()}


def test_scores_have_an_interval_over_seeds_and_differences_are_paired_by_episode():
    methods = settings(RESULTS)[SETTING]
    score = over_seeds(methods[MAML])
    assert score.mean == pytest.approx(100 * (0.6 + 0.6 + 0.5) / 3)
    assert score.half_width == pytest.approx(confidence_interval(np.array([60.0, 60.0, 50.0])))
    difference = paired(methods[CML], methods[MAML])
    assert difference.over_seeds.mean == pytest.approx(25.0 / 3)
    assert difference.over_seeds.half_width == pytest.approx(confidence_interval(np.array([10.0, 5.0, 10.0])))
    by_episode = np.concatenate([100 * np.subtract(CML_SCORES[seed], MAML_SCORES[seed]) for seed in MAML_SCORES])
    assert difference.over_episodes == pytest.approx(confidence_interval(by_episode))


def test_each_base_stands_with_and_without_cml():
    rows = bases_table(settings([*RESULTS, *runs_of("maml", HALF, HALF, variant="anil")])).rows
    assert [row[:3] for row in rows] == [(SETTING, "maml", "3")]
    assert rows[0][3].startswith("56.67 ±") and rows[0][5].startswith("+8.33 ±")
    assert bases_table(settings(RESULTS[:5])).rows[0][2] == "3 and 2"


def test_machines_name_the_runs_that_they_trained():
    described = {"processor": "Fast 9000", "flags": ["avx2"], "cores": 2, "packages": {"tensorflow": "2.21.0"}}
    anil = runs_of("maml", (0.5, 0.5), (0.5, 0.5), variant="anil")
    recorded = [{**run, "machine": {**described, "kernel": str(i)}} for i, run in enumerate([*anil, RESULTS[3]])]
    table = machines_table(machines([*RESULTS[:3], {**anil[0], "machine": None}, *recorded]))
    assert table.rows == (
        ("Fast 9000 (avx2), 2 cores, tensorflow 2.21.0", "3", f"{SETTING}_maml:anil, {SETTING}_cml"),
        ("not recorded", "4", f"{SETTING}_maml, {SETTING}_maml:anil"),
    )


def test_every_method_stands_beside_plain_maml_or_another_one():
    maml = runs_of("maml", HALF, HALF, evaluations=scores_of(**{"5_steps": 0.6}))
    cml = runs_of("cml", (0.6, 0.7), (0.6, 0.7), evaluations=scores_of(co_learner=0.9, **{"5_steps": 0.7}))
    anil = runs_of("maml", LESS, LESS, variant="anil")
    assert [(row[0], row[3]) for row in table_of(anil, cml, maml).rows] == [
        ("MAML", ""),
        ("MAML [5_steps]", ""),
        ("CML", "+15.00 ± 0.00"),
        ("CML [5_steps]", "+10.00 ± 0.00"),
        ("CML [co_learner]", "+40.00 ± 0.00"),
        ("MAML:anil", "−10.00 ± 0.00"),
    ]
    cml = runs_of("cml", (0.6, 0.7), (0.6, 0.7), evaluations=scores_of(co_learner=0.9))
    noise = {"variant": "random_noise", "evaluations": scores_of(co_learner=0.2)}
    found = settings([*cml, *runs_of("cml", HALF, HALF, **noise)])
    for against, differences in (
        ("CML:random_noise", ["+15.00 ± 0.00", "+70.00 ± 0.00", "", ""]),
        ("CML:random_noise [co_learner]", ["+45.00 ± 0.00", "+70.00 ± 0.00", "+30.00 ± 0.00", ""]),
    ):
        table = methods_table(found[SETTING], method_named(found, against))
        assert table.columns[3] == f"minus {against}, ± over seeds" and [row[3] for row in table.rows] == differences
    with pytest.raises(ValueError, match=r"CML, CML \[co_learner\], .*; received 'MAML'"):
        method_named(found, "MAML")


def test_readings_are_ordered_by_their_numbers():
    order = ["0_steps", "5_steps", "10_steps", "co_learner", "co_learner_0_steps"]
    (run,) = runs_of("cml", LESS, evaluations=scores_of(**dict.fromkeys(sorted(order), 0.4)))
    assert [method.evaluation for method in settings([run])[SETTING]] == ["", *order]


# The runs, a row of their table, and what it says.
FEW = [
    (
        (runs_of("maml", HALF), runs_of("cml", MORE)),
        1,
        ("1", "60.00 (one seed)", "+10.00 (one seed)", "± 0.00"),
    ),
    (
        (runs_of("maml", HALF, HALF), runs_of("cml", MORE, MORE, MORE)),
        1,
        ("3", "60.00 ± 0.00", "+10.00 ± 0.00 (2 seeds)", "± 0.00"),
    ),
    ((runs_of("cml", MORE, variant="smoke"),), 0, ("1", "60.00 (one seed)", "no MAML here", "")),
    ((RESULTS[:3], [result("cml", 7, HALF)]), 1, ("1", "50.00 (one seed)", "no seed in common", "")),
    ((runs_of("maml", (1.5, 2.5), (1.5, 2.5), metric="mse"),), 0, ("2", "2.000 ± 0.000", "", "")),
]


@pytest.mark.parametrize("runs, row, expected", FEW)
def test_what_a_row_says_of_few_seeds(runs, row, expected):
    assert table_of(*runs).rows[row][1:] == expected


def other_method(method, co_learner):
    return [result(method, 0, LESS, config={"objective": {"co_learner": co_learner}})]


@pytest.mark.parametrize(
    "runs, message",
    [
        ([*RESULTS[:3], result("cml", 0, HALF, manifest="others")], "different episodes"),
        ([{**RESULTS[0], "run": "other-seed0"}], r"'other-seed0' of configs/cora\.py"),
        # A file that was changed into the other method.
        (other_method("cml", "none"), "sweep the method that is meant"),
        (other_method("maml", "cooperative"), "sweep the method that is meant"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        table_of(runs)


def test_names_of_variants_and_of_before_and_of_tables():
    for variant in ("more_maml", "sharp_maml,fan_in_uniform", "boil"):
        (methods,) = settings([result("maml", 0, LESS, variant)]).values()
        assert [method.name for method in methods] == [f"MAML:{variant}"]
    older = [{**RESULTS[0], "source": f"configs/{SETTING}_maml.py"}, *RESULTS[1:]]
    assert table_of(older) == table_of(RESULTS) and machines(older) == machines(RESULTS)
    lines = markdown(methods_table({ScoredMethod("maml", "a|b"): {0: RESULTS[0]}})).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and lines[1] == "|---|---|---|---|---|"
    assert lines[2].startswith("| MAML:a&#124;b | 1 |")
    (row,) = table_of(runs_of("maml", (1.0, 1.0), (3e25, 3e25), metric="mse")).rows
    assert row[2].startswith("1.50e+25 ± ") and row[2].endswith("e+26")


def test_an_evaluation_that_diverged_is_in_no_mean_and_is_named():
    reason = {"10_steps": {"asked": {}, "diverged": "mse is not finite in 3 of 600 episodes"}}
    runs = [
        result("maml", seed, HALF, evaluations=one) for seed, one in enumerate([scores_of(**{"10_steps": 0.2}), reason])
    ]
    rows = [row[:3] for row in table_of(runs).rows]
    assert rows == [("MAML", "2", "50.00 ± 0.00"), ("MAML [10_steps]", "1", "20.00 (one seed)")]
    (lost,) = diverged(runs)
    assert (lost.setting, lost.method, lost.run) == (SETTING, ScoredMethod("maml", "", "10_steps"), runs[1]["run"])
    assert diverged_table([lost]).rows == ((runs[1]["run"], "10_steps", "mse is not finite in 3 of 600 episodes"),)
    assert methods_table(settings(runs)[SETTING], MAML, [lost.method]).rows[1][1] == "1 (1 diverged)"
    runs = runs_of("maml", HALF, HALF, evaluations=reason)
    table = methods_table(settings(runs)[SETTING], MAML, [one.method for one in diverged(runs)])
    assert table.rows[1] == ("MAML [10_steps]", "0 (2 diverged)", "diverged", "", "")


@pytest.mark.parametrize("key", ["train.steps", "objective.gamma"])
def test_seeds_of_one_method_must_have_one_configuration(key):
    def config(seed, value):
        part, name = key.split(".")
        return {"seed": seed, "eval": {"seed": seed}, "dataset": {"class_seed": seed}, part: {name: value}}

    alike = [result("maml", seed, LESS, config=config(seed, 100)) for seed in (0, 1)]
    assert len(settings(alike)[SETTING][MAML]) == 2
    # Written before there was another key: its default is what was done.
    older = {**alike[1], "config": {**alike[1]["config"], "learner": {"new": 1}}}
    assert len(settings([alike[0], older])[SETTING][MAML]) == 2
    other = result("maml", 2, LESS, config=config(2, 200))
    with pytest.raises(ValueError, match=rf"seed0 and .*seed2 are .* differ in {key} \(100 and 200\)"):
        settings([*alike, other])


def test_the_budget_is_told_and_who_has_another():
    def config(steps, queries=15):
        train = {"steps": steps, "meta_batch": 4}
        data = {"name": "omniglot", "queries": queries}
        return {"train": train, "dataset": data, "eval": {"episodes": 600, "queries": 0}}

    runs = [result(method, seed, LESS, config=config(15000)) for method in ("maml", "cml") for seed in (0, 1)]
    usual = budget(settings(runs)[SETTING])
    assert all(word in usual for word in ("15,000 outer", "4 episodes", "600 episodes", "15 queries", "test", "0, 1"))
    runs.append(result("maml", 0, LESS, "anil", config=config(300)))
    assert budget(settings(runs)[SETTING]).startswith(f"{usual} MAML:anil: Trained for 300 outer steps")
    assert budget(settings(RESULTS)[SETTING]) == ""


BY_RUN = {(figure.setting, figure.run): figure for figure in paper_figures()}


@pytest.mark.parametrize("setting, run", BY_RUN, ids=lambda value: str(value))
def test_every_cell_has_a_configuration(setting, run):
    data, *episodes = re.split(r"_(?=\d+(?:way|shot))", setting)
    source = f"{ROOT}/configs/{data}.py:{','.join([*episodes, run.replace(':', ',')])}"
    assert experiment_name(source, load_config(source)) == f"{setting}_{run}".replace(":", "-")
    for reading in BY_RUN[setting, run].readings:
        assert reading in ("", "co_learner_0_steps", "5_steps", "10_steps", *members("readout"))


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
        ("Figure 2", "sine waves, K = 10", "MAML", "a picture without numbers", "MAML", "0.450 ± 0.000", "300, 2"),
        (
            "Figure 2",
            "sine waves, K = 10",
            "MAML",
            "a picture without numbers",
            "MAML [5_steps]",
            "0.200 ± 0.000",
            "300, 2",
        ),
    ]


def test_both_readings_of_the_dagger_are_shown():
    found = [row for row in paper_tables({})[1].rows if row[:2] == ("1", "miniImageNet 5-way, 5-shot")]
    assert [row[4] for row in found if row[2] == "MAML + CML-dagger"] == [
        "CML [co_learner]",
        "CML [co_learner_theta_adapted]",
    ]
