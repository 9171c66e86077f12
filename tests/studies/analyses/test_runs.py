"""Runs are opened, compared and measured; here they have their first weights. Several seeds of one method together."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.experiments import presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.stored import RunError
from cml_tf.studies.analyses.rows import ALL_SEEDS, shown, with_all_seeds
from cml_tf.studies.analyses.runs import Run, manifests, open_runs, summarise
from cml_tf.training.evaluator import confidence_interval
from tests.helpers.small_configs import changed, waves


def run_of(config, name="run") -> Run:
    return Run(name, Path(name), build_experiment(config), "#000000")


def test_measuring_goes_through_the_fixed_test_episodes_in_order_and_names_one_without_a_finite_result():
    run = run_of(waves(), "exploding")
    targets = run.experiment.episodes("test").batch(0, 6).query.targets.numpy()
    sums = run.measured(lambda task: tf.reduce_sum(task.query.targets), 6)
    np.testing.assert_allclose(sums, targets.sum((1, 2)), rtol=1e-5)
    pairs = run.measured(lambda task: (task.query.targets, task.support.targets), 3, lambda pair: len(pair[0]))
    np.testing.assert_array_equal(pairs, [3, 3, 3])
    with pytest.raises(RunError, match="exploding: .*episode 2"):
        run.measured(lambda task: tf.where(task.query.targets[0] == targets[2, 0], np.inf, 0.0), 4)


@pytest.mark.slow
def test_runs_must_have_the_same_test_episodes_seed_by_seed():
    cml, maml = run_of(waves(), "cml"), run_of(waves("maml"), "maml")
    (own,) = manifests([cml], 4)
    assert manifests([cml, maml], 4) == [own, own] and manifests([cml], 5) != [own]
    with pytest.raises(RunError, match="'cml' and 'other' have different ones"):
        manifests([cml, run_of(waves(**{"dataset.shots": 2}), "other")], 4)
    further, of_maml = (run_of(waves(**{"seed": 1, "eval.seed": 1}), name) for name in ("cml", "maml"))
    other = manifests([further], 4)[0]
    assert own != other and manifests([cml, further, of_maml, maml], 4) == [own, other, other, own]
    with pytest.raises(RunError, match="the same seeds of each method"):
        manifests([cml, further, maml], 4)
    for workdirs, names in (([], []), ([Path("a"), Path("b")], ["x"])):
        with pytest.raises(RunError, match="each run needs a name"):
            open_runs(workdirs, names)


def test_a_run_is_as_at_its_last_outer_step():
    """MAML++ after a third of its training: of first order, with weights on early steps; at the end neither."""
    short = {"learner.hidden": (4,), "train.steps": 100, "train.cosine_steps": 100, "adaptation.steps": 2}
    short |= {"train.first_order_steps": 50, "objective.multi_step_until": 40, "adaptation.eval_steps": 3}
    config = changed(presets.sinusoid("3shot,maml_plus_plus"), **short)
    run = run_of(config)
    trainer = run.experiment.trainer
    weights = {}
    for step in (20, 50, 51, 100):
        trainer.step = step
        method = run.at_its_end()
        weights[step] = {term.name: term.weight_at(step - 1) for term in method.terms}
        assert method.rule.hypergradient.second_order == (step > 50)
        assert method.rule.steps == 2
    assert weights[20]["step_1_loss"] == pytest.approx((1 - 19 / 40) / 2)
    assert weights[51] == weights[100] == {"query_loss": 1.0, "step_1_loss": 0.0, "co_learner": 0.2}
    assert run.evaluation_rule().steps == 3


def test_summaries_leave_out_what_is_not_defined():
    values = np.array([1.0, math.nan, 2.0, 4.0])
    mean, ci95, episodes = summarise(values)
    assert (mean, episodes) == (pytest.approx(7 / 3), 3)
    assert ci95 == pytest.approx(confidence_interval(np.array([1.0, 2.0, 4.0])))
    assert summarise(np.array([math.nan, 3.0]))[0] == 3.0
    assert math.isnan(summarise(np.array([math.nan, 3.0])).ci95)
    nothing = summarise(np.array([math.nan]))
    assert math.isnan(nothing.mean) and math.isnan(nothing.ci95) and nothing.episodes == 0


MEANS = {("a", 0): [1.0, 5.0], ("a", 1): [2.0, 7.0], ("a", 2): [6.0, 6.0], ("b", 0): [3.0, 4.0]}


def rows(**more):
    return [
        {"run": run, "seed": seed, "layer": layer, "mean": mean, "ci95": 9.0, "episodes": 4 + seed, **more}
        for (run, seed), means in MEANS.items()
        for layer, mean in zip(("one", "two"), means, strict=True)
    ]


def test_several_seeds_get_a_row_of_their_means_behind_those_of_their_own_name():
    interleaved = sorted(rows(), key=lambda row: row["seed"])
    for table in map(with_all_seeds, (rows(), interleaved)):
        assert [row["run"] for row in table] == ["a"] * 8 + ["b"] * 2
    table = with_all_seeds(rows())
    assert [row for row in table if row["seed"] != ALL_SEEDS] == rows()
    one, two = [row for row in table if row["seed"] == ALL_SEEDS]
    assert [one[key] for key in ("run", "layer", "mean", "episodes")] == ["a", "one", 3.0, 15]
    assert [two[key] for key in ("run", "layer", "mean", "episodes")] == ["a", "two", 6.0, 15]
    assert one["ci95"] == pytest.approx(confidence_interval(np.array([1.0, 2.0, 6.0])))
    # Student's quantile for two degrees of freedom, from a table.
    assert two["ci95"] == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert [(row["run"], row["seed"]) for row in shown(table)] == [("a", ALL_SEEDS)] * 2 + [("b", 0)] * 2
