from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cml_tf.studies.pictures.episode import RIGHT_MARK, WRONG_MARK, EpisodePicture, draw_episode
from cml_tf.studies.pictures.style import GREEN, VERMILLION


def _picture(queries=3, channels=1):
    """Two classes, two shots; the second query of the first class is taken for the second class."""
    random = np.random.RandomState(0)
    labels = np.repeat([0, 1], queries)
    probabilities = np.where(labels[:, None] == np.arange(2), 0.8, 0.2)
    probabilities[1] = [0.3, 0.7]
    return EpisodePicture(
        support_images=random.uniform(size=(4, 8, 8, channels)),
        support_labels=np.array([0, 0, 1, 1]),
        query_images=random.uniform(size=(2 * queries, 8, 8, channels)),
        query_labels=labels,
        probabilities=probabilities,
        class_names=("Ա", "cost in $ and more words"),
    )


def _queries(figure):
    return [axes for axes in figure.axes if axes.get_xlabel()]


@pytest.mark.parametrize("queries", [1, 3, 6])
def test_no_words_reach_beyond_the_edge(queries):
    figure = draw_episode(_picture(queries))
    renderer = figure.canvas.get_renderer()
    assert any("queries; below each" in text.get_text() for text in figure.texts)
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    for text, box in zip(figure.texts, boxes, strict=True):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text.get_text()
    score, *above = boxes[:4]
    assert all(box.y1 <= score.y0 for box in above), "the lines do not touch"


def test_every_support_and_query_image_is_drawn_as_it_is():
    picture = _picture()
    figure = draw_episode(picture)
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    # Row after row: the supports of a class, then its queries.
    rows = [picture.support_images[:2], picture.query_images[:3], picture.support_images[2:], picture.query_images[3:]]
    np.testing.assert_array_equal(np.stack(drawn), np.concatenate(rows)[..., 0])


def test_right_and_wrong_answers_differ_in_mark_colour_and_line():
    answers = [axes.get_xlabel() for axes in _queries(draw_episode(_picture()))]
    assert [answer[0] for answer in answers] == [RIGHT_MARK, WRONG_MARK, *[RIGHT_MARK] * 4]
    right, wrong = _queries(draw_episode(_picture()))[:2]
    assert right.spines["top"].get_linestyle() == "-" != wrong.spines["top"].get_linestyle()
    assert matplotlib_hex(right.spines["top"].get_edgecolor()) == GREEN
    assert matplotlib_hex(wrong.spines["top"].get_edgecolor()) == VERMILLION


def matplotlib_hex(colour):
    return "#" + "".join(f"{round(255 * part):02X}" for part in colour[:3])


def test_an_answer_names_the_predicted_class_and_its_probability():
    first, second = (axes.get_xlabel() for axes in _queries(draw_episode(_picture()))[:2])
    assert first == f"{RIGHT_MARK} Ա  80 %"
    assert second.startswith(f"{WRONG_MARK} cost in ") and second.endswith("…  70 %")


def test_long_names_do_not_meet_those_of_their_neighbours():
    names = ("Japanese_(katakana)/character05", "Sanskrit/character31")
    figure = draw_episode(replace(_picture(), class_names=names))
    figure.canvas.draw()
    assert "character05" in _queries(figure)[0].get_xlabel() and "Japanese" not in _queries(figure)[0].get_xlabel()
    boxes = [axes.xaxis.label.get_window_extent() for axes in _queries(figure)[:3]]
    assert all(left.x1 < right.x0 for left, right in zip(boxes[:-1], boxes[1:], strict=True))


def test_a_dollar_sign_in_a_name_is_no_formula():
    figure = draw_episode(replace(_picture(), class_names=("$x$", "$y")))
    figure.canvas.draw()
    assert r"\$x\$" in _queries(figure)[0].get_xlabel()


def test_the_heading_counts_all_queries_and_says_when_not_all_are_drawn():
    def heading(figure):
        return next(text.get_text() for text in figure.texts if "queries right" in text.get_text())

    assert heading(draw_episode(_picture())) == "5 of 6 queries right (83 %)"
    figure = draw_episode(_picture(), shots_shown=1, queries_shown=2)
    assert heading(figure) == "5 of 6 queries right (83 %); 4 of them are shown"
    assert len(figure.axes) == 2 * (1 + 2)


def test_colour_images_are_drawn_in_colour():
    assert draw_episode(_picture(channels=3)).axes[0].images[0].get_array().shape == (8, 8, 3)


def test_more_ways_make_a_higher_figure_and_nothing_overlaps():
    figure = draw_episode(_picture())
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


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
        replace(_picture(), **change)
