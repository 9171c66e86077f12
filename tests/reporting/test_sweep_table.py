"""Tables of sweeps: intervals over seeds, differences on the same episodes, and holes that say so."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.reporting.sweep_table import Cell, markdown, over_seeds, pairs
from cml_tf.statistics import confidence_interval


def result(method, seed, scores, variant="", metric="accuracy", manifest=None):
    source = f"configs/cora_2way_1shot_{method}.py" + (f":{variant}" if variant else "")
    return {
        "run": f"{source}-{seed}",
        "source": source,
        "seed": seed,
        "scores": list(scores),
        "mean": float(np.mean(scores)),
        "metric": metric,
        "manifest_hash": manifest or f"episodes of seed {seed}",
    }


MAML = {0: (0.5, 0.7), 1: (0.6, 0.6), 2: (0.4, 0.6)}
CML = {0: (0.6, 0.8), 1: (0.6, 0.7), 2: (0.6, 0.6)}
RESULTS = [
    *(result("maml", seed, scores) for seed, scores in MAML.items()),
    *(result("cml", seed, scores) for seed, scores in CML.items()),
]


def test_scores_have_an_interval_over_seeds():
    interval = over_seeds(pairs(RESULTS)[Cell("cora_2way_1shot", "")].maml)
    assert interval.mean == pytest.approx(100 * (0.6 + 0.6 + 0.5) / 3)
    assert interval.half_width == pytest.approx(confidence_interval(np.array([60.0, 60.0, 50.0])))


def test_differences_are_paired_by_episode():
    differences = pairs(RESULTS)[Cell("cora_2way_1shot", "")].differences()
    np.testing.assert_allclose(differences[2], [0.2, 0.0])
    by_seed = confidence_interval(np.array([10.0, 5.0, 10.0]))
    by_episode = confidence_interval(np.array([10.0, 10.0, 0.0, 10.0, 20.0, 0.0]))
    row = markdown(RESULTS).splitlines()[2]
    assert row.startswith("| cora_2way_1shot | maml | 3 | 56.67 ±")
    assert row.endswith(f"| +8.33 ± {by_seed:.2f} | ± {by_episode:.2f} |")


def test_what_was_not_run_says_so():
    row = markdown([*RESULTS[:3], result("maml", 0, (0.5, 0.5), "g_meta")]).splitlines()[2:]
    assert row[0].endswith("| not run | not run | not run |")
    assert row[1] == "| cora_2way_1shot | g_meta | 1 | not run | not run | not run | not run |"


def test_other_episodes_are_not_compared():
    other = result("cml", 0, (0.5, 0.5), manifest="others")
    with pytest.raises(ValueError, match="scored on different episodes"):
        markdown([*RESULTS[:3], other])


def test_regression_keeps_its_unit():
    results = [result("maml", seed, (1.5, 2.5), metric="mse") for seed in (0, 1)]
    assert "| 2.00 ± 0.00 |" in markdown(results)


def test_a_file_of_another_method_is_refused():
    with pytest.raises(ValueError, match="end in _maml or _cml"):
        markdown([{**RESULTS[0], "source": "configs/other.py"}])
