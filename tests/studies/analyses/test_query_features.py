from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.analyses.figures import FeaturePlane, draw_query_features

_LABELS = np.array([0, 1, 1, 2])
_POINTS = np.arange(8.0).reshape(4, 2)


def _planes():
    panels = [(run, place) for run in ("MAML", "CML") for place in ("before", "after")]
    return [FeaturePlane(run, place, _POINTS + number, _LABELS) for number, (run, place) in enumerate(panels)]


def test_every_plane_has_its_panel_with_all_queries_by_class():
    figure = draw_query_features(_planes(), ["a", "b", "$c$"])
    assert [axes.get_title("left") for axes in figure.axes] == [
        f"{run}: {place} adaptation" for run in ("MAML", "CML") for place in ("before", "after")
    ]
    for number, axes in enumerate(figure.axes):
        drawn = [np.asarray(collection.get_offsets()) for collection in axes.collections]
        for label, points in enumerate(drawn):
            np.testing.assert_array_equal(points, (_POINTS + number)[label == _LABELS])
        colours = [tuple(collection.get_facecolor()[0]) for collection in axes.collections]
        assert len(set(colours)) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", r"\$c\$"]


@pytest.mark.parametrize("letters", [3, 30, 200])
def test_the_legend_stays_in_the_picture(letters):
    figure = draw_query_features(_planes(), [f"{number}".ljust(letters, "m") for number in range(3)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert letters > 100 or legend.get_window_extent().x1 <= figure.bbox.x1


def test_planes_are_checked():
    with pytest.raises(ValueError, match=r"\[4, 2\], received \[3, 2\]"):
        FeaturePlane("CML", "after", _POINTS[:3], _LABELS)
    with pytest.raises(ValueError, match="at least one plane"):
        draw_query_features([], ["a"])
