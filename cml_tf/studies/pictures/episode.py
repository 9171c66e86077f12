"""A classification episode as a picture: what the model was shown, and what it made of the queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.studies.pictures.style import GREEN, INK, MUTED, VERMILLION, bare, house_style, new_figure

RIGHT_MARK, WRONG_MARK = "✓", "✗"
# Inches. The places are computed here: a layout engine would widen columns for the words above and below them.
_IMAGE, _ACROSS, _DOWN = 0.86, 1.0, 1.14
_GAP, _HEADER, _MARGIN = 0.3, 0.68, 0.1
# Columns of names up to eight letters, and of longer ones.
_NARROW_NAMES, _WIDE_NAMES = 0.85, 1.2
_SHORT_NAME, _LONG_NAME, _LONGEST_NAME = 4, 8, 12
# Words above the queries, and what they need in inches on one line and on two.
_ABOVE_QUERIES = ("queries, each with the predicted", "class and its probability")
_ONE_LINE, _TWO_LINES = 4.2, 2.2


@dataclass(frozen=True, eq=False)
class EpisodePicture:
    """One episode and the model's answers to it.

    Attributes:
      support_images: float `[support, height, width, channels]` in [0, 1]; one or three channels.
      support_labels: integers `[support]` in [0, ways).
      query_images: as the support's, `[queries, ...]`.
      query_labels: the truth, `[queries]`.
      probabilities: the model's, `[queries, ways]`.
      class_names: `[ways]`.
    """

    support_images: np.ndarray
    support_labels: np.ndarray
    query_images: np.ndarray
    query_labels: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        ways = len(self.class_names)
        queries = len(self.query_labels)
        shapes = {
            "support_images": (self.support_images[..., 0].shape[:1], (len(self.support_labels),)),
            "query_images": (self.query_images[..., 0].shape[:1], (queries,)),
            "probabilities": (self.probabilities.shape, (queries, ways)),
        }
        for name, (received, expected) in shapes.items():
            if received != expected:
                raise ValueError(f"{name} must start with shape {list(expected)}, received {list(received)}.")
        for name in ("support_images", "query_images"):
            shape = getattr(self, name).shape
            if len(shape) != 4 or shape[-1] not in (1, 3):
                raise ValueError(f"{name} must be [examples, height, width, 1 or 3], received {list(shape)}.")
        for name in ("support_labels", "query_labels"):
            labels = getattr(self, name)
            if len(labels) and not 0 <= min(labels) <= max(labels) < ways:
                raise ValueError(f"{name} must lie in [0, {ways}), received {sorted(set(labels.tolist()))}.")

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each query, `[queries]`."""
        return self.probabilities.argmax(-1)

    @property
    def accuracy(self) -> float:
        """The share of all queries that were answered rightly."""
        return float(np.mean(self.predicted == self.query_labels))


def draw_episode(picture: EpisodePicture, shots_shown: int = 5, queries_shown: int = 6) -> Figure:
    """A row a class: name, support images, query images with predicted class and its probability.

    Right and wrong answers differ in the mark before the class, in the frame's line (solid, dashed) and in its colour.

    Args:
      picture: the episode; at least one support and one query example.
      shots_shown: of each class at most so many support images are drawn, the first ones.
      queries_shown: the same for the queries.
    """
    ways = len(picture.class_names)
    shots = _most(picture.support_labels, ways, shots_shown)
    queries = _most(picture.query_labels, ways, queries_shown)
    with house_style():
        names = max(map(len, map(_short, picture.class_names)))
        name_column = _NARROW_NAMES if names <= _LONG_NAME else _WIDE_NAMES
        first_query = name_column + shots * _ACROSS + _GAP
        width = max(first_query + max(queries * _ACROSS, _TWO_LINES) + _MARGIN, 5.0)
        sheet = _Sheet(new_figure(width, _HEADER + ways * _DOWN + _MARGIN), name_column)
        sheet.write_header(picture, shown=_shown(picture, queries), first_query=first_query)
        for row, name in enumerate(picture.class_names):
            sheet.write_name(row, name)
            for column, example in enumerate(np.flatnonzero(picture.support_labels == row)[:shots]):
                _draw_support(sheet.place(row, name_column + column * _ACROSS), picture.support_images[example])
            for column, example in enumerate(np.flatnonzero(picture.query_labels == row)[:queries]):
                _draw_query(sheet.place(row, first_query + column * _ACROSS), picture, int(example))
    return sheet.figure


class _Sheet:
    """A figure whose places are given in inches from the left edge and in rows from the top."""

    def __init__(self, figure: Figure, name_column: float) -> None:
        self.figure, self._name_column = figure, name_column
        figure.set_layout_engine("none")
        self._width, self._height = figure.get_size_inches()

    def place(self, row: int, left: float) -> Axes:
        """New axes for an image."""
        bottom = self._height - _HEADER - row * _DOWN - _IMAGE
        extent = (left / self._width, bottom / self._height, _IMAGE / self._width, _IMAGE / self._height)
        return self.figure.add_axes(extent)

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        """Text whose anchor is `left` and `top` inches from the upper left corner."""
        self.figure.text(left / self._width, 1.0 - top / self._height, text, **style)

    def write_name(self, row: int, name: str) -> None:
        """The class' name at the beginning of its row."""
        size = {1: 22.0, 2: 18.0, 3: 15.0}.get(len(name), 8.5)
        middle = _HEADER + row * _DOWN + _IMAGE / 2
        self.write((self._name_column - _MARGIN) / 2, middle, _short(name), ha="center", va="center", fontsize=size)

    def write_header(self, picture: EpisodePicture, shown: int, first_query: float) -> None:
        """The score, and a word above each part."""
        right, total = int((picture.predicted == picture.query_labels).sum()), len(picture.query_labels)
        rest = "" if shown == total else f"; {shown} of them shown"
        score = f"{right} of {total} queries right ({100.0 * picture.accuracy:.0f} %){rest}"
        self.write(_MARGIN, 0.25, score, fontsize=11.0, fontweight="bold")
        lines = " " if self._width - first_query - _MARGIN >= _ONE_LINE else "\n"
        above_queries = (first_query, lines.join(_ABOVE_QUERIES))
        for left, words in ((_MARGIN, "class"), (self._name_column, "support"), above_queries):
            self.write(left, _HEADER - 0.09, words, fontsize=9.0, color=MUTED)


def _shown(picture: EpisodePicture, queries: int) -> int:
    counts = np.bincount(picture.query_labels, minlength=len(picture.class_names))
    return int(np.minimum(counts, queries).sum())


def _most(labels: np.ndarray, ways: int, limit: int) -> int:
    return max(1, min(limit, int(np.bincount(labels, minlength=ways).max())))


def _draw_image(axes: Axes, image: np.ndarray) -> None:
    bare(axes)
    for spine in axes.spines.values():
        spine.set_visible(True)
    shown = np.clip(image, 0.0, 1.0)
    if shown.shape[-1] == 1:
        axes.imshow(shown[..., 0], cmap="gray", vmin=0.0, vmax=1.0)
    else:
        axes.imshow(shown)


def _draw_support(axes: Axes, image: np.ndarray) -> None:
    _draw_image(axes, image)
    for spine in axes.spines.values():
        spine.set(color=INK, linewidth=0.8)


def _draw_query(axes: Axes, picture: EpisodePicture, example: int) -> None:
    _draw_image(axes, picture.query_images[example])
    predicted = int(picture.predicted[example])
    right = predicted == picture.query_labels[example]
    mark, colour, line = (RIGHT_MARK, GREEN, "-") if right else (WRONG_MARK, VERMILLION, (0, (2.5, 1.5)))
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.8 if right else 2.8, linestyle=line)
    share = 100.0 * float(picture.probabilities[example, predicted])
    name = _short(picture.class_names[predicted])
    # Neighbours' words must not meet.
    between = "  " if len(name) <= _LONG_NAME else "\n"
    axes.set_xlabel(
        f"{mark} {name}{between}{share:.0f} %",
        fontsize=9.0 if len(name) <= _SHORT_NAME else 6.5,
        fontweight="normal" if right else "bold",
        color=INK if right else VERMILLION,
        labelpad=3.0,
    )


def _short(name: str) -> str:
    # Of a path, what tells classes apart; a class may be called "/".
    name = name.rpartition("/")[2] or name
    # A dollar sign would start a formula.
    # Numbers at the end tell classes apart too.
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:6]}…{name[7 - _LONGEST_NAME :]}"
    return shown.replace("$", r"\$")
