"""Tables of a sweep's results: every method beside one of them, and every base method with and without CML.

`±` is the half-width of the 95 % interval over seeds; the last column has that over all episodes of all seeds, which
says how well these very runs are told apart, not the methods. Accuracies are in %, other metrics as they are.

How the numbers of a setting were made is told in words, from the configurations of its runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cml_tf.experiments.configuration import flatten
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.studies.page import Table
from cml_tf.studies.pictures.intervals import decimal_text
from cml_tf.studies.scores import MAML, Diverged, Paired, ScoredMethod, Setting, baseline, over_seeds, paired

NOT_RUN = "not run"
DIVERGED = "diverged"
_DIFFERENCE = ("± over seeds", "± over episodes")


def methods_table(methods: Setting, against: ScoredMethod = MAML, without_score: Sequence[ScoredMethod] = ()) -> Table:
    """A row a method of one setting, with its paired difference from another one.

    Args:
      methods: of the setting.
      against: what the others are compared with.
      without_score: each evaluation of the setting that diverged: a method once for each seed.

    Raises:
      UserError: if two of them were not scored on the same episodes.
    """
    rows = []
    for method in sorted({*methods, *without_score}, key=lambda one: one.place):
        runs, lost = methods.get(method, {}), without_score.count(method)
        seeds = f"{len(runs)} ({lost} {DIVERGED})" if lost else str(len(runs))
        if not runs:
            rows.append((method.name, seeds, DIVERGED, "", ""))
            continue
        others = baseline(methods, method, against)
        if runs is others:
            difference = ("", "")
        else:
            difference = _paired(paired(runs, others), len(runs)) if others else (f"no run of {against.name}", "")
        rows.append((method.name, seeds, over_seeds(runs).text(), *difference))
    columns = ("method", "seeds", _metric(methods), f"minus {against.name}, {_DIFFERENCE[0]}", _DIFFERENCE[1])
    return Table(columns, tuple(rows))


def bases_table(found: Mapping[str, Setting]) -> Table:
    """A row a base method (plain MAML, a variant) that was run both with and without CML.

    Raises:
      UserError: if two of them were not scored on the same episodes.
    """
    rows = []
    for setting, methods in found.items():
        for method, without in methods.items():
            with_cml = methods.get(ScoredMethod("cml", method.variant))
            if method.kind != MAML.kind or method.evaluation or with_cml is None:
                continue
            seeds = " and ".join(map(str, sorted({len(without), len(with_cml)}, reverse=True)))
            difference = _paired(paired(with_cml, without), max(len(without), len(with_cml)))
            base = method.variant or MAML.kind
            rows.append((setting, base, seeds, over_seeds(without).text(), over_seeds(with_cml).text(), *difference))
    columns = ("setting", "base", "seeds", "without CML", "with CML", f"paired difference, {_DIFFERENCE[0]}")
    return Table((*columns, _DIFFERENCE[1]), tuple(rows))


def diverged_table(evaluations: Sequence[Diverged]) -> Table:
    """A row for each evaluation without a score: means above are without it."""
    rows = [(one.run, one.method.evaluation, one.reason) for one in evaluations]
    return Table(("run", "evaluation", "reason"), tuple(rows))


def machines_table(runs_of: Mapping[str, Sequence[str]]) -> Table:
    """A row for each machine that trained some of the runs (`cml_tf.studies.scores.machines`)."""
    rows = [(machine, str(len(runs)), ", ".join(dict.fromkeys(runs))) for machine, runs in runs_of.items()]
    return Table(("machine", "runs", "methods"), tuple(rows))


def markdown(table: Table) -> str:
    """The table in Markdown."""
    rule = "|" + "---|" * len(table.columns)
    return "\n".join([_line(table.columns), rule, *(_line(row) for row in table.rows)])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _paired(difference: Paired | None, seeds: int) -> tuple[str, str]:
    """Tells how many seeds it is of, if the row says more."""
    if difference is None:
        return "no seed in common", ""
    fewer = f" ({difference.seeds} seeds)" if 1 < difference.seeds < seeds else ""
    return (
        f"{difference.over_seeds.text('+')}{fewer}",
        f"± {decimal_text(difference.over_episodes, '', difference.over_seeds.decimals)}",
    )


def _metric(methods: Setting) -> str:
    metrics = {run["metric"] for runs in methods.values() for run in runs.values()}
    if metrics == {"accuracy"}:
        return "accuracy [%]"
    return " or ".join(sorted(metrics))


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
    return "" if EXAMPLES[flat["dataset.name"]] == "numbers" else " per class"


def _seeds(number: int) -> str:
    return "seed" if number == 1 else "seeds"
