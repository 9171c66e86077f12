"""Tables of sweeps: intervals over seeds, differences on the same episodes, holes that say so, the paper's figures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cml_tf.errors import UserError
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
    # What no other method was asked stands beside none.
    elsewhere = {"glyphs": {"scores": [0.9, 0.9], "manifest_hash": "other episodes"}}
    table = table_of(runs_of("maml", HALF), runs_of("cml", MORE, evaluations=elsewhere))
    assert [(row[0], row[3]) for row in table.rows[1:]] == [
        ("CML", "+10.00 (one seed)"),
        ("CML [glyphs]", "no run of MAML"),
    ]
    with pytest.raises(UserError, match=r"CML, CML \[co_learner\], .*, received 'MAML'"):
        method_named(found, "MAML")


TWO, ZERO = "60.00 ± 0.00", "± 0.00"
# The runs, a row of their table, and what it says.
FEW = [
    ((runs_of("maml", HALF), runs_of("cml", MORE)), 1, ("1", "60.00 (one seed)", "+10.00 (one seed)", ZERO)),
    (
        (runs_of("maml", HALF, HALF), runs_of("cml", MORE, MORE, MORE)),
        1,
        ("3", TWO, "+10.00 ± 0.00 (2 seeds)", "± 0.00"),
    ),
    ((runs_of("cml", MORE, variant="smoke"),), 0, ("1", "60.00 (one seed)", "no run of MAML", "")),
    ((RESULTS[:3], [result("cml", 7, HALF)]), 1, ("1", "50.00 (one seed)", "no seed in common", "")),
    ((runs_of("maml", (1.5, 2.5), (1.5, 2.5), metric="mse"),), 0, ("2", "2.000 ± 0.000", "", "")),
    ((runs_of("maml", (0.001, 0.0018), (0.001, 0.0022), metric="mse"),), 0, ("2", "0.00150 ± 0.00127", "", "")),
]


@pytest.mark.parametrize("runs, row, expected", FEW)
def test_what_a_row_says_of_few_seeds(runs, row, expected):
    assert table_of(*runs).rows[row][1:] == expected


def other_method(method, co_learner):
    return [result(method, 0, LESS, config={"objective": {"co_learner": co_learner}})]


@pytest.mark.parametrize(
    "runs, message",
    [
        ([*RESULTS[:3], result("cml", 0, HALF, manifest="others")], "on the same episodes"),
        ([{**RESULTS[0], "run": "other-seed0"}], r"'other-seed0' of configs/cora\.py"),
        # A file that was changed into the other method.
        (other_method("cml", "none"), "run the sweep again with the intended method"),
        (other_method("maml", "cooperative"), "run the sweep again with the intended method"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, message):
    with pytest.raises(UserError, match=message):
        table_of(runs)


def test_names_of_variants_and_of_before_and_of_tables():
    for variant in ("more_maml", "sharp_maml,fan_in_uniform"):
        (methods,) = settings([result("maml", 0, LESS, variant)]).values()
        assert [method.name for method in methods] == [f"MAML:{variant}"]
    older = [{**RESULTS[0], "source": f"configs/{SETTING}_maml.py"}, *RESULTS[1:]]
    assert table_of(older) == table_of(RESULTS)
    described = {"processor": "Fast 9000", "flags": ["avx2"], "cores": 2, "packages": {"tensorflow": "2.21.0"}}
    assert machines_table(machines([{**RESULTS[0], "machine": described}, *older[1:3]])).rows == (
        ("Fast 9000 (avx2), 2 cores, tensorflow 2.21.0", "1", f"{SETTING}_maml"),
        ("not recorded", "2", f"{SETTING}_maml"),
    )
    lines = markdown(methods_table({ScoredMethod("maml", "a|b"): {0: RESULTS[0]}})).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and lines[2].startswith("| MAML:a&#124;b | 1 |")


def test_an_evaluation_that_diverged_is_in_no_mean_and_is_named():
    told = "mse is not finite in 3 of 600 episodes"
    reason = {"10_steps": {"asked": {}, "diverged": told}}
    of_seeds = enumerate([scores_of(**{"10_steps": 0.2}), reason])
    runs = [result("maml", seed, HALF, evaluations=one) for seed, one in of_seeds]
    (lost,) = diverged(runs)
    assert (lost.setting, lost.method, lost.run) == (SETTING, ScoredMethod("maml", "", "10_steps"), runs[1]["run"])
    assert diverged_table([lost]).rows == ((runs[1]["run"], "10_steps", told),)
    rows = methods_table(settings(runs)[SETTING], MAML, [lost.method]).rows
    assert [row[1:3] for row in rows] == [("2", "50.00 ± 0.00"), ("1 (1 diverged)", "20.00 (one seed)")]
    runs = runs_of("maml", HALF, HALF, evaluations=reason)
    table = methods_table(settings(runs)[SETTING], MAML, [one.method for one in diverged(runs)])
    assert table.rows[1] == ("MAML [10_steps]", "0 (2 diverged)", "diverged", "", "")


def test_seeds_of_one_method_must_have_one_configuration_which_is_told():
    def run(seed, value, variant="", **more):
        config = {"train": {"steps": value, "meta_batch": 4}, "eval": {"seed": seed, "episodes": 600, "queries": 0}}
        config |= {"seed": seed, "dataset": {"class_seed": seed, "name": "omniglot", "queries": 15}, **more}
        return result("maml", seed, LESS, variant, config=config)

    # Written before there was another key: its default is what was done.
    alike = [run(0, 15000), run(1, 15000), run(2, 15000, learner={"new": 1})]
    assert len(settings(alike)[SETTING][MAML]) == 3
    with pytest.raises(UserError, match=r"seed0 and .*seed3 .*train.steps \(15000 and 200\)"):
        settings([*alike, run(3, 200)])
    usual = budget(settings(alike)[SETTING])
    assert all(word in usual for word in ("15,000 outer", "4 episodes", "600 episodes", "15 queries", "test", "0, 1"))
    several = budget(settings([*alike, run(0, 300, "anil")])[SETTING])
    assert several.startswith(f"{usual} MAML:anil: Trained for 300 outer steps") and not budget(
        settings(RESULTS)[SETTING]
    )


def test_every_cell_of_the_paper_is_there_once_a_percentage_and_has_a_configuration():
    figures = paper_figures()
    assert len({(figure.table, figure.data, figure.method) for figure in figures}) == len(figures)
    assert {figure.table for figure in figures} == {"1", "2 and 9", "3", "4", "5", "7", "8", "Figure 2"}
    for figure in figures:
        assert figure.mean is None or 20.0 < figure.mean < 100.0
        assert (figure.mean is None) == bool(figure.note)
        assert figure.half_width is None or 0.0 < figure.half_width < 3.0
        assert set(figure.readings) <= {"", "co_learner_0_steps", "5_steps", "10_steps", *members("readout")}
    for setting, run in {(figure.setting, figure.run) for figure in figures}:
        data, *episodes = re.split(r"_(?=\d+(?:way|shot))", setting)
        source = f"{ROOT}/configs/{data}.py:{','.join([*episodes, run.replace(':', ',')])}"
        assert experiment_name(source, load_config(source)) == f"{setting}_{run}".replace(":", "-")


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
    assert len(measured.rows) + len(rest.rows) == sum(len(figure.readings) for figure in paper_figures())


def test_waves_stand_beside_figure_2_and_other_ways_nowhere():
    other = result("cml", 0, (0.9, 0.9), setting="omniglot_20way_1shot")
    assert paper_tables(settings([other]))[0].rows == ()
    further = {"5_steps": {"scores": [0.2, 0.2]}}
    runs = [result("maml", s, (0.4, 0.5), metric="mse", evaluations=further, setting="sinusoid_10shot") for s in (0, 1)]
    shared = ("Figure 2", "sine waves, K = 10", "MAML", "a picture without numbers")
    assert [(*row[:6], row[7]) for row in paper_tables(settings(runs))[0].rows] == [
        (*shared, "MAML", "0.450 ± 0.000", "300, 2"),
        (*shared, "MAML [5_steps]", "0.200 ± 0.000", "300, 2"),
    ]
    # Both readings of the dagger are shown.
    readings = [row[4] for row in paper_tables({})[1].rows if row[2] == "MAML + CML-dagger"]
    assert {"CML [co_learner]", "CML [co_learner_theta_adapted]"} <= set(readings)
