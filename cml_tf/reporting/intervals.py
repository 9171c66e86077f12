"""Scores of several runs with their intervals, and the paired difference of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.reporting.style import INK, MUTED, colours, house_style, new_figure


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
        raise ValueError("expected at least one score to compare, received none.")
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
