from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cml_tf.studies.pictures.waves import RegressionPicture, draw_regression

_INPUTS = np.linspace(-5.0, 5.0, 11)


def _picture(shift=0.0):
    truth = np.sin(_INPUTS)
    return RegressionPicture(
        support_inputs=np.array([-1.0, 2.0]),
        support_targets=np.array([0.5, shift]),
        inputs=_INPUTS,
        truth=truth,
        predictions={5: truth + 0.1, 0: truth + 2.0, 1: truth + 1.0},
    )


def test_each_task_has_a_panel_with_truth_predictions_and_support():
    figure = draw_regression([_picture(), _picture(1.0)])
    assert len(figure.axes) == 2
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert list(lines) == [
        "true function",
        "before adaptation",
        "after 1 inner step",
        "after 5 inner steps",
        "support example",
    ]
    np.testing.assert_allclose(lines["true function"].get_ydata(), np.sin(_INPUTS))
    np.testing.assert_allclose(lines["before adaptation"].get_ydata(), np.sin(_INPUTS) + 2.0)
    np.testing.assert_allclose(lines["after 5 inner steps"].get_ydata(), np.sin(_INPUTS) + 0.1)
    np.testing.assert_allclose(lines["support example"].get_xydata(), [[-1.0, 0.5], [2.0, 1.0]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)


def test_the_errors_stand_below_in_order_of_the_steps():
    figure = draw_regression([_picture()])
    assert "4.00 → 1.00 → 0.01" in figure.axes[0].get_xlabel()
    assert figure.axes[0].get_ylabel() == "output y"


def test_words_neither_meet_nor_leave_the_figure():
    more = {count: _picture().truth + 1.0 for count in (0, 1, 5, 10)}
    figure = draw_regression([replace(_picture(), predictions=more)] * 3)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width
    below = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in zip(below, below[1:], strict=False))
    assert below[-1].x1 <= figure.bbox.width


def test_curves_differ_in_more_than_colour():
    lines = draw_regression([_picture()]).axes[0].lines[1:4]
    looks = {(line.get_linestyle(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in lines}
    assert len(looks) == 3


def test_pictures_with_other_steps_or_none_are_refused():
    other = replace(_picture(), predictions={0: _INPUTS})
    for pictures in ([], [_picture(), other]):
        with pytest.raises(ValueError, match="same numbers of inner steps"):
            draw_regression(pictures)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"support_targets": np.zeros(3)}, "one shape"),
        ({"truth": np.zeros(3)}, r"truth must have shape \[11\], received \[3\]"),
        ({"predictions": {1: np.zeros((11, 1))}}, r"1 must have shape \[11\], received \[11, 1\]"),
        ({"predictions": {}}, "1 to 4 curves, received 0"),
    ],
)
def test_shapes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        replace(_picture(), **change)
