"""How sure a model was and how often it was right, before and after calibration; scores of known and other queries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.readouts.confidence import Confidence
from cml_tf.studies.pictures.style import BLUE, INK, MUTED, VERMILLION, house_style, new_figure, write_png

_PANEL = 3.4


def write_confidence(measures: Mapping[str, Mapping[str, Any]], confidence: Confidence, path: Path) -> None:
    """Draws what `cml_tf.calibrate` measured into a PNG file, a row for each number of shots.

    Args:
      measures: by shots, with `histograms` (`cml_tf.experiments.confident_runs.FittedRun`).
      confidence: that was measured.
      path: of the picture.

    Raises:
      OSError: if the file cannot be written.
    """
    with house_style():
        figure = draw_confidence(measures, confidence)
    write_png(figure, path)


def draw_confidence(measures: Mapping[str, Mapping[str, Any]], confidence: Confidence) -> Figure:
    """The figure."""
    columns = 2 if confidence.open_set is None else 3
    figure = new_figure(columns * _PANEL, len(measures) * _PANEL)
    panels = figure.subplots(len(measures), columns, squeeze=False)
    for row, knot in zip(panels, confidence.knots, strict=True):
        measured = measures[str(knot.shots)]
        for axes, when, colour in zip(row, ("before", "after"), (VERMILLION, BLUE), strict=False):
            error = 100 * measured[when]["ece"]["mean"]
            _reliability(axes, measured["histograms"][when]["reliability"], colour)
            axes.set_title(f"{knot.shots} shot{'s' * (knot.shots > 1)}, {when}: {error:.1f} % off", fontsize=9)
        if confidence.open_set is not None:
            _scores(row[2], measured["histograms"]["after"]["scores"], knot.threshold or 0.0)
            row[2].set_xlabel(confidence.open_set.replace("_", " "))
            row[2].set_title(f"area under the curve: {measured['after']['auroc']['mean']:.2f}", fontsize=9)
    return figure


def _reliability(axes: Axes, bins: Mapping[str, list[float]], colour: str) -> None:
    counts, sums, right = (np.array(bins[name], float) for name in ("queries", "probability", "right"))
    filled = counts > 0
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    # The area of a point is its share of the queries.
    sizes = 6 + 250 * counts[filled] / counts.sum()
    axes.scatter(sums[filled] / counts[filled], right[filled] / counts[filled], sizes, color=colour, alpha=0.8)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03), xlabel="largest probability", ylabel="share of right answers")


def _scores(axes: Axes, found: Mapping[str, list[float]], threshold: float) -> None:
    for name, colour in (("known", BLUE), ("unknown", VERMILLION)):
        axes.stairs(found[name], found["edges"], fill=True, color=colour, alpha=0.5, label=f"{name} classes")
    axes.axvline(threshold, color=INK, linewidth=1, label="threshold")
    axes.set_ylabel("share of queries")
    axes.legend(fontsize=7)
