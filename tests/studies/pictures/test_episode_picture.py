from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import same_color

from cml_tf.studies.pictures.episode import RIGHT_MARK, WRONG_MARK, EpisodePicture, draw_episode
from cml_tf.studies.pictures.style import GREEN, VERMILLION


def _picture(queries=3, channels=1, **changes):
    """Two classes, two shots; the second query of the first class is taken for the second class."""
    random = np.random.RandomState(0)
    labels = np.repeat([0, 1], queries)
    probabilities = np.where(labels[:, None] == np.arange(2), 0.8, 0.2)
    probabilities[1] = [0.3, 0.7]
    picture = EpisodePicture(
        support_images=random.uniform(size=(4, 8, 8, channels)),
        support_labels=np.array([0, 0, 1, 1]),
        query_images=random.uniform(size=(2 * queries, 8, 8, channels)),
        query_labels=labels,
        probabilities=probabilities,
        class_names=("Ա", "cost in $ and more words"),
    )
    return replace(picture, **changes)


def _queries(figure):
    return [axes for axes in figure.axes if axes.get_xlabel()]


@pytest.mark.parametrize("queries", [1, 3, 6])
def test_no_words_reach_beyond_the_edge_and_nothing_overlaps(queries):
    figure = draw_episode(_picture(queries))
    renderer = figure.canvas.get_renderer()
    assert any("queries, each with the predicted" in text.get_text() for text in figure.texts)
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    for text, box in zip(figure.texts, boxes, strict=True):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text.get_text()
    score, *above = boxes[:4]
    assert all(box.y1 <= score.y0 for box in above), "the lines do not touch"
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_every_support_and_query_image_is_drawn_as_it_is():
    picture = _picture()
    drawn = [np.asarray(axes.images[0].get_array()) for axes in draw_episode(picture).axes]
    # Row after row: the supports of a class, then its queries.
    rows = [picture.support_images[:2], picture.query_images[:3], picture.support_images[2:], picture.query_images[3:]]
    np.testing.assert_array_equal(np.stack(drawn), np.concatenate(rows)[..., 0])
    assert draw_episode(_picture(channels=3)).axes[0].images[0].get_array().shape == (8, 8, 3)


def test_right_and_wrong_answers_differ_in_mark_colour_and_line_and_name_their_class():
    queries = _queries(draw_episode(_picture()))
    answers = [axes.get_xlabel() for axes in queries]
    assert [answer[0] for answer in answers] == [RIGHT_MARK, WRONG_MARK, *[RIGHT_MARK] * 4]
    right, wrong = (axes.spines["top"] for axes in queries[:2])
    assert right.get_linestyle() == "-" != wrong.get_linestyle()
    assert same_color(right.get_edgecolor(), GREEN) and same_color(wrong.get_edgecolor(), VERMILLION)
    assert answers[0] == f"{RIGHT_MARK} Ա  80 %"
    assert answers[1].startswith(f"{WRONG_MARK} cost in ") and answers[1].endswith("…  70 %")


def test_long_names_do_not_meet_their_neighbours_and_a_dollar_sign_is_no_formula():
    names = ("Japanese_(katakana)/character05", "Sanskrit/character31")
    figure = draw_episode(_picture(class_names=names))
    figure.canvas.draw()
    assert "character05" in _queries(figure)[0].get_xlabel() and "Japanese" not in _queries(figure)[0].get_xlabel()
    boxes = [axes.xaxis.label.get_window_extent() for axes in _queries(figure)[:3]]
    assert all(left.x1 < right.x0 for left, right in zip(boxes[:-1], boxes[1:], strict=True))
    figure = draw_episode(_picture(class_names=("$x$", "$y")))
    figure.canvas.draw()
    assert r"\$x\$" in _queries(figure)[0].get_xlabel()


def test_the_heading_counts_all_queries_and_says_when_not_all_are_drawn():
    def heading(figure):
        return next(text.get_text() for text in figure.texts if "queries right" in text.get_text())

    assert heading(draw_episode(_picture())) == "5 of 6 queries right (83 %)"
    figure = draw_episode(_picture(), shots_shown=1, queries_shown=2)
    assert heading(figure) == "5 of 6 queries right (83 %); 4 of them shown"
    assert len(figure.axes) == 2 * (1 + 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"probabilities": np.ones((6, 3))}, r"probabilities must start with shape \[6, 2\], received \[6, 3\]"),
        ({"query_labels": np.array([0, 1])}, "query_images must start with"),
        ({"support_labels": np.array([0, 0, 1, 2])}, r"support_labels must lie in \[0, 2\)"),
        ({"support_images": np.ones((4, 8, 8, 2))}, "1 or 3"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        _picture(**change)
