"""How the numbers of a setting were made, in words: what the configurations of its runs say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from cml_tf.experiments.configuration import flatten
from cml_tf.reporting.sweep_scores import Setting


def budget(methods: Setting) -> str:
    """Outer steps, episodes and seeds of a setting's methods; those of most methods first, and who has others.

    Nothing for results whose configurations do not say.
    """
    of_budget: dict[str, list[str]] = defaultdict(list)
    for method, runs in methods.items():
        if not method.evaluation and (text := _budget(runs)):
            of_budget[text].append(method.name)
    if not of_budget:
        return ""
    (usual, _), *others = sorted(of_budget.items(), key=lambda item: -len(item[1]))
    return " ".join([f"{usual}.", *(f"{', '.join(names)}: {text}." for text, names in others)])


def _budget(runs: Mapping[int, Mapping[str, Any]]) -> str:
    flat = dict(flatten(next(iter(runs.values()))["config"]))
    try:
        trained = f"{flat['train.steps']:,} outer steps of {_episodes(flat['train.meta_batch'])}"
        queries = flat["eval.queries"] or flat["dataset.queries"]
        scored = f"{_episodes(flat['eval.episodes'])} with {queries} queries{_a_class(flat)}"
    except KeyError:
        return ""
    seeds = ", ".join(str(seed) for seed in sorted(runs))
    return f"Trained for {trained}, scored on the first {scored} of the test split, {_seeds(len(runs))} {seeds}"


def _episodes(number: int) -> str:
    return "1 episode" if number == 1 else f"{number:,} episodes"


def _a_class(flat: Mapping[str, Any]) -> str:
    return "" if flat["dataset.name"] == "sinusoid" else " a class"


def _seeds(number: int) -> str:
    return "seed" if number == 1 else "seeds"
