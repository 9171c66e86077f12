"""Accuracy beside cost: methods are joined by their words, and what does not fit is told."""

import json

import pytest

from benchmarks.performance.system_scores import draw, joined, read_costs, table, words_of
from cml_tf.errors import UserError
from cml_tf.studies.results import read_results
from cml_tf.studies.scores import MAML, ScoredMethod, settings
from tests.helpers.programs import ROOT

SERVED = {"step_milliseconds": 215.4, "times_maml": 0.51, "grpc_milliseconds": 15.0, "adapted_numbers": 325}
COSTS = {"maml": {**SERVED, "times_maml": 1.0}, "maml,steepest_descent": SERVED, "maml,never_trained": SERVED}


def trained():
    return settings(read_results(ROOT / "docs/results/fiml_glyphs.jsonl").values())


def test_methods_that_were_trained_and_measured_have_a_row():
    methods = (ScoredMethod("maml", "gradient_flow"), ScoredMethod("cml"))
    assert [*map(words_of, methods)] == ["maml,gradient_flow", "cml"]
    drawn = table(trained(), COSTS)
    assert drawn.columns[:3] == ("method", "glyphs_5way_5shot", "minus MAML")
    assert [row[0] for row in drawn.rows] == ["MAML", "MAML:steepest_descent"]
    maml, descent = drawn.rows
    assert maml[1:3] == ("92.73 ± 2.30", "") and descent[1] == "97.45 ± 0.31" and descent[2].startswith("+4.7")
    assert maml[3:] == ("215", "1", "", "", "15", "325")


def test_the_picture_has_a_panel_for_each_setting_and_a_point_for_each_served_method():
    (axes,) = draw(trained(), COSTS).axes
    assert axes.get_title(loc="left") == "glyphs_5way_5shot"
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["MAML", "MAML:steepest_descent"]


def test_what_does_not_fit_is_told(tmp_path):
    found = trained()
    with pytest.raises(UserError, match="must share a method, received costs of maml,anil_2"):
        joined(found, {"maml,anil_2": SERVED})
    without = {name: {method: runs for method, runs in one.items() if method != MAML} for name, one in found.items()}
    with pytest.raises(UserError, match="results of glyphs_5way_5shot must contain MAML"):
        joined(without, COSTS)
    with pytest.raises(UserError, match="must contain served requests"):
        draw(found, {"maml": {"step_milliseconds": 1.0}})
    for content in ("{", "[]", json.dumps({"rows": {}})):
        (tmp_path / "costs.json").write_text(content)
        with pytest.raises(UserError, match="--costs must be a file of benchmarks.performance.systems"):
            read_costs(tmp_path / "costs.json", found)


def test_costs_are_those_of_the_size_that_was_trained(tmp_path):
    written = {"episodes": "5way,5shot", "filters": 32, "methods": COSTS}
    for filters, found in ((32, trained()), (33, {})):
        (tmp_path / "costs.json").write_text(json.dumps(written | {"filters": filters}))
        assert read_costs(tmp_path / "costs.json", found) == COSTS
    for other in ({"episodes": "5way,1shot"}, {"filters": 33}):
        (tmp_path / "costs.json").write_text(json.dumps(written | other))
        with pytest.raises(UserError, match="5way,5shot with 32 filters.*--task_size=5way,5shot --filters=32"):
            read_costs(tmp_path / "costs.json", trained())
    waves = settings(read_results(ROOT / "docs/results/meta_rkhs_waves.jsonl").values())
    with pytest.raises(UserError, match="must be of 10shot with 33 filters"):
        read_costs(tmp_path / "costs.json", waves)
