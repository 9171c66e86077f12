from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.pictures.curves import Curve, draw_learning_curves, mean_curves

_STEPS = np.array([10, 20, 30])


def _curves():
    return [
        Curve(run, split, _STEPS, np.array(values))
        for run, split, values in (
            ("MAML", "train", [0.2, 0.4, 0.5]),
            ("MAML", "validation", [0.25, 0.35, 0.45]),
            ("CML", "train", [0.3, 0.5, 0.6]),
            ("CML", "validation", [0.35, 0.45, 0.55]),
        )
    ]


def test_curves_of_one_name_and_split_are_averaged_at_the_steps_that_all_have():
    more = [Curve("CML", "train", np.array([20, 30, 40]), np.array([0.7, 0.8, 0.9])), *_curves()]
    means = mean_curves(more)
    assert [(curve.run, curve.split) for curve in means] == [
        ("CML", "train"),
        ("MAML", "train"),
        ("MAML", "validation"),
        ("CML", "validation"),
    ]
    assert means[0].steps.tolist() == [20, 30]
    np.testing.assert_allclose(means[0].values, [0.6, 0.7])
    for mean, alone in zip(means[1:], (_curves()[0], _curves()[1], _curves()[3]), strict=True):
        np.testing.assert_array_equal(mean.values, alone.values)


def test_curves_without_a_common_step_have_no_mean():
    other = Curve("CML", "train", np.array([15, 25]), np.array([0.7, 0.8]))
    with pytest.raises(ValueError, match="the train curves of 'CML' have no step in common"):
        mean_curves([*_curves(), other])


def test_accuracies_are_drawn_in_per_cent_in_one_axes():
    (axes,) = draw_learning_curves(_curves(), "accuracy", chance=0.2).axes
    drawn = [line.get_ydata() for line in axes.lines]
    for line, curve in zip(drawn, _curves(), strict=False):
        np.testing.assert_allclose(line, 100 * curve.values)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), _STEPS)
    np.testing.assert_allclose(drawn[4], 20.0)
    assert "[%]" in axes.get_ylabel()
    assert "meta-step" in axes.get_xlabel()


def test_runs_differ_in_colour_and_splits_in_the_line():
    maml_train, maml_validation, cml_train, cml_validation = draw_learning_curves(_curves(), "accuracy").axes[0].lines
    assert maml_train.get_color() == maml_validation.get_color() != cml_train.get_color() == cml_validation.get_color()
    assert maml_validation.get_linestyle() == cml_validation.get_linestyle() == "-"
    assert maml_train.get_linestyle() == cml_train.get_linestyle() == "--"


def test_the_legend_names_runs_and_only_the_lines_that_are_there():
    def words(*arguments):
        (legend,) = draw_learning_curves(*arguments).legends
        return [text.get_text() for text in legend.get_texts()]

    assert words(_curves(), "accuracy", 0.2) == ["MAML", "CML", "validation", "training", "guessing"]
    assert words(_curves()[:1], "accuracy") == ["MAML", "training"]


def test_errors_start_at_zero_and_keep_their_scale():
    (axes,) = draw_learning_curves([Curve("CML", "validation", _STEPS, np.array([2.0, 1.5, 1.0]))], "mse").axes
    assert axes.get_ylim()[0] == 0.0
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, 1.5, 1.0])


@pytest.mark.parametrize("curves, metric", [([], "accuracy"), (_curves(), "f1")])
def test_nothing_to_draw_or_an_unknown_metric_is_refused(curves, metric):
    with pytest.raises(ValueError, match="accuracy, mse"):
        draw_learning_curves(curves, metric)


@pytest.mark.parametrize(
    "split, steps, values, message",
    [
        ("test", [1], [1.0], "split must be one of train, validation"),
        ("train", [1, 2], [1.0], "one shape"),
        ("train", [], [], "at least one point"),
    ],
)
def test_curves_are_checked(split, steps, values, message):
    with pytest.raises(ValueError, match=message):
        Curve("CML", split, np.array(steps), np.array(values))
