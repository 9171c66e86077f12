"""Rows of the analyses' tables: what is measured of each run, and what several seeds of one method give together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.episodes import Episode
from cml_tf.studies.analyses.gradients import comparison, cosine, inner_products, outer_gradients, query_gradient
from cml_tf.studies.analyses.representations import HEAD, linear_cka, representations
from cml_tf.studies.analyses.runs import Run, path_of, summarise

Row = dict[str, Any]
ALL_LAYERS = "all layers"
HEAD_TO_BODY = "head to body"
ALL_SEEDS = "all"


def cosine_rows(run: Run, episodes: int) -> Iterator[Row]:
    """Cosine similarity, a layer, of the outer gradients of the learner's and the co-learner's query loss."""
    method, layers = run.at_its_end(), run.layers
    # The factor gamma changes no direction, and may be 0.
    co = [1.0 if is_co_term(term) else 0.0 for term in method.terms]
    weights = zip(method.terms, run.last_moment.weights, strict=True)
    own = [0.0 if is_co_term(term) else weight for term, weight in weights]

    def of_task(task: Episode) -> Any:
        of_learner, of_co_learner = outer_gradients(method, (own, co), task)
        return comparison(of_learner, of_co_learner, layers)

    cosines = cosine(run.measured(of_task, episodes))
    for name, values in zip([*(layer.name for layer in layers), ALL_LAYERS], cosines.T, strict=True):
        signs = np.where(np.isnan(values), np.nan, values > 0)
        yield {**_summary_row(run, name, values), "positive_share": summarise(signs).mean}


def norm_rows(run: Run, episodes: int) -> Iterator[Row]:
    """Norm, a layer, of the query loss' gradient with respect to the extractor, before and after adaptation."""
    method, rule, layers = run.method, run.evaluation_rule(), run.layers

    def of_task(task: Episode) -> Any:
        path = path_of(rule, method, task)
        gradients = [query_gradient(method.learner, rule.problem, place, task.query) for place in (path[0], path[-1])]
        return [inner_products(gradient, gradient, layers) for gradient in gradients]

    norms = np.sqrt(run.measured(of_task, episodes, np.stack))
    for position, place in enumerate(("before", "after")):
        for name, values in zip([*(layer.name for layer in layers), ALL_LAYERS], norms[:, position].T, strict=True):
            yield {**_summary_row(run, name, values), "place": place}


def first_step_rows(run: Run, episodes: int) -> Iterator[Row]:
    """Norm of the support loss' gradient that the first inner step follows: a layer with a kernel, and the head.

    The last row is the head's norm over the mean of the layers', episode by episode.
    """
    method, layers = run.method, [layer for layer in run.layers if layer.has_kernel]

    def of_task(task: Episode) -> Any:
        rule = method.rule
        gradients = rule.first_gradients(method.learner, rule.initial(method.learner), task.support, task.context)
        of_head = tf.square(tf.cast(tf.linalg.global_norm(gradients.head), tf.float64))
        of_layers = inner_products(gradients.extractor, gradients.extractor, layers)[:-1]
        return tf.sqrt(tf.concat([of_layers, of_head[None]], 0))

    norms = run.measured(of_task, episodes)
    body, head = norms[:, :-1].mean(1), norms[:, -1]
    ratios = np.where(body > 0, head / np.where(body > 0, body, 1.0), np.nan)
    names = [*(layer.name for layer in layers), HEAD, HEAD_TO_BODY]
    for name, values in zip(names, np.column_stack([norms, ratios]).T, strict=True):
        yield _summary_row(run, name, values)


def cka_rows(run: Run, episodes: int) -> Iterator[Row]:
    """Linear CKA, a layer, between the representations of the query set before and after adaptation."""
    method, rule = run.method, run.evaluation_rule()
    names: list[str] = []

    def of_task(task: Episode) -> Any:
        path = path_of(rule, method, task)
        before, after = (representations(place, task.query.inputs) for place in (path[0], path[-1]))
        names[:] = before
        return list(before.values()), list(after.values())

    def alignments(result: Any) -> np.ndarray:
        return np.array([linear_cka(before, after) for before, after in zip(*result, strict=True)])

    for name, values in zip(names, run.measured(of_task, episodes, alignments).T, strict=True):
        yield _summary_row(run, name, values)


def with_all_seeds(rows: Iterable[Row]) -> list[Row]:
    """Rows by name of their runs, and behind those of several seeds what all of them give together.

    The added rows have `ALL_SEEDS` for a seed, the mean of the seeds' means, the half-width of its 95 % interval over
    seeds (Student's, the seeds' means being the samples), and the number of all their episodes.
    """
    by_run: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_run[row["run"]].append(row)
    return [row for own in by_run.values() for row in (*own, *_over_seeds(own))]


def shown(rows: Sequence[Row]) -> list[Row]:
    """What a figure has: of several seeds only what all of them give together."""
    pooled = {row["run"] for row in rows if row["seed"] == ALL_SEEDS}
    return [row for row in rows if row["seed"] == ALL_SEEDS or row["run"] not in pooled]


def is_co_term(term: Any) -> bool:
    """Whether a term is a co-learner's: CML's phi, or CL's second head."""
    return term.of_co_learner


def _over_seeds(rows: Sequence[Row]) -> Iterator[Row]:
    seeds = {row["seed"] for row in rows}
    if len(seeds) < 2:
        return
    by_place: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_place[row["layer"], row.get("place", "")].append(row)
    for alike in by_place.values():
        mean, ci95, _ = summarise(np.array([row["mean"] for row in alike]))
        together = {"mean": mean, "ci95": ci95, "episodes": sum(row["episodes"] for row in alike)}
        if "positive_share" in alike[0]:
            together["positive_share"] = summarise(np.array([row["positive_share"] for row in alike])).mean
        yield {**alike[0], "seed": ALL_SEEDS, **together}


def _summary_row(run: Run, layer: str, values: np.ndarray) -> Row:
    summary = summarise(values)
    return {"run": run.name, "seed": run.seed, "layer": layer, **summary._asdict()}
