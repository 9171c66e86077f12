"""Each figure of the paper's analyses: rows of numbers, and the picture of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cml_tf.analyses.gradients import comparison, cosine, inner_products, outer_gradients, query_gradient
from cml_tf.analyses.planes import FEWEST, plane_of
from cml_tf.analyses.representations import representations
from cml_tf.analyses.runs import Run, summarise
from cml_tf.analyses.similarity import linear_cka
from cml_tf.episodes import Episode
from cml_tf.objectives.co_learner import CoLearner
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.problems import Regression
from cml_tf.reporting.layer_intervals import LayerInterval, draw_layer_intervals
from cml_tf.reporting.learning_curves import draw_learning_curves
from cml_tf.reporting.query_features import FeaturePlane, draw_query_features
from cml_tf.reporting.run_pictures import read_curves

Row = dict[str, Any]
ALL_LAYERS = "all layers"


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
    """One of the paper's figures.

    Attributes:
      name: what it is asked for by, and that of its files.
      paper: figure of the paper.
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
    curves = [curve for run in runs for curve in read_curves(run.workdir, run.name, metric)]
    rows = [
        {"run": curve.run, "split": curve.split, "step": int(step), metric: float(value)}
        for curve in curves
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    ways = runs[0].experiment.config.dataset.ways
    chance = 1 / ways if metric == "accuracy" else None
    name, title = ("accuracy_curves", "Accuracy") if metric == "accuracy" else ("error_curves", "Squared error")
    caption = "Mean over training episodes since the last validation, and over the validation episodes."
    return Made(name, f"{title} while training", caption, rows, draw_learning_curves(curves, metric, chance))


def gradient_cosine(runs: Sequence[Run], episodes: int) -> Made:
    """Cosine similarity, a layer, of the outer gradients of the learner's and the co-learner's query loss."""
    rows = [row for run in runs for row in _cosine_rows(run, episodes)]
    figure = draw_layer_intervals(
        _with_kernels(runs, rows), _colours(runs), "cosine similarity of the two outer gradients", _last_layer(runs)
    )
    caption = (
        "Gradients of the learner's and of the co-learner's query loss with respect to the initial extractor, through "
        "the inner loop; mean over test episodes with 95 % interval."
    )
    return Made("gradient_cosine", "Do learner and co-learner pull the same way?", caption, rows, figure)


def gradient_cosine_fault(run: Run) -> str:
    """Why the two gradients do not exist, if so."""
    if run.experiment.config.objective.outer == "reptile":
        return "Reptile's outer step is no gradient of a query loss through the inner loop"
    return "" if any(_is_co_term(term) for term in run.method.terms) else "it has no co-learner"


def gradient_norm(runs: Sequence[Run], episodes: int) -> Made:
    """Euclidean norm, a layer, of the gradient of the query loss with respect to the adapted extractor."""
    rows = [row for run in runs for row in _norm_rows(run, episodes)]
    after = [row for row in rows if row["place"] == "after"]
    figure = draw_layer_intervals(
        _with_kernels(runs, after), _colours(runs), "norm of the query loss' gradient", from_zero=True
    )
    caption = (
        "Gradient of the query loss with respect to the adapted extractor, after the inner steps of evaluation; mean "
        "over test episodes with 95 % interval. The table has the gradient before adaptation too."
    )
    return Made("gradient_norm", "Gradient norm after adaptation", caption, rows, figure)


def linear_cka_of_adaptation(runs: Sequence[Run], episodes: int) -> Made:
    """Linear CKA, a layer, between the representations of the query set before and after adaptation."""
    rows = [row for run in runs for row in _cka_rows(run, episodes)]
    figure = draw_layer_intervals(_intervals(rows), _colours(runs), "linear CKA, before and after adaptation")
    caption = (
        "1: adaptation left the layer's representation of the query set as it was, up to rotation and scale; mean over "
        "test episodes with 95 % interval."
    )
    return Made("linear_cka", "How much adaptation changes representations", caption, rows, figure)


def query_features_tsne(runs: Sequence[Run], episodes: int) -> Made:
    """t-SNE of the extractor's query features of the first test episode, before and after adaptation."""
    planes = [plane for run in runs for plane in _planes(run)]
    class_names = runs[0].experiment.dataset.class_names("test")
    names = [str(class_names[number]) for number in runs[0].source.indices(0, 1)[0, :, 0]]
    rows = [
        {"run": plane.run, "place": plane.place, "query": i, "class": names[label], "x": float(x), "y": float(y)}
        for plane in planes
        for i, ((x, y), label) in enumerate(zip(plane.points, plane.labels, strict=True))
    ]
    caption = "The queries of the first test episode; every panel is a t-SNE of its own, so positions do not compare."
    return Made("query_features_tsne", "Query features in a plane", caption, rows, draw_query_features(planes, names))


def _cosine_rows(run: Run, episodes: int) -> Iterator[Row]:
    method, layers = run.at_its_end(), run.layers
    # The factor gamma changes no direction, and may be 0.
    co = [1.0 if _is_co_term(term) else 0.0 for term in method.terms]
    own = [0.0 if _is_co_term(term) else term.weight for term in method.terms]

    def of_task(task: Episode) -> Any:
        of_learner, of_co_learner = outer_gradients(method, (own, co), task)
        return comparison(of_learner, of_co_learner, layers)

    cosines = cosine(run.measured(of_task, episodes))
    for name, values in zip([*(layer.name for layer in layers), ALL_LAYERS], cosines.T, strict=True):
        signs = np.where(np.isnan(values), np.nan, values > 0)
        yield {**_summary_row(run, name, values), "positive_share": summarise(signs).mean}


def _norm_rows(run: Run, episodes: int) -> Iterator[Row]:
    method, rule, layers = run.method, run.evaluation_rule(), run.layers

    def of_task(task: Episode) -> Any:
        path = rule.adapt(method.learner, rule.initial(method.learner), task.support, task.context).iterates
        gradients = [query_gradient(method.learner, rule.problem, place, task.query) for place in (path[0], path[-1])]
        return [inner_products(gradient, gradient, layers) for gradient in gradients]

    norms = np.sqrt(run.measured(of_task, episodes, np.stack))
    for position, place in enumerate(("before", "after")):
        for name, values in zip([*(layer.name for layer in layers), ALL_LAYERS], norms[:, position].T, strict=True):
            yield {**_summary_row(run, name, values), "place": place}


def _cka_rows(run: Run, episodes: int) -> Iterator[Row]:
    method, rule = run.method, run.evaluation_rule()
    names: list[str] = []

    def of_task(task: Episode) -> Any:
        path = rule.adapt(method.learner, rule.initial(method.learner), task.support, task.context).iterates
        before, after = (representations(place, task.query.inputs) for place in (path[0], path[-1]))
        names[:] = before
        return list(before.values()), list(after.values())

    def alignments(result: Any) -> np.ndarray:
        return np.array([linear_cka(before, after) for before, after in zip(*result, strict=True)])

    for name, values in zip(names, run.measured(of_task, episodes, alignments).T, strict=True):
        yield _summary_row(run, name, values)


def _planes(run: Run) -> Iterator[FeaturePlane]:
    method, rule = run.method, run.evaluation_rule()

    def of_task(task: Episode) -> Any:
        path = rule.adapt(method.learner, rule.initial(method.learner), task.support, task.context).iterates
        before, after = (place.predict(task.query.inputs)[0] for place in (path[0], path[-1]))
        return before, after

    ((before, after),) = run.measured(of_task, 1, np.stack)
    labels = run.source.batch(0, 1).query.targets[0].numpy()
    for place, features in (("before", before), ("after", after)):
        yield FeaturePlane(run.name, place, plane_of(features), labels)


def _is_co_term(term: Any) -> bool:
    """Whether a term is a co-learner's: CML's phi, or CL's second head."""
    return isinstance(term, CoLearner) or (isinstance(term, QueryLoss) and term.head == 1)


def _summary_row(run: Run, layer: str, values: np.ndarray) -> Row:
    summary = summarise(values)
    return {"run": run.name, "layer": layer, **summary._asdict()}


def _intervals(rows: Iterable[Row]) -> list[LayerInterval]:
    return [LayerInterval(row["run"], row["layer"], row["mean"], row["ci95"]) for row in rows]


def _with_kernels(runs: Sequence[Run], rows: Iterable[Row]) -> list[LayerInterval]:
    """Normalisations stay in the table: a figure has the layers with kernels, and all together."""
    drawn = {(run.name, layer.name) for run in runs for layer in run.layers if layer.has_kernel}
    return [one for one in _intervals(rows) if (one.run, one.layer) in drawn or one.layer == ALL_LAYERS]


def _colours(runs: Sequence[Run]) -> dict[str, str]:
    return {run.name: run.colour for run in runs}


def _last_layer(runs: Sequence[Run]) -> str:
    return [layer.name for layer in runs[0].layers if layer.has_kernel][-1]


def tsne_fault(run: Run) -> str:
    """Why there is no plane of classes, if so."""
    if isinstance(run.experiment.problem, Regression):
        return "regression has no classes to tell apart"
    queries = run.source.batch(0, 1).query.targets.shape[1]
    return "" if queries >= FEWEST else f"an episode has {queries} queries, t-SNE needs {FEWEST}"


ANALYSES = (
    Analysis("accuracy_curves", "3a", accuracy_curves),
    Analysis("gradient_cosine", "3b", gradient_cosine, gradient_cosine_fault),
    Analysis("gradient_norm", "3c", gradient_norm),
    Analysis("linear_cka", "3d", linear_cka_of_adaptation),
    Analysis("query_features_tsne", "4", query_features_tsne, tsne_fault),
)
