"""Learning curves of a sweep: means over seeds, as far as all runs of a method go."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cml_tf.experiments.runs import RunError
from cml_tf.studies.pictures.curves import mean_curves
from cml_tf.studies.pictures.of_runs import draw_setting, validation_curves
from cml_tf.studies.scores import MAML, settings
from tests.helpers.sweep_results import MAML_SCORES, SETTING, result

RUNS = [result("maml", seed, MAML_SCORES[seed]) for seed in (0, 1)]


def write_metrics(folder, values):
    folder.mkdir()
    lines = [{"step": 5, "split": "train", "accuracy": 0.0}]
    lines += [{"step": 10 * (i + 1), "split": "validation", "accuracy": value} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_curve_is_the_mean_as_far_as_all_runs_go(tmp_path):
    for run, values in zip(RUNS, ([0.2, 0.4, 0.9], [0.4, 0.5]), strict=True):
        write_metrics(tmp_path / run["run"], values)
    (curve,) = mean_curves(validation_curves(MAML, settings(RUNS)[SETTING][MAML], tmp_path, "accuracy"))
    assert (curve.run, curve.split, curve.steps.tolist()) == ("MAML", "validation", [10, 20])
    np.testing.assert_allclose(curve.values, [0.3, 0.45])


def test_a_setting_whose_runs_are_elsewhere_has_no_pictures(tmp_path):
    assert draw_setting(SETTING, settings(RUNS)[SETTING], tmp_path, tmp_path) == []


def test_a_damaged_run_is_named(tmp_path):
    (tmp_path / RUNS[0]["run"]).mkdir()
    with pytest.raises(RunError, match=r"cora_2way_1shot_maml-seed0/metrics\.jsonl must hold"):
        draw_setting(SETTING, settings(RUNS)[SETTING], tmp_path, tmp_path)
