"""Query features of one episode in a plane, before and after adaptation (the paper's Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cml_tf.reporting.style import MUTED, colours, house_style, literal, new_figure

_MARKERS = "osD^vP*X"


@dataclass(frozen=True, eq=False)
class FeaturePlane:
    """The features of one run at one place of the inner loop.

    Attributes:
      run: name of the run, a row of the picture.
      place: "before" or "after" adaptation, a column.
      points: `[queries, 2]`.
      labels: class of each query, `[queries]`, in [0, ways).
    """

    run: str
    place: str
    points: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if np.shape(self.points) != (len(self.labels), 2):
            raise ValueError(f"points must be [{len(self.labels)}, 2], received {list(np.shape(self.points))}.")


def draw_query_features(planes: Sequence[FeaturePlane], class_names: Sequence[str]) -> Figure:
    """A row a run, a column a place; classes differ in colour and marker; axes have no unit and so no numbers.

    Raises:
      ValueError: without planes.
    """
    if not planes:
        raise ValueError("expected at least one plane of features, received none.")
    runs = list(dict.fromkeys(plane.run for plane in planes))
    places = list(dict.fromkeys(plane.place for plane in planes))
    # Keys of their own: two classes of one name are two classes.
    colour_of = list(colours([str(number) for number in range(len(class_names))]).values())
    with house_style():
        figure = new_figure(3.6 * len(places) + 0.8, 2.9 * len(runs) + 0.6)
        grid = figure.subplots(len(runs), len(places), squeeze=False)
        for plane in planes:
            axes = grid[runs.index(plane.run), places.index(plane.place)]
            for number, colour in enumerate(colour_of):
                points = plane.points[plane.labels == number]
                axes.scatter(*points.T, s=26.0, color=colour, marker=_marker(number), linewidths=0.0)
            axes.set(title=f"{literal(plane.run)}: {plane.place} adaptation", xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color=MUTED)
        handles = [
            Line2D([], [], color=colour, marker=_marker(number), linestyle="none", label=literal(name))
            for number, (colour, name) in enumerate(zip(colour_of, class_names, strict=True))
        ]
        # As many beside each other as fit into the width at this size.
        letters = max(len(name) for name in class_names) + 6
        columns = max(1, min(len(handles), int(figure.get_figwidth() / (0.075 * letters))))
        figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=8.0)
    return figure


def _marker(number: int) -> str:
    # Colours repeat after five classes; the pair of colour and marker does not before the fortieth.
    return _MARKERS[number % len(_MARKERS)]
