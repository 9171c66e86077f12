"""One look for all figures, whatever the user's matplotlib settings are, and PNG and SVG files of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cml_tf.system.files import write_bytes

DOTS_PER_INCH = 160

# Okabe and Ito's colours: told apart by readers with any of the common colour vision deficiencies.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00"
INK, MUTED, FAINT = "#1F2328", "#6B7280", "#D8DCE2"
_SERIES = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE)

# Any: the type that rc_context wants names every setting there is.
_SETTINGS: Any = {
    # The family that matplotlib ships: the same letters on every machine, all scripts of the glyphs included.
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "white",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.bbox": "standard",
    # Names inside of SVG files would be random.
    "svg.hashsalt": "cml_tf",
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Within it, figures are made and drawn in the one look; afterwards the caller's settings hold again."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches with its own Agg canvas; pyplot does not know of it."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each different name, in order of first appearance; they repeat after five names."""
    different = list(dict.fromkeys(names))
    return {name: _SERIES[position % len(_SERIES)] for position, name in enumerate(different)}


def literal(name: str) -> str:
    """A name as it is, for a label: Matplotlib takes dollars for mathematics and hides what begins with "_"."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def bare(axes: Axes) -> None:
    """Takes ticks, grid and spines away."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG of its size in inches times `DOTS_PER_INCH`; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with house_style():
        # Without metadata the file does not depend on matplotlib's version string.
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def write_png(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG, at once or not at all.

    Raises:
      OSError: if the folder cannot be made or written to.
    """
    write_bytes(path, png_bytes(figure))


def svg_bytes(figure: Figure) -> bytes:
    """The figure as an SVG document; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def write_svg(figure: Figure, path: Path) -> None:
    """Writes the figure as an SVG document, at once or not at all.

    Raises:
      OSError: if the folder cannot be made or written to.
    """
    write_bytes(path, svg_bytes(figure))
