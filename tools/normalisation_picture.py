"""Draws what each mode of normalisation takes its statistics over: docs/images/normalisation.png.

    python -m tools.normalisation_picture --output=docs/images/normalisation.png

Nothing is drawn by hand: the layers are run, and an example's channel is coloured where a change of one of its pixels
changes another pixel's output in the first channel of the first query.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cml_tf.learners import Normalisation
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.studies.pictures.style import BLUE, FAINT, INK, VERMILLION, house_style, new_figure, write_png
from cml_tf.system.command_line import run

_OUTPUT = flags.DEFINE_string("output", "docs/images/normalisation.png", "PNG file to write.")
_SUPPORT, _QUERIES, _CHANNELS, _EDGE = 4, 3, 4, 3
_ORDER = ("batch_transductive", "per_step", "support", "tasknorm", "group", "layer", "none")


def influence(mode: str) -> np.ndarray:
    """Whether channels `[examples, channels]`, support set first, take part in the statistics of one of a query's."""
    keras.utils.set_random_seed(0)
    layer = Normalisation(mode, groups=2)
    shape = (_SUPPORT + _QUERIES, _EDGE, _EDGE, _CHANNELS)
    layer.build(shape)
    maps = tf.random.normal(shape)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        with keras.StatelessScope():
            # The assigned state has no gradient outside of a functional call, and in this scope it has.
            layer(maps[:_SUPPORT], training=True)
            asked = layer(maps[_SUPPORT:], training=False)
        pixel = asked[0, 0, 0, 0]
    # Another pixel than the one that is normalised: that one changes its own output without any statistics.
    slopes = np.abs(tape.gradient(pixel, maps).numpy())
    slopes[_SUPPORT, 0, 0, 0] = 0
    return slopes.max((1, 2)) > 1e-7


def draw(axes: Axes, mode: str) -> None:
    """One panel: a row an example, a column a channel."""
    taken = influence(mode)
    for example in range(len(taken)):
        # A gap between support set and queries.
        down = example + (0.6 if example >= _SUPPORT else 0.0)
        for channel in range(_CHANNELS):
            colour = (BLUE if example < _SUPPORT else VERMILLION) if taken[example, channel] else FAINT
            axes.add_patch(_square(channel, down, colour))
    axes.add_patch(_square(0, _SUPPORT + 0.6, "none", INK))
    axes.set(xlim=(-0.2, _CHANNELS + 0.2), ylim=(len(taken) + 0.9, -0.3))
    axes.set_title(mode, fontsize=8.5)
    axes.set_aspect("equal")
    axes.axis("off")


def _square(across: float, down: float, colour: str, edge: str = "white") -> Rectangle:
    return Rectangle((across, down), 1, 1, facecolor=colour, edgecolor=edge, linewidth=1.8)


def main(arguments: list[str]) -> None:
    """Draws all modes side by side."""
    del arguments
    assert set(_ORDER) == set(MODES), "a mode has come or gone: change the order of the panels"
    with house_style():
        figure = new_figure(11, 2.9)
        for axes, mode in zip(figure.subplots(1, len(_ORDER)), _ORDER, strict=True):
            draw(axes, mode)
        figure.supxlabel("channels", fontsize=9)
        figure.supylabel("queries        support set", fontsize=9)
    write_png(figure, Path(_OUTPUT.value))


if __name__ == "__main__":
    run(main)
