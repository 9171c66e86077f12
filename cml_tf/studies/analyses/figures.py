"""Each analysis, the paper's figures and ours: rows of numbers, and the picture of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.experiments.configuration import flatten
from cml_tf.experiments.stored import RunError
from cml_tf.objectives.multi_step import leaves_path
from cml_tf.problems import Regression
from cml_tf.registry import member
from cml_tf.studies.analyses.representations import FEWEST, plane_of
from cml_tf.studies.analyses.rows import (
    ALL_LAYERS,
    HEAD_TO_BODY,
    Row,
    cka_rows,
    cosine_rows,
    first_step_rows,
    is_co_term,
    norm_rows,
    shown,
    with_all_seeds,
)
from cml_tf.studies.analyses.runs import Run, path_of
from cml_tf.studies.pictures.curves import draw_learning_curves, mean_curves
from cml_tf.studies.pictures.intervals import LayerInterval, draw_layer_intervals
from cml_tf.studies.pictures.of_runs import read_curves
from cml_tf.studies.pictures.style import MUTED, colours, house_style, literal, new_figure


@dataclass(frozen=True)
class Made:
    """What an analysis made.

    Attributes:
      name: of its files.
      title: one line.
      caption: what is drawn.
      rows: of its table, all with the same columns.
      figure: of the rows.
    """

    name: str
    title: str
    caption: str
    rows: list[Row]
    figure: Figure


@dataclass(frozen=True)
class Analysis:
    """One of the paper's figures, or one of ours.

    Attributes:
      name: what it is asked for by, and that of its files.
      paper: figure of the paper; `-` for ours.
      make: from runs and a number of episodes.
      fault: why it is not defined for a run, empty where it is.
    """

    name: str
    paper: str
    make: Callable[[Sequence[Run], int], Made]
    fault: Callable[[Run], str] = lambda run: ""


def accuracy_curves(runs: Sequence[Run], episodes: int) -> Made:
    """The metric by outer step, training and validation, as `metrics.jsonl` has it; no episode is sampled."""
    metric = runs[0].experiment.problem.metric
    curves = [(run, curve) for run in runs for curve in read_curves(run.workdir, run.name, metric)]
    rows = [
        {"run": run.name, "seed": run.seed, "split": curve.split, "step": int(step), metric: float(value)}
        for run, curve in curves
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    # Of the episodes that are drawn: a model for tasks of any size has more outputs.
    chance = 1 / runs[0].experiment.config.dataset.ways if metric == "accuracy" else None
    name, title = ("accuracy_curves", "Accuracy") if metric == "accuracy" else ("error_curves", "Squared error")
    seeds = " Mean over seeds, at the steps that all of them have." if _several_seeds(runs) else ""
    caption = f"Mean over training episodes since the last validation, and over the validation episodes.{seeds}"
    try:
        means = mean_curves([curve for _, curve in curves])
    except UserError as error:
        raise RunError(f"{error} Choose runs that were validated after the same steps.") from error
    figure = draw_learning_curves(means, metric, chance)
    return Made(name, f"{title} while training", caption, rows, figure)


def gradient_cosine(runs: Sequence[Run], episodes: int) -> Made:
    """Cosine similarity, a layer, of the outer gradients of the learner's and the co-learner's query loss."""
    rows = with_all_seeds(row for run in runs for row in cosine_rows(run, episodes))
    figure = draw_layer_intervals(
        _with_kernels(runs, rows), _colours(runs), "cosine similarity of the two outer gradients", _last_layer(runs)
    )
    caption = (
        "Gradients of the learner's and of the co-learner's query loss with respect to the initial extractor, through "
        f"the inner loop; {_means(runs)}."
    )
    return Made(
        "gradient_cosine", "Do the learner and the co-learner pull in the same direction?", caption, rows, figure
    )


def gradient_cosine_fault(run: Run) -> str:
    """Why the two gradients do not exist, if so."""
    for name in run.experiment.config.objective.terms:
        if not member("objective", name).traits["query_gradient"]:
            return f"the outer step of {name} is not the gradient of a query loss through the inner loop"
    if not any(is_co_term(term) for term in run.method.terms):
        return "it has no co-learner"
    return _frozen(run)


def path_fault(run: Run) -> str:
    """Why there is nothing before and after inner steps, if so."""
    if leaves_path(dict(flatten(run.experiment.config.to_dict()))):
        return _frozen(run)
    return "its inner steps, if it takes any, cannot be looked at one by one"


def _frozen(run: Run) -> str:
    return "" if run.method.learner.variables.extractor else "its extractor is frozen, so that no layer of it moves"


def gradient_norm(runs: Sequence[Run], episodes: int) -> Made:
    """Euclidean norm, a layer, of the gradient of the query loss with respect to the adapted extractor."""
    rows = with_all_seeds(row for run in runs for row in norm_rows(run, episodes))
    after = [row for row in rows if row["place"] == "after"]
    figure = draw_layer_intervals(
        _with_kernels(runs, after), _colours(runs), "norm of the query loss' gradient", from_zero=True
    )
    caption = (
        "Gradient of the query loss with respect to the adapted extractor, after the inner steps of evaluation; "
        f"{_means(runs)}. The table has the gradient before adaptation too."
    )
    return Made("gradient_norm", "Gradient norm after adaptation", caption, rows, figure)


def first_inner_gradient(runs: Sequence[Run], episodes: int) -> Made:
    """Euclidean norm, a layer and of the head, of the support loss' gradient that the first inner step follows."""
    rows = with_all_seeds(row for run in runs for row in first_step_rows(run, episodes))
    drawn = [row for row in rows if row["layer"] != HEAD_TO_BODY]
    figure = draw_layer_intervals(_intervals(drawn), _colours(runs), "norm of the first inner gradient", from_zero=True)
    caption = (
        "Gradient of the support loss that the first inner step of training follows, where the update rule takes it; "
        f"{_means(runs)}. The table has the head's norm over the mean of the layers' too."
    )
    return Made("first_inner_gradient", "Where does the first inner step push?", caption, rows, figure)


def first_inner_gradient_fault(run: Run) -> str:
    """Why body and head have no first gradients to compare, if so."""
    rule = run.method.rule
    if rule.steps is None:
        return "it takes no inner steps"
    adapted = rule.adapts(run.method.learner)
    moved = f"the {''.join(adapted)} alone" if adapted else "no parameters"
    return "" if len(adapted) == 2 else f"its inner steps move {moved}"


def linear_cka_of_adaptation(runs: Sequence[Run], episodes: int) -> Made:
    """Linear CKA, a layer, between the representations of the query set before and after adaptation."""
    rows = with_all_seeds(row for run in runs for row in cka_rows(run, episodes))
    figure = draw_layer_intervals(_intervals(rows), _colours(runs), "linear CKA, before and after adaptation")
    caption = (
        "1 means that adaptation did not change the layer's representation of the query set, up to rotation and scale; "
        f"{_means(runs)}."
    )
    return Made("linear_cka", "How much adaptation changes representations", caption, rows, figure)


def query_features_tsne(runs: Sequence[Run], episodes: int) -> Made:
    """t-SNE of the extractor's query features of the first test episode, before and after adaptation."""
    planes = [plane for run in _with_one_episode(runs) for plane in _planes(run)]
    class_names = runs[0].experiment.dataset.class_names("test")
    names = [str(class_names[number]) for number in runs[0].source.indices(0, 1)[0, :, 0]]
    rows = [
        {"run": plane.run, "place": plane.place, "query": i, "class": names[label], "x": float(x), "y": float(y)}
        for plane in planes
        for i, ((x, y), label) in enumerate(zip(plane.points, plane.labels, strict=True))
    ]
    caption = "The queries of the first test episode. Each panel is a separate t-SNE, so positions cannot be compared."
    if _several_seeds(runs):
        caption += " One seed of each method is shown."
    return Made("query_features_tsne", "Query features in a plane", caption, rows, draw_query_features(planes, names))


def _planes(run: Run) -> Iterator[FeaturePlane]:
    method, rule = run.method, run.evaluation_rule()

    def of_task(task: Episode) -> Any:
        path = path_of(rule, method, task)
        before, after = (place.predict(task.query.inputs)[0] for place in (path[0], path[-1]))
        return before, after

    ((before, after),) = run.measured(of_task, 1, np.stack)
    labels = run.source.batch(0, 1).query.targets[0].numpy()
    for place, features in (("before", before), ("after", after)):
        yield FeaturePlane(run.name, place, plane_of(features), labels)


def _with_one_episode(runs: Sequence[Run]) -> list[Run]:
    """One run of each name, of those that have the first run's test episodes."""
    alike: dict[str, Run] = {}
    for run in runs:
        if run.source.seed == runs[0].source.seed:
            alike.setdefault(run.name, run)
    return list(alike.values())


def _several_seeds(runs: Sequence[Run]) -> bool:
    return len({run.name for run in runs}) < len(runs)


def _means(runs: Sequence[Run]) -> str:
    """What points and intervals are, in words."""
    if _several_seeds(runs):
        return "mean over seeds with the 95 % interval over seeds (over test episodes where there is one seed)"
    return "mean over test episodes with 95 % interval"


def _intervals(rows: Sequence[Row]) -> list[LayerInterval]:
    return [LayerInterval(row["run"], row["layer"], row["mean"], row["ci95"]) for row in shown(rows)]


def _with_kernels(runs: Sequence[Run], rows: Sequence[Row]) -> list[LayerInterval]:
    """Normalisations stay in the table: a figure has the layers with kernels, and all together."""
    drawn = {(run.name, layer.name) for run in runs for layer in run.layers if layer.has_kernel}
    return [one for one in _intervals(rows) if (one.run, one.layer) in drawn or one.layer == ALL_LAYERS]


def _colours(runs: Sequence[Run]) -> dict[str, str]:
    return {run.name: run.colour for run in runs}


def _last_layer(runs: Sequence[Run]) -> str:
    return [layer.name for layer in runs[0].layers if layer.has_kernel][-1]


def tsne_fault(run: Run) -> str:
    """Why there is no plane of classes, if so."""
    if fault := path_fault(run):
        return fault
    if isinstance(run.experiment.problem, Regression):
        return "regression has no classes"
    queries = run.source.batch(0, 1).query.targets.shape[1]
    return "" if queries >= FEWEST else f"an episode has {queries} queries, but t-SNE needs {FEWEST}"


ANALYSES = (
    Analysis("accuracy_curves", "3a", accuracy_curves),
    Analysis("gradient_cosine", "3b", gradient_cosine, gradient_cosine_fault),
    Analysis("gradient_norm", "3c", gradient_norm, path_fault),
    Analysis("linear_cka", "3d", linear_cka_of_adaptation, path_fault),
    Analysis("query_features_tsne", "4", query_features_tsne, tsne_fault),
    Analysis("first_inner_gradient", "-", first_inner_gradient, first_inner_gradient_fault),
)


_MARKERS = "osD^vP*X"


@dataclass(frozen=True, eq=False)
class FeaturePlane:
    """The features of one run at one place of the inner loop.

    Attributes:
      run: name of the run, a row of the picture.
      place: "before" or "after" adaptation, a column.
      points: `[queries, 2]`.
      labels: class of each query, `[queries]`, in [0, ways).
    """

    run: str
    place: str
    points: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if np.shape(self.points) != (len(self.labels), 2):
            raise ValueError(f"points must be [{len(self.labels)}, 2], received {list(np.shape(self.points))}.")


def draw_query_features(planes: Sequence[FeaturePlane], class_names: Sequence[str]) -> Figure:
    """A row a run, a column a place; classes differ in colour and marker; axes have no unit and so no numbers.

    Raises:
      ValueError: without planes.
    """
    if not planes:
        raise ValueError("planes must contain at least one plane of features, received none.")
    runs = list(dict.fromkeys(plane.run for plane in planes))
    places = list(dict.fromkeys(plane.place for plane in planes))
    # Keys of their own: two classes of one name are two classes.
    colour_of = list(colours([str(number) for number in range(len(class_names))]).values())
    with house_style():
        figure = new_figure(3.6 * len(places) + 0.8, 2.9 * len(runs) + 0.6)
        grid = figure.subplots(len(runs), len(places), squeeze=False)
        for plane in planes:
            axes = grid[runs.index(plane.run), places.index(plane.place)]
            for number, colour in enumerate(colour_of):
                points = plane.points[plane.labels == number]
                axes.scatter(*points.T, s=26.0, color=colour, marker=_marker(number), linewidths=0.0)
            axes.set(title=f"{literal(plane.run)}: {plane.place} adaptation", xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color=MUTED)
        handles = [
            Line2D([], [], color=colour, marker=_marker(number), linestyle="none", label=literal(name))
            for number, (colour, name) in enumerate(zip(colour_of, class_names, strict=True))
        ]
        # As many beside each other as fit into the width at this size.
        letters = max(len(name) for name in class_names) + 6
        columns = max(1, min(len(handles), int(figure.get_figwidth() / (0.075 * letters))))
        figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=8.0)
    return figure


def _marker(number: int) -> str:
    # Colours repeat after five classes; the pair of colour and marker does not before the fortieth.
    return _MARKERS[number % len(_MARKERS)]
