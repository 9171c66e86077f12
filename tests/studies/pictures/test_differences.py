"""Scores by seed and paired differences, as drawn."""

import numpy as np

from cml_tf.studies.pictures.differences import draw_differences, write_differences
from cml_tf.studies.scores import MAML, ScoredMethod, paired, settings
from tests.helpers.sweep_results import RESULTS


def test_each_method_has_a_row_with_its_seeds_and_its_paired_difference(tmp_path):
    found = settings(RESULTS)
    figure = draw_differences(found)
    assert len(figure.axes) == 2 * len(found)
    for left, right, methods in zip(figure.axes[::2], figure.axes[1::2], found.values(), strict=True):
        assert [label.get_text() for label in left.get_yticklabels()] == [method.name for method in methods]
        for row, (method, runs) in enumerate(methods.items()):
            seeds = next(line for line in left.lines if line.get_marker() == "o" and line.get_ydata()[0] == row)
            factor = 100 if next(iter(runs.values()))["metric"] == "accuracy" else 1
            np.testing.assert_allclose(seeds.get_xdata(), [factor * run["mean"] for run in runs.values()])
            drawn = [line for line in right.lines if line.get_marker() == "D" and line.get_ydata()[0] == row]
            alike = ScoredMethod("maml", evaluation=method.evaluation)
            others = methods.get(alike, methods.get(MAML))
            if runs is not others and others and (difference := paired(runs, others)):
                np.testing.assert_allclose([*map(float, drawn[0].get_xdata())], [difference.over_seeds.mean])
            else:
                assert not drawn
    write_differences(found, MAML, tmp_path / "a.png")
    write_differences(found, MAML, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
