"""A sweep's scores seed by seed, and what each method's differ by from one of them on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cml_tf.studies.pictures.style import BLUE, INK, VERMILLION, house_style, literal, new_figure, write_png
from cml_tf.studies.scores import MAML, OverSeeds, ScoredMethod, Setting, baseline, over_seeds, paired, scale

_ROW, _WIDTH = 0.34, 10.0


def write_differences(found: Mapping[str, Setting], against: ScoredMethod, path: Path) -> None:
    """Draws all settings below each other, into a PNG file.

    Raises:
      UserError: if two methods were not scored on the same episodes.
      OSError: if the file cannot be written.
    """
    with house_style():
        figure = draw_differences(found, against)
    write_png(figure, path)


def draw_differences(found: Mapping[str, Setting], against: ScoredMethod = MAML) -> Figure:
    """Each method a row: left its seeds and their mean, right the paired difference; bars are 95 % over seeds."""
    heights = [len(methods) + 2.2 for methods in found.values()]
    figure = new_figure(_WIDTH, _ROW * sum(heights))
    panels = figure.subplots(len(found), 2, squeeze=False, sharey="row", height_ratios=heights)
    for (left, right), (name, methods) in zip(panels, found.items(), strict=True):
        metric = next(run["metric"] for runs in methods.values() for run in runs.values())
        unit = "accuracy [%]" if metric == "accuracy" else str(metric)
        left.set(title=literal(name), xlabel=unit)
        right.set(xlabel=f"minus {literal(against.name)},\n{unit}, same episodes")
        right.axvline(0, color=INK, linewidth=0.8)
        for row, (method, runs) in enumerate(methods.items()):
            left.plot(
                [scale(run) * run["mean"] for run in runs.values()], [row] * len(runs), "o", color=BLUE, alpha=0.4
            )
            _bar(left, row, over_seeds(runs), BLUE)
            others = baseline(methods, method, against)
            difference = paired(runs, others) if others and runs is not others else None
            if difference is not None:
                _bar(right, row, difference.over_seeds, VERMILLION)
        left.set_yticks(range(len(methods)), [literal(method.name) for method in methods])
        left.set_ylim(len(methods) - 0.5, -0.5)
    return figure


def _bar(axes: Axes, row: int, value: OverSeeds, colour: str) -> None:
    """A mean with its interval; one seed has none."""
    axes.errorbar(value.mean, row, xerr=value.half_width or None, fmt="D", color=colour, capsize=4, markersize=5)
