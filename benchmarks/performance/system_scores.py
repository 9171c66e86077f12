"""What methods reach beside what they cost, as a table and a picture: sweeps joined with `system_costs`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cml_tf.errors import UserError
from cml_tf.studies.page import Table
from cml_tf.studies.pictures.style import colours, house_style, literal, new_figure
from cml_tf.studies.scores import MAML, ScoredMethod, Setting, over_seeds, paired
from cml_tf.system.files import parsed_json

# What `system_costs` measures, and how tables call it.
COST_COLUMNS = {
    "step_milliseconds": "step, ms",
    "times_maml": "times MAML",
    "step_mebibytes": "peak over imports, MiB",
    "in_process_milliseconds": "in process, ms",
    "grpc_milliseconds": "over gRPC, ms",
    "adapted_numbers": "numbers of a task",
}
Costs = Mapping[str, Mapping[str, float]]
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def words_of(method: ScoredMethod) -> str:
    """The words that choose a method in a configuration, as costs are named: `maml,kernel_ridge`."""
    return ",".join(filter(None, (method.kind, method.variant)))


def read_costs(path: Path, found: Mapping[str, Setting]) -> Costs:
    """By the words of methods.

    Args:
      path: that `benchmarks.performance.systems --output` wrote.
      found: results that the costs shall stand beside.

    Raises:
      UserError: if the file is another one, or was measured with tasks or learners of another size than a result's.
    """
    try:
        written = parsed_json(path.read_bytes())
        measured, costs = {key: written[key] for key in ("episodes", "filters")}, written["methods"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--costs must be a file of benchmarks.performance.systems, received {path} ({error!r}): write it with "
            "--output=FILE."
        ) from error
    for runs in (runs for methods in found.values() for runs in methods.values()):
        trained = measured | _size(next(iter(runs.values())))
        if trained != measured:
            raise UserError(
                f"costs must be of {_told(trained)}, as the results are, received costs of {_told(measured)}: measure "
                f"with --task_size={trained['episodes']} --filters={trained['filters']}."
            )
    return costs


def _size(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of the episodes and the learner of a result, as `benchmarks.performance.systems` names it."""
    dataset, learner = (run["config"][part] for part in ("dataset", "learner"))
    words = [f"{dataset[key]}{word}" for key, word in (("ways", "way"), ("shots", "shot")) if key in dataset]
    return {"episodes": ",".join(words), **{key: learner[key] for key in ("filters",) if key in learner}}


def _told(size: Mapping[str, Any]) -> str:
    return f"{size['episodes']} with {size['filters']} filters"


def joined(found: Mapping[str, Setting], costs: Costs) -> dict[ScoredMethod, Mapping[str, float]]:
    """The costs of each method that every setting has, MAML's first; other evaluations of a run have other costs.

    Raises:
      UserError: if a setting lacks MAML, or no method has both.
    """
    for name, methods in found.items():
        if MAML not in methods:
            raise UserError(f"the results of {name} must contain MAML, found none: add its runs to the sweep.")
    trained = [method for method in next(iter(found.values()), {}) if not method.evaluation]
    everywhere = [method for method in trained if all(method in one for one in found.values())]
    rows = {method: costs[words_of(method)] for method in everywhere if words_of(method) in costs}
    if not rows:
        raise UserError(
            f"results and costs must share a method, received costs of {', '.join(costs)}: measure those of the sweep "
            "with python -m benchmarks.performance.systems --served --method=WORDS."
        )
    return rows


def table(found: Mapping[str, Setting], costs: Costs) -> Table:
    """A row for each method: accuracy and paired difference from MAML in each setting, then costs."""
    rows = []
    for method, figures in joined(found, costs).items():
        cells: list[str] = [method.name]
        for methods in found.values():
            difference = None if method == MAML else paired(methods[method], methods[MAML])
            cells += [over_seeds(methods[method]).text(), difference.over_seeds.text("+") if difference else ""]
        rows.append((*cells, *(f"{figures[name]:.3g}" if name in figures else "" for name in COST_COLUMNS)))
    heads = [head for name in found for head in (name, "minus MAML")]
    return Table(("method", *heads, *COST_COLUMNS.values()), tuple(rows))


def draw(found: Mapping[str, Setting], costs: Costs) -> Figure:
    """Accuracy over milliseconds of a served request, a panel for each setting; each method has a colour and a marker.

    Raises:
      UserError: if no request was measured.
    """
    rows = {method: figures for method, figures in joined(found, costs).items() if "grpc_milliseconds" in figures}
    if not rows:
        raise UserError("the costs must contain served requests, found none: measure them with --served.")
    colour_of = colours([method.name for method in rows])
    # Methods of one colour differ by their marker.
    markers = (marker for marker in cycle("osD^v") for _ in {*colour_of.values()})
    look = {method: (colour_of[method.name], marker) for method, marker in zip(rows, markers, strict=False)}
    with house_style():
        figure = new_figure(4.2 * len(found) + 2.2, 4.2)
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (name, methods) in zip(panels, found.items(), strict=True):
            for method, figures in rows.items():
                score, (colour, marker) = over_seeds(methods[method]), look[method]
                axes.errorbar(
                    figures["grpc_milliseconds"],
                    score.mean,
                    score.half_width,
                    color=colour,
                    marker=marker,
                    linestyle="none",
                    capsize=2,
                    label=literal(method.name),
                )
            axes.set(title=literal(name), xscale="log", xlabel="a served request that adapts and predicts [ms]")
            axes.set(ylabel="accuracy on query examples [%]")
            axes.set_xticks([tick for tick in _TICKS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
