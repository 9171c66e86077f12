from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cml_tf.studies.pictures.waves import RegressionPicture, draw_regression

_INPUTS = np.linspace(-5.0, 5.0, 11)
_TRUTH = np.sin(_INPUTS)
_PICTURE = RegressionPicture(
    support_inputs=np.array([-1.0, 2.0]),
    support_targets=np.array([0.5, 1.0]),
    inputs=_INPUTS,
    truth=_TRUTH,
    predictions={5: _TRUTH + 0.1, 0: _TRUTH + 2.0, 1: _TRUTH + 1.0},
)


def test_each_task_has_a_panel_with_truth_predictions_and_support():
    figure = draw_regression([replace(_PICTURE, support_targets=np.zeros(2)), _PICTURE])
    assert len(figure.axes) == 2
    axes = figure.axes[1]
    assert "4.00 → 1.00 → 0.01" in axes.get_xlabel() and figure.axes[0].get_ylabel() == "output y"
    lines = {line.get_label(): line for line in axes.lines}
    expected = {
        "true function": _TRUTH,
        "before adaptation": _TRUTH + 2.0,
        "after 1 inner step": _TRUTH + 1.0,
        "after 5 inner steps": _TRUTH + 0.1,
        "support example": [0.5, 1.0],
    }
    assert list(lines) == list(expected) == [text.get_text() for text in figure.legends[0].get_texts()]
    for name, values in expected.items():
        np.testing.assert_allclose(lines[name].get_ydata(), values)
    np.testing.assert_allclose(lines["support example"].get_xdata(), [-1.0, 2.0])
    looks = {(line.get_linestyle(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in axes.lines[1:4]}
    assert len(looks) == 3, "curves differ in more than colour"


def test_words_neither_meet_nor_leave_the_figure():
    more = {count: _TRUTH + 1.0 for count in (0, 1, 5, 10)}
    figure = draw_regression([replace(_PICTURE, predictions=more)] * 3)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width
    below = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in zip(below, below[1:], strict=False))
    assert below[-1].x1 <= figure.bbox.width


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: draw_regression([]), "same numbers of inner steps"),
        (
            lambda: draw_regression([_PICTURE, replace(_PICTURE, predictions={0: _INPUTS})]),
            "same numbers of inner steps",
        ),
        (lambda: replace(_PICTURE, support_targets=np.zeros(3)), "the same shape"),
        (lambda: replace(_PICTURE, truth=np.zeros(3)), r"truth must have shape \[11\], received \[3\]"),
        (lambda: replace(_PICTURE, predictions={1: np.zeros((11, 1))}), r"1 must have shape \[11\], received \[11, 1"),
        (lambda: replace(_PICTURE, predictions={}), "1 to 4 curves, received 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
