from __future__ import annotations

import math

import numpy as np
import pytest

from cml_tf.studies.pictures.intervals import LayerInterval, draw_layer_intervals
from cml_tf.studies.pictures.style import svg_bytes

_COLOURS = {"MAML": "#111111", "CML": "#222222", "CL": "#333333"}
_INTERVALS = [
    LayerInterval("CML", "one", 0.5, 0.1),
    LayerInterval("CML", "two", math.nan, math.nan),
    LayerInterval("CL", "one", -0.25, 0.2),
    LayerInterval("CL", "two", 0.75, math.nan),
]


def points(figure):
    return [bar.lines[0] for bar in figure.axes[0].containers]


def test_points_stand_at_their_layers_in_the_colours_of_their_runs():
    figure = draw_layer_intervals(_INTERVALS, _COLOURS, "similarity", "two")
    first, second = points(figure)
    assert (first.get_color(), second.get_color()) == (_COLOURS["CML"], _COLOURS["CL"])
    np.testing.assert_array_equal(first.get_ydata(), [0.5, np.nan])
    np.testing.assert_array_equal(second.get_ydata(), [-0.25, 0.75])
    for line in (first, second):
        np.testing.assert_array_equal(np.round(line.get_xdata()), [0, 1])
    assert (first.get_xdata() < second.get_xdata()).all()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]
    assert axes.get_ylabel() == "similarity" and axes.get_ylim()[0] < 0
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["CML", "CL"]


def test_intervals_are_as_long_as_they_say():
    bars = draw_layer_intervals(_INTERVALS, _COLOURS, "similarity").axes[0].containers[0].lines[2][0]
    low, high = np.asarray(bars.get_segments()[0])[:, 1]
    assert (low, high) == pytest.approx((0.4, 0.6))


def test_norms_begin_at_zero():
    (axes,) = draw_layer_intervals(_INTERVALS[:1], _COLOURS, "norm", from_zero=True).axes
    assert axes.get_ylim()[0] == 0.0


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one interval"):
        draw_layer_intervals([], _COLOURS, "norm")


def test_the_same_figure_gives_the_same_svg():
    first, second = (svg_bytes(draw_layer_intervals(_INTERVALS, _COLOURS, "similarity")) for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml") and b"</svg>" in first


def test_layers_of_deeper_runs_stand_where_they_follow_and_names_are_shown_as_they_are():
    runs = {"_a": ["one", "two", "all"], "$b$": ["one", "two", "three", "four", "all"], "c": ["zero", "one", "all"]}
    intervals = [LayerInterval(run, layer, 0.5, 0.1) for run, layers in runs.items() for layer in layers]
    figure = draw_layer_intervals(intervals, dict.fromkeys(runs, "#111111"), "norm")
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["zero", "one", "two", "three", "four", "all"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [" _a", r"\$b\$", "c"]
