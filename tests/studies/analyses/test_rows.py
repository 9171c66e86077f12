"""What several seeds of one method give together: samples of the interval are the seeds, not their episodes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cml_tf.studies.analyses.rows import ALL_SEEDS, shown, with_all_seeds
from cml_tf.training.evaluator import confidence_interval

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


def test_places_and_shares_are_kept_apart():
    before, after = ({**row, "place": place} for row in rows()[:1] for place in ("before", "after"))
    second = {**before, "seed": 1, "mean": 5.0, "positive_share": 0.5}
    table = with_all_seeds([{**before, "positive_share": 1.0}, after, second])
    (pooled,) = [row for row in table if row["seed"] == ALL_SEEDS and row["place"] == "before"]
    assert (pooled["mean"], pooled["positive_share"]) == (3.0, 0.75)


def test_undefined_means_leave_their_seed_out():
    table = with_all_seeds([{**row, "mean": math.nan} if row["seed"] == 1 else row for row in rows()])
    (one, _) = [row for row in table if row["seed"] == ALL_SEEDS]
    assert one["mean"] == 3.5 and one["ci95"] == pytest.approx(confidence_interval(np.array([1.0, 6.0])))
