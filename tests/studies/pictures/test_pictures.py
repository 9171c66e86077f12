"""Figures show the numbers that they are given, words stay inside and apart, and files are whole."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color
from PIL import Image

from cml_tf.studies.pictures.curves import Curve, draw_learning_curves, mean_curves
from cml_tf.studies.pictures.episode import RIGHT_MARK, WRONG_MARK, EpisodePicture, draw_episode
from cml_tf.studies.pictures.intervals import Interval, LayerInterval, draw_comparison, draw_layer_intervals
from cml_tf.studies.pictures.style import (
    BLUE,
    DOTS_PER_INCH,
    VERMILLION,
    colours,
    house_style,
    new_figure,
    png_bytes,
    svg_bytes,
    write_png,
)
from cml_tf.studies.pictures.waves import RegressionPicture, draw_regression

GREYS = np.random.RandomState(0).uniform(size=(10, 8, 8, 1))
# Two classes, two shots; the second query of the first class is taken for the second class.
EPISODE = EpisodePicture(
    support_images=GREYS[:4],
    support_labels=np.array([0, 0, 1, 1]),
    query_images=GREYS[4:],
    query_labels=np.array([0, 0, 0, 1, 1, 1]),
    probabilities=np.array([[0.8, 0.2], [0.3, 0.7], [0.8, 0.2], *[[0.2, 0.8]] * 3]),
    class_names=("Ա", "$x"),
)
SCORES = [Interval("MAML", 71.25, 0.5), Interval("CML", 72.5, 0.75)]
COLOURS = {"MAML": "#111111", "CML": "#222222", "CL": "#333333"}
LAYERS = [
    LayerInterval("CML", "one", 0.5, 0.1),
    LayerInterval("CML", "two", math.nan, math.nan),
    LayerInterval("CL", "one", -0.25, 0.2),
    LayerInterval("CL", "two", 0.75, math.nan),
]
STEPS = np.array([10, 20, 30])
CURVES = [
    Curve(run, split, STEPS, first + np.array([0.0, 0.2, 0.3]))
    for run, first in (("MAML", 0.2), ("CML", 0.3))
    for split in ("train", "validation")
]
TRUTH = np.sin(np.linspace(-5.0, 5.0, 11))
WAVE = RegressionPicture(
    support_inputs=np.array([-1.0, 2.0]),
    support_targets=np.array([0.5, 1.0]),
    inputs=np.linspace(-5.0, 5.0, 11),
    truth=TRUTH,
    predictions={5: TRUTH + 0.1, 0: TRUTH + 2.0, 1: TRUTH + 1.0},
)


def words(texts):
    return [text.get_text() for text in texts]


def test_every_image_of_an_episode_is_drawn_as_it_is_and_every_answer_marked():
    figure = draw_episode(EPISODE)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    # Row after row: the supports of a class, then its queries.
    np.testing.assert_array_equal(np.stack(drawn), GREYS[[0, 1, 4, 5, 6, 2, 3, 7, 8, 9], ..., 0])
    queries = [axes for axes in figure.axes if axes.get_xlabel()]
    told = [axes.get_xlabel() for axes in queries]
    assert [answer[0] for answer in told] == [RIGHT_MARK, WRONG_MARK, *[RIGHT_MARK] * 4]
    assert told[0] == f"{RIGHT_MARK} Ա  80 %" and told[1].startswith(WRONG_MARK)
    assert r"\$x" in told[3], "no formula"
    right, wrong = (axes.spines["top"] for axes in queries[:2])
    assert right.get_linestyle() == "-" != wrong.get_linestyle() and same_color(wrong.get_edgecolor(), VERMILLION)
    assert "5 of 6 queries right (83 %)" in words(figure.texts)
    few = draw_episode(EPISODE, shots_shown=1, queries_shown=2)
    assert "5 of 6 queries right (83 %); 4 of them shown" in words(few.texts) and len(few.axes) == 2 * (1 + 2)
    with pytest.raises(ValueError, match=r"probabilities .*\[6, 2\], received \[6, 3\]"):
        replace(EPISODE, probabilities=np.ones((6, 3)))


def test_scores_and_difference_are_drawn_where_they_are():
    left, right = draw_comparison(SCORES, Interval("CML − MAML", -1.25, 0.5), "accuracy [%]", "points").axes
    for container, score in zip(left.containers, SCORES, strict=True):
        assert container[0].get_xdata() == [score.mean]
        np.testing.assert_allclose(container[2][0].get_segments()[0][:, 0], [score.low, score.high])
    assert words(left.texts) == ["71.25 ± 0.50", "72.50 ± 0.75"] and words(right.texts) == ["−1.25 ± 0.50"]
    low, high = right.get_xlim()
    assert low == -high and high > 1.75, "zero lies in the middle"
    cases = [(1.0, 0.5, False), (-1.0, 0.5, False), (0.5, 0.5, True)]
    assert all(Interval("d", mean, half).contains_zero is contains for mean, half, contains in cases)
    assert Interval("d", 0.333, 0.75).text("+") == "+0.33 ± 0.75"


def test_intervals_of_layers_stand_at_their_layers_in_the_colours_of_their_runs():
    figure = draw_layer_intervals(LAYERS, COLOURS, "similarity", "two")
    (axes,) = figure.axes
    first, second = (bar.lines[0] for bar in axes.containers)
    assert (first.get_color(), second.get_color()) == (COLOURS["CML"], COLOURS["CL"])
    np.testing.assert_array_equal([first.get_ydata(), second.get_ydata()], [[0.5, np.nan], [-0.25, 0.75]])
    assert all(np.round(line.get_xdata()).tolist() == [0, 1] for line in (first, second))
    assert words(axes.get_xticklabels()) == ["one", "two"] and words(figure.legends[0].get_texts()) == ["CML", "CL"]
    low, high = np.asarray(axes.containers[0].lines[2][0].get_segments()[0])[:, 1]
    assert (low, high) == pytest.approx((0.4, 0.6))
    # Layers of deeper runs stand where they follow.
    runs = {"_a": ["one", "all"], "$b$": ["one", "two", "all"], "c": ["zero", "one", "all"]}
    intervals = [LayerInterval(run, layer, 0.5, 0.1) for run, layers in runs.items() for layer in layers]
    figure = draw_layer_intervals(intervals, dict.fromkeys(runs, "#111111"), "norm")
    assert words(figure.axes[0].get_xticklabels()) == ["zero", "one", "two", "all"]
    assert words(figure.legends[0].get_texts()) == [" _a", r"\$b\$", "c"]


def test_curves_are_drawn_in_per_cent_runs_in_colours_and_splits_as_lines():
    figure = draw_learning_curves(CURVES, "accuracy", chance=0.2)
    (axes,) = figure.axes
    for line, curve in zip(axes.lines, CURVES, strict=False):
        np.testing.assert_allclose(line.get_ydata(), 100 * curve.values)
        np.testing.assert_array_equal(line.get_xdata(), STEPS)
    np.testing.assert_allclose(axes.lines[4].get_ydata(), 20.0)
    drawn, looks = zip(*((line.get_color(), line._linestyle) for line in axes.lines[:4]), strict=True)
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3] and looks == ("--", "-", "--", "-")
    assert words(figure.legends[0].get_texts()) == ["MAML", "CML", "validation", "training", "guessing"]
    (axes,) = draw_learning_curves(CURVES[1:2], "mse").axes
    assert axes.get_ylim()[0] == 0.0, "errors start at zero and keep their scale"
    # Those of one name and split are averaged at the steps that all have.
    means = mean_curves([Curve("CML", "train", np.array([20, 30, 40]), np.array([0.7, 0.8, 0.9])), *CURVES])
    assert [(mean.run, mean.split) for mean in means] == [(CURVES[i].run, CURVES[i].split) for i in (2, 0, 1, 3)]
    assert means[0].steps.tolist() == [20, 30]
    np.testing.assert_allclose(means[0].values, [0.6, 0.7])
    np.testing.assert_array_equal(means[1].values, CURVES[0].values)


def test_each_wave_has_a_panel_with_truth_predictions_and_support():
    figure = draw_regression([replace(WAVE, support_targets=np.zeros(2)), WAVE])
    axes = figure.axes[1]
    assert "4.00 → 1.00 → 0.01" in axes.get_xlabel() and figure.axes[0].get_ylabel() == "output y"
    lines = {line.get_label(): line for line in axes.lines}
    expected = {
        "true function": TRUTH,
        "before adaptation": TRUTH + 2.0,
        "after 1 inner step": TRUTH + 1.0,
        "after 5 inner steps": TRUTH + 0.1,
        "support example": [0.5, 1.0],
    }
    assert list(lines) == list(expected) == words(figure.legends[0].get_texts())
    for name, values in expected.items():
        np.testing.assert_allclose(lines[name].get_ydata(), values)
    np.testing.assert_allclose(lines["support example"].get_xdata(), [-1.0, 2.0])


def figure():
    with house_style():
        made = new_figure(3.0, 2.0)
        made.add_subplot().plot([0, 1], [1, 0])
    return made


def test_files_have_the_stated_size_are_whole_and_the_same_whatever_the_users_settings(tmp_path, monkeypatch):
    path, expected = tmp_path / "figure.png", (png_bytes(figure()), svg_bytes(figure()))
    write_png(figure(), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (3 * DOTS_PER_INCH, 2 * DOTS_PER_INCH))
        assert np.asarray(image.convert("L")).std() > 5
    with matplotlib.rc_context({"font.family": ["DejaVu Serif"], "axes.grid": False, "font.size": 20.0}):
        assert (png_bytes(figure()), svg_bytes(figure())) == expected
        assert matplotlib.rcParams["font.size"] == 20.0
    assert expected[1].startswith(b"<?xml") and b"</svg>" in expected[1]
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_png(figure(), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    assert colours(["a", "b", "a"]) == {"a": VERMILLION, "b": BLUE} and len(set(colours("abcde").values())) == 5
