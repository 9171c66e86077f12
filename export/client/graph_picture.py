"""A picture of the answers on the graph: nodes in the colours of their classes, support nodes outlined."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import networkx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cml_tf.system.files import write_bytes
from export.client.answers import Answer
from export.client.errors import ClientError
from export.client.examples import ExampleSet
from export.client.graphs import Graph, Part, around, checked_nodes
from export.client.printed import printable

SUFFIXES = (".png", ".svg")
# Okabe and Ito's colours: told apart by readers with any of the common colour vision deficiencies.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#F0E442")
_INK, _OTHER, _EDGE = "#1F2328", "#D8DCE2", "#B6BCC6"
# More than these cannot be told apart in a picture, and take long to place.
_MOST_NODES = 300
_FARTHEST = 2
# SVG has an identifier for each part, which would be random otherwise.
_SETTINGS: Any = {"font.family": ["DejaVu Sans"], "svg.hashsalt": "graph", "text.usetex": False}


def write_graph_picture(
    path: Path, graph: Graph, answer: Answer, queries: ExampleSet, support: ExampleSet | None = None
) -> None:
    """Draws the queries with what they were found to be, the support nodes, and what of the graph lies around them.

    Neighbours up to two edges away are drawn, fewer where there would be more than 300 nodes. A query whose label is
    known and another is crossed out. The same arguments give the same picture.

    Args:
      path: of the file, which appears whole or not at all: .png or .svg.
      graph: the whole graph.
      answer: to the queries.
      queries: nodes.
      support: the nodes that were adapted to, if they are at hand.

    Raises:
      ClientError: if there is nothing to draw, or the file cannot be of that kind.
    """
    check_picture(path)
    if answer.class_names is None or not queries.names:
        raise ClientError("a picture needs classes and at least one query node.")
    asked = checked_nodes(queries.inputs, graph)
    known = checked_nodes(support.inputs if support else [], graph)
    part = _drawn_part(graph, np.concatenate([asked, known]))
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(8, 6), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        places = _draw_graph(axes, part)
        _draw_queries(axes, places[part.numbers(asked)], answer, queries)
        if support is not None:
            _draw_support(axes, places[part.numbers(known)], answer.class_names, support)
        _number(axes, places, part, np.concatenate([asked, known]))
        _add_legend(axes, answer.class_names, queries, support)
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:].lower(), metadata=_metadata(path))
    write_bytes(path, content.getvalue())


def check_picture(path: Path) -> None:
    """Raises ClientError unless the path ends with one of `SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise ClientError(f"the file of a picture must end with {' or '.join(SUFFIXES)}, received {path}.")


def _drawn_part(graph: Graph, nodes: np.ndarray) -> Part:
    parts = (around(graph, nodes, distance) for distance in range(_FARTHEST, -1, -1))
    part = next((part for part in parts if len(part.nodes) <= _MOST_NODES), None)
    if part is None:
        raise ClientError(
            f"a picture shows at most {_MOST_NODES} nodes, received {len(np.unique(nodes))} support and query nodes: "
            "send fewer at a time."
        )
    return part


def _draw_graph(axes: Axes, part: Part) -> np.ndarray:
    """Edges and grey nodes; returns where every node is, `[nodes, 2]`."""
    drawing = networkx.Graph()
    drawing.add_nodes_from(range(len(part.nodes)))
    drawing.add_edges_from((left, right) for left, right in part.graph.edges.tolist() if left != right)
    layout = networkx.spring_layout(drawing, seed=0, k=1.6 / np.sqrt(len(part.nodes)), iterations=100)
    places = np.array([layout[node] for node in range(len(part.nodes))])
    for left, right in drawing.edges:
        axes.plot(*places[[left, right]].T, color=_EDGE, linewidth=0.7, zorder=1)
    axes.scatter(places[:, 0], places[:, 1], s=22, color=_OTHER, edgecolors="white", linewidths=0.5, zorder=2)
    axes.set_axis_off()
    return places


def _draw_queries(axes: Axes, places: np.ndarray, answer: Answer, queries: ExampleSet) -> None:
    colours = [_COLOURS[column % len(_COLOURS)] for column in answer.shares.argmax(axis=1)]
    axes.scatter(places[:, 0], places[:, 1], s=90, c=colours, edgecolors="white", linewidths=0.8, zorder=3)
    if queries.targets is not None:
        wrong = np.array([str(truth) != found for truth, found in zip(queries.targets, answer.classes, strict=True)])
        axes.scatter(places[wrong][:, 0], places[wrong][:, 1], s=40, c=_INK, marker="x", linewidths=1.2, zorder=5)


def _draw_support(axes: Axes, places: np.ndarray, class_names: tuple[str, ...], support: ExampleSet) -> None:
    column = {name: position for position, name in enumerate(class_names)}
    unknown = sorted({str(target) for target in support.targets} - set(column))
    if unknown:
        raise ClientError(f"the support nodes must have the classes of the adapted task, received {unknown[0]}.")
    colours = [_COLOURS[column[str(target)] % len(_COLOURS)] for target in support.targets]
    axes.scatter(places[:, 0], places[:, 1], s=130, c=colours, edgecolors=_INK, linewidths=2.0, zorder=4)


def _number(axes: Axes, places: np.ndarray, part: Part, nodes: np.ndarray) -> None:
    for node in np.unique(nodes):
        place = places[part.numbers(node)]
        axes.annotate(str(node), place, xytext=(5, 5), textcoords="offset points", fontsize=6, color=_INK, zorder=6)


def _add_legend(axes: Axes, class_names: tuple[str, ...], queries: ExampleSet, support: ExampleSet | None) -> None:
    entries = [
        (name, Line2D([], [], linestyle="", marker="o", color=_COLOURS[column % len(_COLOURS)], markersize=8))
        for column, name in enumerate(class_names)
    ]
    if support is not None:
        outlined = Line2D([], [], linestyle="", marker="o", color="white", markeredgecolor=_INK, markeredgewidth=2)
        entries.append(("support node", outlined))
    if queries.targets is not None:
        entries.append(("wrong", Line2D([], [], linestyle="", marker="x", color=_INK)))
    legend = axes.legend(
        [line for _, line in entries], [str(number) for number in range(len(entries))], loc="best", frameon=False
    )
    for text, (name, _) in zip(legend.get_texts(), entries, strict=True):
        # Names come from files: a dollar sign is no formula, an underscore in front hides nothing.
        text.set_parse_math(False)
        text.set_text(printable(name))


def _metadata(path: Path) -> dict[str, None]:
    return {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
