"""Numbers with their intervals: scores of runs and their paired difference, and a number a layer (Figures 3b to 3d)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.studies.pictures.style import FAINT, INK, MUTED, colours, house_style, literal, new_figure


@dataclass(frozen=True)
class Interval:
    """A mean over episodes and the half-width of its 95 % interval.

    Attributes:
      name: what was measured.
      mean: in the unit that is drawn.
      half_width: non-negative, in the same unit.
    """

    name: str
    mean: float
    half_width: float

    def __post_init__(self) -> None:
        if not self.half_width >= 0.0:
            raise ValueError(f"half_width of {self.name!r} must be 0 or more, received {self.half_width}.")

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half_width

    @property
    def contains_zero(self) -> bool:
        """Whether zero lies within, ends included."""
        return self.low <= 0.0 <= self.high

    def text(self, sign: str = "") -> str:
        """Mean and half-width with two decimals; `sign` "+" shows the sign of a positive mean too."""
        return f"{decimal_text(self.mean, sign)} ± {self.half_width:.2f}"


def decimal_text(value: float, sign: str = "", decimals: int = 2) -> str:
    """A number with a minus sign, not a hyphen; `sign` "+" shows the sign of a positive one too.

    From a million on, where adaptation all but diverged, as `1.45e+25`.
    """
    form = f"{sign}.{decimals}f" if abs(value) < 1e6 else f"{sign}.2e"
    return f"{value:{form}}".replace("-", "−")


def draw_comparison(scores: Sequence[Interval], difference: Interval, unit: str, difference_unit: str) -> Figure:
    """Left the scores, right the paired difference beside a line at zero; 8 x 2.4 inches.

    Args:
      scores: from top to bottom, at least one.
      difference: paired, of two of the scores.
      unit: axis label of the scores, with unit.
      difference_unit: axis label of the difference, with unit.

    Raises:
      ValueError: without scores.
    """
    if not scores:
        raise ValueError("scores must contain at least one score, received none.")
    with house_style():
        figure = new_figure(8.0, 1.5 + 0.45 * len(scores))
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1.0])
        _rows(left, scores, colours([score.name for score in scores]), sign="")
        left.set(xlabel=unit, title="Each run")
        _rows(right, [difference], {difference.name: INK}, sign="+")
        right.axvline(0.0, color=MUTED, linewidth=1.2, linestyle="--", zorder=1)
        furthest = 1.35 * max(abs(difference.low), abs(difference.high), 1e-9)
        right.set(xlabel=difference_unit, title="Paired difference", xlim=(-furthest, furthest))
    return figure


def _rows(axes: Axes, intervals: Sequence[Interval], colour_of: dict[str, str], sign: str) -> None:
    for row, interval in enumerate(intervals):
        axes.errorbar(
            interval.mean,
            row,
            xerr=interval.half_width,
            color=colour_of[interval.name],
            marker="o",
            markersize=7.0,
            linewidth=2.4,
            capsize=5.0,
            capthick=2.0,
        )
        axes.annotate(
            interval.text(sign),
            (interval.mean, row),
            xytext=(0.0, 9.0),
            textcoords="offset points",
            ha="center",
            fontsize=9.0,
            # Readable where it lies on the line at zero.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
        )
    axes.set_yticks(range(len(intervals)), [interval.name for interval in intervals])
    axes.set_ylim(len(intervals) - 0.5, -0.75)
    axes.margins(x=0.3)
    axes.grid(False, axis="y")


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
        raise ValueError("intervals must contain at least one interval, received none.")
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
