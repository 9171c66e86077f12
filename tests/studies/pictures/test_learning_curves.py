from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.pictures.curves import Curve, draw_learning_curves, mean_curves

_STEPS = np.array([10, 20, 30])
_CURVES = [
    Curve(run, split, _STEPS, np.array(values))
    for run, split, values in (
        ("MAML", "train", [0.2, 0.4, 0.5]),
        ("MAML", "validation", [0.25, 0.35, 0.45]),
        ("CML", "train", [0.3, 0.5, 0.6]),
        ("CML", "validation", [0.35, 0.45, 0.55]),
    )
]


def test_curves_of_one_name_and_split_are_averaged_at_the_steps_that_all_have():
    means = mean_curves([Curve("CML", "train", np.array([20, 30, 40]), np.array([0.7, 0.8, 0.9])), *_CURVES])
    order = [2, 0, 1, 3]
    assert [(mean.run, mean.split) for mean in means] == [(_CURVES[i].run, _CURVES[i].split) for i in order]
    assert means[0].steps.tolist() == [20, 30]
    np.testing.assert_allclose(means[0].values, [0.6, 0.7])
    for mean, alone in zip(means[1:], order[1:], strict=True):
        np.testing.assert_array_equal(mean.values, _CURVES[alone].values)
    with pytest.raises(ValueError, match="the train curves of 'CML' have no step in common"):
        mean_curves([*_CURVES, Curve("CML", "train", np.array([15, 25]), np.array([0.7, 0.8]))])


def test_accuracies_are_drawn_in_per_cent_runs_in_colours_and_splits_as_lines():
    (axes,) = draw_learning_curves(_CURVES, "accuracy", chance=0.2).axes
    for line, curve in zip(axes.lines, _CURVES, strict=False):
        np.testing.assert_allclose(line.get_ydata(), 100 * curve.values)
        np.testing.assert_array_equal(line.get_xdata(), _STEPS)
    np.testing.assert_allclose(axes.lines[4].get_ydata(), 20.0)
    assert "[%]" in axes.get_ylabel() and "meta-step" in axes.get_xlabel()
    colours, looks = (
        [get(line) for line in axes.lines[:4]] for get in (lambda a: a.get_color(), lambda a: a._linestyle)
    )
    assert colours[0] == colours[1] != colours[2] == colours[3] and looks == ["--", "-", "--", "-"]


def test_the_legend_names_runs_and_only_the_lines_that_are_there():
    def words(*arguments):
        (legend,) = draw_learning_curves(*arguments).legends
        return [text.get_text() for text in legend.get_texts()]

    assert words(_CURVES, "accuracy", 0.2) == ["MAML", "CML", "validation", "training", "guessing"]
    assert words(_CURVES[:1], "accuracy") == ["MAML", "training"]


def test_errors_start_at_zero_and_keep_their_scale():
    (axes,) = draw_learning_curves([Curve("CML", "validation", _STEPS, np.array([2.0, 1.5, 1.0]))], "mse").axes
    assert axes.get_ylim()[0] == 0.0
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2.0, 1.5, 1.0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: draw_learning_curves([], "accuracy"), "accuracy, mse"),
        (lambda: draw_learning_curves(_CURVES, "f1"), "accuracy, mse"),
        (lambda: Curve("CML", "test", np.ones(1), np.ones(1)), "split must be one of train, validation"),
        (lambda: Curve("CML", "train", np.ones(2), np.ones(1)), "the same shape"),
        (lambda: Curve("CML", "train", np.ones(0), np.ones(0)), "at least one point"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
