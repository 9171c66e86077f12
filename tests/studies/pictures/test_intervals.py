from __future__ import annotations

import math

import numpy as np
import pytest

from cml_tf.studies.pictures.intervals import Interval, LayerInterval, draw_comparison, draw_layer_intervals
from cml_tf.studies.pictures.style import svg_bytes

_SCORES = [Interval("MAML", 71.25, 0.5), Interval("CML", 72.5, 0.75)]
_COLOURS = {"MAML": "#111111", "CML": "#222222", "CL": "#333333"}
_INTERVALS = [
    LayerInterval("CML", "one", 0.5, 0.1),
    LayerInterval("CML", "two", math.nan, math.nan),
    LayerInterval("CL", "one", -0.25, 0.2),
    LayerInterval("CL", "two", 0.75, math.nan),
]


def words(texts):
    return [text.get_text() for text in texts]


def test_scores_and_difference_are_drawn_where_they_are():
    left, right = draw_comparison(_SCORES, Interval("CML − MAML", -1.25, 0.5), "accuracy [%]", "points").axes
    for container, score in zip(left.containers, _SCORES, strict=True):
        assert container[0].get_xdata() == [score.mean]
        np.testing.assert_allclose(container[2][0].get_segments()[0][:, 0], [score.low, score.high])
    assert words(left.get_yticklabels()) == ["MAML", "CML"]
    assert words(left.texts) == ["71.25 ± 0.50", "72.50 ± 0.75"] and words(right.texts) == ["−1.25 ± 0.50"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("accuracy [%]", "points")
    low, high = right.get_xlim()
    assert low == -high and high > 1.75, "zero lies in the middle"
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in right.lines)


def test_an_interval_knows_whether_it_contains_zero_and_its_text():
    cases = [(1.0, 0.5, False), (-1.0, 0.5, False), (0.2, 0.5, True), (0.5, 0.5, True)]
    assert all(Interval("d", mean, half).contains_zero is contains for mean, half, contains in cases)
    assert Interval("d", -0.333, 0.75).text("+") == "−0.33 ± 0.75"
    assert Interval("d", 0.333, 0.75).text("+") == "+0.33 ± 0.75"
    assert Interval("d", 0.333, 0.75).text() == "0.33 ± 0.75"


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: Interval("d", 0.0, -0.1), "0 or more"),
        (lambda: Interval("d", 0.0, math.nan), "0 or more"),
        (lambda: draw_comparison([], Interval("d", 0.0, 1.0), "", ""), "scores must contain at least one score"),
        (lambda: draw_layer_intervals([], _COLOURS, "norm"), "intervals must contain at least one interval"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_layers_points_stand_at_their_layers_in_the_colours_of_their_runs():
    figure = draw_layer_intervals(_INTERVALS, _COLOURS, "similarity", "two")
    (axes,) = figure.axes
    first, second = (bar.lines[0] for bar in axes.containers)
    assert (first.get_color(), second.get_color()) == (_COLOURS["CML"], _COLOURS["CL"])
    np.testing.assert_array_equal(first.get_ydata(), [0.5, np.nan])
    np.testing.assert_array_equal(second.get_ydata(), [-0.25, 0.75])
    for line in (first, second):
        np.testing.assert_array_equal(np.round(line.get_xdata()), [0, 1])
    assert (first.get_xdata() < second.get_xdata()).all()
    assert words(axes.get_xticklabels()) == ["one", "two"]
    assert axes.get_ylabel() == "similarity" and axes.get_ylim()[0] < 0
    assert words(figure.legends[0].get_texts()) == ["CML", "CL"]
    low, high = np.asarray(axes.containers[0].lines[2][0].get_segments()[0])[:, 1]
    assert (low, high) == pytest.approx((0.4, 0.6))


def test_norms_begin_at_zero_and_the_same_figure_gives_the_same_svg():
    assert draw_layer_intervals(_INTERVALS[:1], _COLOURS, "norm", from_zero=True).axes[0].get_ylim()[0] == 0.0
    first, second = (svg_bytes(draw_layer_intervals(_INTERVALS, _COLOURS, "similarity")) for _ in range(2))
    assert first == second and first.startswith(b"<?xml") and b"</svg>" in first


def test_layers_of_deeper_runs_stand_where_they_follow_and_names_are_shown_as_they_are():
    runs = {"_a": ["one", "two", "all"], "$b$": ["one", "two", "three", "four", "all"], "c": ["zero", "one", "all"]}
    intervals = [LayerInterval(run, layer, 0.5, 0.1) for run, layers in runs.items() for layer in layers]
    figure = draw_layer_intervals(intervals, dict.fromkeys(runs, "#111111"), "norm")
    assert words(figure.axes[0].get_xticklabels()) == ["zero", "one", "two", "three", "four", "all"]
    assert words(figure.legends[0].get_texts()) == [" _a", r"\$b\$", "c"]
