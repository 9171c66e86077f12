"""A number a layer and run, with its interval: the paper's Figures 3b to 3d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cml_tf.reporting.style import FAINT, MUTED, house_style, literal, new_figure

_SPREAD = 0.5


@dataclass(frozen=True)
class LayerInterval:
    """A mean over episodes at one layer of one run.

    Attributes:
      run: name of the run; its points share a colour.
      layer: name of the layer.
      mean: NaN where it is not defined; it is not drawn then.
      ci95: half-width of its 95 % interval, NaN for none.
    """

    run: str
    layer: str
    mean: float
    ci95: float


def draw_layer_intervals(
    intervals: Sequence[LayerInterval],
    colour_of: Mapping[str, str],
    label: str,
    highlighted: str = "",
    from_zero: bool = False,
) -> Figure:
    """Layers from left to right as each run has them, the runs' points beside each other; 8 x 4.2 inches.

    Args:
      intervals: at least one.
      colour_of: the colour of each run; those without intervals are left out.
      label: of the vertical axis, with unit.
      highlighted: a layer with a band behind it; none when empty.
      from_zero: whether the axis begins at zero; otherwise there is a line at zero if it is in sight.

    Raises:
      ValueError: without intervals.
    """
    if not intervals:
        raise ValueError("expected at least one interval to draw, received none.")
    layers = _in_order(intervals)
    runs = [run for run in colour_of if any(interval.run == run for interval in intervals)]
    places = np.linspace(-_SPREAD / 2, _SPREAD / 2, len(runs)) if len(runs) > 1 else np.zeros(1)
    with house_style():
        figure = new_figure(8.0, 4.2)
        axes = figure.add_subplot()
        for run, place in zip(runs, places, strict=True):
            own = [interval for interval in intervals if interval.run == run]
            axes.errorbar(
                np.array([layers.index(interval.layer) for interval in own]) + place,
                np.array([interval.mean for interval in own], np.float64),
                yerr=[np.nan_to_num(interval.ci95) for interval in own],
                label=literal(run),
                color=colour_of[run],
                linestyle="none",
                marker="o",
                markersize=6.0,
                linewidth=2.0,
                capsize=4.0,
            )
        if highlighted in layers:
            middle = layers.index(highlighted)
            axes.axvspan(middle - 0.45, middle + 0.45, color=FAINT, alpha=0.5, linewidth=0.0, zorder=0)
        if from_zero:
            axes.set_ylim(bottom=0.0)
        elif axes.get_ylim()[0] < 0.0 < axes.get_ylim()[1]:
            axes.axhline(0.0, color=MUTED, linewidth=1.0, linestyle=":")
        axes.set_xticks(range(len(layers)), layers)
        axes.set_xlim(-0.6, len(layers) - 0.4)
        axes.set_ylabel(label)
        axes.grid(False, axis="x")
        figure.legend(loc="outside upper left", ncols=min(len(runs), 4))
    return figure


def _in_order(intervals: Sequence[LayerInterval]) -> list[str]:
    """All layers: one that only a deeper run has stands behind the one that it follows there, not behind the last."""
    order: list[str] = []
    for run in dict.fromkeys(interval.run for interval in intervals):
        place = 0
        for layer in dict.fromkeys(interval.layer for interval in intervals if interval.run == run):
            if layer not in order:
                order.insert(place, layer)
            place = order.index(layer) + 1
    return order
