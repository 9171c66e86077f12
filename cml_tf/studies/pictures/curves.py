"""Learning curves of several runs in one axes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cml_tf.errors import UserError
from cml_tf.studies.pictures.style import MUTED, colours, house_style, literal, new_figure

# How a metric is shown: axis label, and what its values are multiplied with.
_AXES = {"accuracy": ("accuracy on query examples [%]", 100.0), "mse": ("mean squared error on query examples", 1.0)}
_SPLITS = ("train", "validation")
_DASHES = (0, (4.0, 1.6))


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric of one run on one split.

    Attributes:
      run: the run's name; curves of one name share a colour.
      split: "train" or "validation".
      steps: meta-steps, increasing, `[points]`.
      values: the metric after these steps, `[points]`; accuracies in [0, 1].
    """

    run: str
    split: str
    steps: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}, received {self.split!r}.")
        steps, values = np.shape(self.steps), np.shape(self.values)
        if len(steps) != 1 or steps != values or steps[0] == 0:
            raise ValueError(
                f"steps and values of run {self.run!r} must have the same shape [points] with at least one point, "
                f"received {list(steps)} and {list(values)}."
            )


def mean_curves(curves: Sequence[Curve]) -> list[Curve]:
    """One curve for each run's name and split: the mean of those there are, at the steps that all of them have.

    Raises:
      UserError: if two curves to be averaged share no step.
    """
    alike: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        alike.setdefault((curve.run, curve.split), []).append(curve)
    return [_mean_curve(own) for own in alike.values()]


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    run, split = curves[0].run, curves[0].split
    steps = functools.reduce(np.intersect1d, [curve.steps for curve in curves])
    if not len(steps):
        raise UserError(f"the {split} curves of {run!r} have no step in common, so they cannot be averaged.")
    values = [curve.values[np.isin(curve.steps, steps)] for curve in curves]
    return Curve(run, split, steps, np.mean(values, axis=0))


def draw_learning_curves(curves: Sequence[Curve], metric: str, chance: float | None = None) -> Figure:
    """Validation as solid lines with dots, training as dashed lines; 8 x 4.2 inches.

    Args:
      curves: at least one.
      metric: "accuracy" (drawn in per cent) or "mse".
      chance: the metric of guessing, drawn as a dotted line; None for none.

    Raises:
      ValueError: without curves or for another metric.
    """
    if not curves or metric not in _AXES:
        raise ValueError(
            f"curves must not be empty and metric must be one of {', '.join(_AXES)}, received {len(curves)} curves and "
            f"{metric!r}."
        )
    label, scale = _AXES[metric]
    colour_of = colours([curve.run for curve in curves])
    with house_style():
        figure = new_figure(8.0, 4.2)
        axes = figure.add_subplot()
        for curve in curves:
            colour, values = colour_of[curve.run], scale * np.asarray(curve.values, np.float64)
            if curve.split == "train":
                axes.plot(curve.steps, values, color=colour, linewidth=1.4, linestyle=_DASHES)
            else:
                axes.plot(curve.steps, values, color=colour, linewidth=2.0, marker="o", markersize=4.5)
        if chance is not None:
            axes.axhline(scale * chance, color=MUTED, linewidth=1.0, linestyle=":")
        axes.set(xlabel="meta-step (outer-loop update)", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        if metric == "mse":
            axes.set_ylim(bottom=0.0)
        handles = _legend(colour_of, {curve.split for curve in curves}, chance is not None)
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def _legend(colour_of: dict[str, str], splits: set[str], with_chance: bool) -> list[Line2D]:
    handles = [Line2D([], [], color=colour, linewidth=3.0, label=literal(name)) for name, colour in colour_of.items()]
    if "validation" in splits:
        handles.append(Line2D([], [], color=MUTED, linewidth=2.0, marker="o", markersize=4.5, label="validation"))
    if "train" in splits:
        handles.append(Line2D([], [], color=MUTED, linewidth=1.4, linestyle=_DASHES, label="training"))
    if with_chance:
        handles.append(Line2D([], [], color=MUTED, linewidth=1.0, linestyle=":", label="guessing"))
    return handles
