"""Tables of sweeps: intervals over seeds, differences on the same episodes, holes that say so, the paper's figures."""

from __future__ import annotations

import re
from pathlib import Path

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
from tests.helpers.sweep_results import CML_SCORES, MAML_SCORES, RESULTS, SETTING, result


def pairs(rows):
    return [(row[0], row[3]) for row in rows]


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
    only_without = runs_of("maml", (0.5, 0.5), (0.5, 0.5), variant="anil")
    rows = bases_table(settings([*RESULTS, *only_without])).rows
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
    maml = runs_of("maml", (0.5, 0.5), (0.5, 0.5), evaluations=scores_of(**{"5_steps": 0.6}))
    cml = runs_of("cml", (0.6, 0.7), (0.6, 0.7), evaluations=scores_of(co_learner=0.9, **{"5_steps": 0.7}))
    anil = runs_of("maml", (0.4, 0.4), (0.4, 0.4), variant="anil")
    assert pairs(table_of(anil, cml, maml).rows) == [
        ("MAML", ""),
        ("MAML [5_steps]", ""),
        ("CML", "+15.00 ± 0.00"),
        ("CML [5_steps]", "+10.00 ± 0.00"),
        ("CML [co_learner]", "+40.00 ± 0.00"),
        ("MAML:anil", "−10.00 ± 0.00"),
    ]
    cml = runs_of("cml", (0.6, 0.7), (0.6, 0.7), evaluations=scores_of(co_learner=0.9))
    noise = {"variant": "random_noise", "evaluations": scores_of(co_learner=0.2)}
    found = settings([*cml, *runs_of("cml", (0.5, 0.5), (0.5, 0.5), **noise)])
    table = methods_table(found[SETTING], method_named(found, "CML:random_noise"))
    assert table.columns[3] == "minus CML:random_noise, ± over seeds"
    assert pairs(table.rows) == [
        ("CML", "+15.00 ± 0.00"),
        ("CML [co_learner]", "+70.00 ± 0.00"),
        ("CML:random_noise", ""),
        ("CML:random_noise [co_learner]", ""),
    ]
    table = methods_table(found[SETTING], method_named(found, "CML:random_noise [co_learner]"))
    assert [row[3] for row in table.rows] == ["+45.00 ± 0.00", "+70.00 ± 0.00", "+30.00 ± 0.00", ""]
    with pytest.raises(ValueError, match=r"one of CML, CML \[co_learner\], .*, received 'MAML'"):
        method_named(found, "MAML")


def test_readings_are_ordered_by_their_numbers():
    order = ["0_steps", "5_steps", "10_steps", "co_learner", "co_learner_0_steps"]
    (run,) = runs_of("cml", (0.4, 0.4), evaluations=scores_of(**dict.fromkeys(sorted(order), 0.4)))
    assert [method.evaluation for method in settings([run])[SETTING]] == ["", *order]


HALF, MORE = (0.5, 0.5), (0.6, 0.6)
FEW = {
    "one seed": (
        (runs_of("maml", HALF), runs_of("cml", MORE)),
        1,
        ("1", "60.00 (one seed)", "+10.00 (one seed)", "± 0.00"),
    ),
    "fewer seeds": (
        (runs_of("maml", HALF, HALF), runs_of("cml", MORE, MORE, MORE)),
        1,
        ("3", "60.00 ± 0.00", "+10.00 ± 0.00 (2 seeds)", "± 0.00"),
    ),
    "no MAML": ((runs_of("cml", MORE, variant="smoke"),), 0, ("1", "60.00 (one seed)", "no MAML here", "")),
    "no seed in common": (
        (RESULTS[:3], [result("cml", 7, HALF)]),
        1,
        ("1", "50.00 (one seed)", "no seed in common", ""),
    ),
    "regression": ((runs_of("maml", (1.5, 2.5), (1.5, 2.5), metric="mse"),), 0, ("2", "2.000 ± 0.000", "", "")),
}


@pytest.mark.parametrize("runs, row, expected", FEW.values(), ids=FEW)
def test_what_a_row_says_of_few_seeds(runs, row, expected):
    assert table_of(*runs).rows[row][1:] == expected


def test_other_episodes_and_runs_of_no_method_are_refused():
    with pytest.raises(ValueError, match="must be scored on the same episodes"):
        table_of(RESULTS[:3], [result("cml", 0, (0.5, 0.5), manifest="others")])
    with pytest.raises(
        ValueError, match=r"must be named SETTING_maml-VARIANTS-seedN .* received 'other-seed0' of configs/cora\.py"
    ):
        settings([{**RESULTS[0], "run": "other-seed0"}])


@pytest.mark.parametrize("variant", ["more_maml", "sharp_maml,fan_in_uniform", "boil"])
def test_variants_that_end_as_methods_do_are_variants(variant):
    (methods,) = settings([result("maml", 0, (0.4, 0.4), variant)]).values()
    assert [method.name for method in methods] == [f"MAML:{variant}"]


def test_lines_of_files_that_had_the_setting_in_their_names_stand_with_others():
    older = {**RESULTS[0], "source": f"configs/{SETTING}_maml.py"}
    tables = [methods_table(settings(runs)[SETTING]) for runs in ([older, *RESULTS[1:]], RESULTS)]
    assert tables[0] == tables[1]
    assert machines([older, *RESULTS[1:]]) == machines(RESULTS)


def test_the_markdown_is_a_table():
    lines = markdown(methods_table({ScoredMethod("maml", "a|b"): {0: RESULTS[0]}})).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and lines[1] == "|---|---|---|---|---|"
    assert lines[2].startswith("| MAML:a&#124;b | 1 |")


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

    alike = [result("maml", seed, (0.4, 0.4), config=config(seed, 100)) for seed in (0, 1)]
    assert len(settings(alike)[SETTING][MAML]) == 2
    # Written before there was another key: its default is what was done.
    older = {**alike[1], "config": {**alike[1]["config"], "learner": {"new": 1}}}
    assert len(settings([alike[0], older])[SETTING][MAML]) == 2
    other = result("maml", 2, (0.4, 0.4), config=config(2, 200))
    with pytest.raises(ValueError, match=rf"seed0 and .*seed2 are .* differ in {key} \(100 and 200\)"):
        settings([*alike, other])


@pytest.mark.parametrize("method, co_learner", [("cml", "none"), ("maml", "cooperative")])
def test_a_file_that_was_changed_into_the_other_method_is_refused(method, co_learner):
    config = {"objective": {"co_learner": co_learner}}
    with pytest.raises(ValueError, match="run the sweep again with the intended method"):
        settings([result(method, 0, (0.4, 0.4), config=config)])


def test_the_budget_is_told_and_who_has_another():
    def config(steps, queries=15):
        train = {"steps": steps, "meta_batch": 4}
        data = {"name": "omniglot", "queries": queries}
        return {"train": train, "dataset": data, "eval": {"episodes": 600, "queries": 0}}

    runs = [result("maml", seed, (0.4, 0.4), config=config(15000)) for seed in (0, 1)]
    runs += [result("cml", seed, (0.4, 0.4), config=config(15000)) for seed in (0, 1)]
    usual = (
        "Trained for 15,000 outer steps of 4 episodes, scored on the first 600 episodes with 15 queries a class of the "
        "test split, seeds 0, 1."
    )
    assert budget(settings(runs)[SETTING]) == usual
    runs.append(result("maml", 0, (0.4, 0.4), "anil", config=config(300)))
    assert budget(settings(runs)[SETTING]).startswith(f"{usual} MAML:anil: Trained for 300 outer steps")
    assert budget(settings(RESULTS)[SETTING]) == ""


def test_errors_beyond_all_measure_stay_readable():
    (row,) = table_of(runs_of("maml", (1.0, 1.0), (3e25, 3e25), metric="mse")).rows
    assert row[2].startswith("1.50e+25 ± ") and row[2].endswith("e+26")


ROOT = Path(__file__).resolve().parents[2]
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
