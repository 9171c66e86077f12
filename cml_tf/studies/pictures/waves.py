"""One-dimensional regression tasks, before and after adaptation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.studies.pictures.style import BLUE, INK, MUTED, ORANGE, PURPLE, house_style, new_figure

# Inches that an entry of the legend takes at most.
_LEGEND_WIDTH = 2.1
# Colour, dashes and width of the curves, from the fewest steps to the most.
_LINES = ((MUTED, (0, (1.2, 1.6)), 1.8), (ORANGE, (0, (5.0, 2.0)), 1.8), (BLUE, "-", 2.2), (PURPLE, "-", 1.4))


@dataclass(frozen=True, eq=False)
class RegressionPicture:
    """One task and what the model makes of it after some numbers of inner steps.

    Attributes:
      support_inputs: `[support]`.
      support_targets: `[support]`.
      inputs: where curves are drawn, increasing, `[points]`.
      truth: the true function there, `[points]`.
      predictions: the model's values there by number of inner steps (0: not adapted; None: of a rule that takes no
        steps), `[points]` each; one to four.
    """

    support_inputs: np.ndarray
    support_targets: np.ndarray
    inputs: np.ndarray
    truth: np.ndarray
    predictions: Mapping[int | None, np.ndarray]

    def __post_init__(self) -> None:
        if np.shape(self.support_inputs) != np.shape(self.support_targets) or np.ndim(self.support_inputs) != 1:
            raise ValueError(
                "support_inputs and support_targets must have the same shape [support], received "
                f"{list(np.shape(self.support_inputs))} and {list(np.shape(self.support_targets))}."
            )
        if not 1 <= len(self.predictions) <= len(_LINES):
            raise ValueError(f"predictions must contain 1 to {len(_LINES)} curves, received {len(self.predictions)}.")
        expected = np.shape(self.inputs)
        for name, values in (("truth", self.truth), *self.predictions.items()):
            if np.ndim(values) != 1 or np.shape(values) != expected:
                raise ValueError(f"{name} must have shape {list(expected)}, received {list(np.shape(values))}.")

    def error(self, steps: int | None) -> float:
        """Mean squared error over `inputs` of one of the predictions."""
        return float(np.mean(np.square(np.asarray(self.predictions[steps]) - self.truth)))


def draw_regression(pictures: Sequence[RegressionPicture]) -> Figure:
    """A panel a task: support points, true curve, the model's curves; 3.6 inches a panel and one scale for all.

    Raises:
      ValueError: without pictures, or when they differ in their numbers of steps.
    """
    steps = [sorted(picture.predictions, key=lambda steps: steps or 0) for picture in pictures]
    if not steps or any(other != steps[0] for other in steps):
        raise ValueError(
            f"pictures must not be empty and must all have the same numbers of inner steps, received {steps}."
        )
    with house_style():
        figure = new_figure(3.6 * len(pictures), 4.2)
        panels = figure.subplots(1, len(pictures), sharex=True, sharey=True, squeeze=False)[0]
        for number, (axes, picture) in enumerate(zip(panels, pictures, strict=True)):
            _draw_panel(axes, picture, steps[0])
            errors = " → ".join(f"{picture.error(count):.2f}" for count in steps[0])
            axes.set_title(f"Task {number + 1}")
            axes.set_xlabel(f"input x\nmean squared error\n{errors}")
        panels[0].set_ylabel("output y")
        handles, labels = panels[0].get_legend_handles_labels()
        rows = math.ceil(len(labels) * _LEGEND_WIDTH / figure.get_figwidth())
        figure.legend(handles, labels, loc="outside upper left", ncols=math.ceil(len(labels) / rows))
    return figure


def _draw_panel(axes: Axes, picture: RegressionPicture, steps: Sequence[int | None]) -> None:
    axes.plot(picture.inputs, picture.truth, color=INK, linewidth=5.0, alpha=0.16, label="true function")
    for count, (colour, dashes, width) in zip(steps, _LINES, strict=False):
        axes.plot(
            picture.inputs,
            picture.predictions[count],
            color=colour,
            linestyle=dashes,
            linewidth=width,
            label=_name(count),
        )
    axes.plot(
        picture.support_inputs,
        picture.support_targets,
        color=INK,
        linestyle="none",
        marker="X",
        markersize=8.0,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label="support example",
        zorder=5,
    )
    axes.margins(x=0.02)


def _name(steps: int | None) -> str:
    if steps is None:
        return "after adaptation"
    if steps == 0:
        return "before adaptation"
    return "after 1 inner step" if steps == 1 else f"after {steps} inner steps"
