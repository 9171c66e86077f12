from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.pictures.intervals import Interval, draw_comparison

_SCORES = [Interval("MAML", 71.25, 0.5), Interval("CML", 72.5, 0.75)]


def test_scores_and_difference_are_drawn_where_they_are():
    left, right = draw_comparison(_SCORES, Interval("CML − MAML", -1.25, 0.5), "accuracy [%]", "points").axes
    for container, score in zip(left.containers, _SCORES, strict=True):
        assert container[0].get_xdata() == [score.mean]
        ends = container[2][0].get_segments()[0][:, 0]
        np.testing.assert_allclose(ends, [score.low, score.high])
    assert [label.get_text() for label in left.get_yticklabels()] == ["MAML", "CML"]
    assert [text.get_text() for text in left.texts] == ["71.25 ± 0.50", "72.50 ± 0.75"]
    assert [text.get_text() for text in right.texts] == ["−1.25 ± 0.50"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("accuracy [%]", "points")


def test_zero_lies_in_the_middle_of_the_difference():
    right = draw_comparison(_SCORES, Interval("d", 2.0, 0.5), "", "").axes[1]
    low, high = right.get_xlim()
    assert low == -high and high > 2.5
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in right.lines)


@pytest.mark.parametrize(
    "mean, half_width, contains", [(1.0, 0.5, False), (-1.0, 0.5, False), (0.2, 0.5, True), (0.5, 0.5, True)]
)
def test_an_interval_knows_whether_it_contains_zero(mean, half_width, contains):
    assert Interval("d", mean, half_width).contains_zero is contains


def test_text_has_a_minus_sign_and_a_plus_sign_on_demand():
    assert Interval("d", -0.333, 0.75).text("+") == "−0.33 ± 0.75"
    assert Interval("d", 0.333, 0.75).text("+") == "+0.33 ± 0.75"
    assert Interval("d", 0.333, 0.75).text() == "0.33 ± 0.75"


@pytest.mark.parametrize("half_width", [-0.1, float("nan")])
def test_a_half_width_is_not_negative(half_width):
    with pytest.raises(ValueError, match="0 or more"):
        Interval("d", 0.0, half_width)


def test_a_comparison_needs_a_score():
    with pytest.raises(ValueError, match="at least one score"):
        draw_comparison([], Interval("d", 0.0, 1.0), "", "")
