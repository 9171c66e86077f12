"""One model for tasks of any size beside models trained for one: a table, and a picture.

`python -m cml_tf.report --sizes` shows them. A run whose `dataset.sampling` is not `fixed` is scored in each evaluation
that asks for ways and shots; any other run as its configuration says, at the one size that it was trained for. ± is the
half-width of the 95 % interval over seeds, or over episodes where there is one seed. Seeds whose adaptation diverged at
a size are left out of its mean, and the table says how many they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from cml_tf.errors import UserError
from cml_tf.studies.page import Table
from cml_tf.studies.pictures.style import MUTED, colours, house_style, literal, new_figure
from cml_tf.studies.results import DIVERGED
from cml_tf.studies.scores import check_alike
from cml_tf.studies.sweeps import FurtherEvaluation
from cml_tf.training.evaluator import confidence_interval

# Words of a run that say its size and not its method.
_OF_SIZE = "any_size"
_LINES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")


class Score(NamedTuple):
    """Of a method at a size, in %.

    Attributes:
      mean: over the seeds that have a score.
      half_width: of its 95 % interval.
      lost: how many further seeds have none, because adaptation diverged.
    """

    mean: float
    half_width: float
    lost: int = 0

    def text(self) -> str:
        """In a table."""
        return f"{self.mean:.1f} ± {self.half_width:.1f}" + (f" ({self.lost} diverged)" if self.lost else "")


class Size(NamedTuple):
    """Of tasks."""

    ways: int
    shots: int


class Trained(NamedTuple):
    """What was trained: a method, and whether for tasks of any size."""

    method: str
    free: bool

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.method}, {'any size' if self.free else 'this size alone'}"


Scores = Mapping[Trained, Mapping[Size, Score]]


def scores_by_size(results: Iterable[Mapping[str, Any]]) -> Scores:
    """The scores there are.

    Raises:
      UserError: if there is none, a run is not scored by accuracy, there are several datasets, or runs of one method
        differ in more than the seed.
    """
    first: dict[tuple[Trained, Size], Mapping[str, Any]] = {}
    found: dict[Trained, dict[Size, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    names = set()
    for result in results:
        names.add(result["config"]["dataset"]["name"])
        if len(names) > 1:
            raise UserError(f"sizes must be of one dataset, received {', '.join(sorted(names))}: report each apart.")
        if result["metric"] != "accuracy":
            raise UserError(f"{result['run']} must be scored by accuracy, received {result['metric']}: leave it out.")
        free = result["config"]["dataset"].get("sampling", "fixed") != "fixed"
        trained = Trained(_method(result["source"]), free)
        settings = result["config"]["dataset"]
        check_alike(first.setdefault((trained, Size(settings["ways"], settings["shots"])), result), result)
        for size, scored in _scored(result, free):
            if result["seed"] in found[trained][size]:
                raise UserError(
                    f"{trained.name} must be scored once for each seed and size, received seed {result['seed']} twice, "
                    f"the second time of {result['run']}: report the results of each training apart."
                )
            found[trained][size][result["seed"]] = scored
    if not found:
        raise UserError("the results must contain a run with a score, found none: run python -m cml_tf.sweep first.")
    order = sorted(found, key=lambda trained: (not trained.free, trained.method))
    scores = {one: {size: _score([*found[one][size].values()]) for size in sorted(found[one])} for one in order}
    return {one: {size: score for size, score in sizes.items() if score} for one, sizes in scores.items()}


def sizes_table(scores: Scores) -> Table:
    """A row for each size, a column for each method."""
    sizes = sorted({size for of_one in scores.values() for size in of_one})
    rows = []
    for size in sizes:
        cells = (of_one.get(size) for of_one in scores.values())
        rows.append((f"{size.ways}-way {size.shots}-shot", *(cell.text() if cell else "" for cell in cells)))
    return Table(("task", *(trained.name for trained in scores)), tuple(rows))


def draw_sizes(scores: Scores) -> Figure:
    """Accuracy against ways: lines of models for any size, rings of models for one; each number of shots has a shape.

    8 x 4.4 inches.
    """
    colour_of = colours([trained.method for trained in scores])
    all_shots = sorted({size.shots for of_one in scores.values() for size in of_one})
    with house_style():
        figure = new_figure(8.0, 4.4)
        axes = figure.add_subplot()
        for trained, of_one in scores.items():
            for shots, line, marker in zip(all_shots, cycle(_LINES), cycle(_MARKERS), strict=False):
                points = {size.ways: score for size, score in of_one.items() if size.shots == shots}
                if points:
                    look: dict[str, Any] = {"color": colour_of[trained.method], "linestyle": line, "marker": marker}
                    if not trained.free:
                        look |= {"linestyle": "none", "mfc": "white", "capsize": 3}
                    axes.errorbar(
                        [*points],
                        [score.mean for score in points.values()],
                        None if trained.free else [score.half_width for score in points.values()],
                        label=literal(f"{trained.name}: {shots}-shot"),
                        **look,
                    )
        ways = sorted({size.ways for of_one in scores.values() for size in of_one})
        axes.plot(ways, [100 / way for way in ways], color=MUTED, linewidth=1.0, linestyle=":", label="guessing")
        axes.set(xscale="log", xlabel="classes of a task", ylabel="accuracy on query examples [%]", ylim=(0, 103))
        axes.set_xticks(ways, [str(way) for way in ways])
        axes.minorticks_off()
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _method(source: str) -> str:
    words = [word for word in source.partition(":")[2].split(",") if not word.endswith(("way", "shot"))]
    return " ".join(word for word in words if word != _OF_SIZE)


def _scored(result: Mapping[str, Any], free: bool) -> Iterator[tuple[Size, Mapping[str, Any]]]:
    if not free:
        settings = result["config"]["dataset"]
        yield Size(settings["ways"], settings["shots"]), result
        return
    for scored in result["evaluations"].values():
        asked = scored.get("asked", {})
        size = Size(asked.get("ways"), asked.get("shots"))
        # With another readout, or of another split, it is no second seed.
        plain = asdict(FurtherEvaluation(ways=size.ways, shots=size.shots))
        if all(size) and plain | asked == plain:
            yield size, scored


def _score(runs: list[Mapping[str, Any]]) -> Score | None:
    scored = [run for run in runs if DIVERGED not in run]
    if not scored:
        return None
    means = [100 * run["mean"] for run in scored]
    spread = means if len(means) > 1 else [100 * score for score in scored[0]["scores"]]
    return Score(float(np.mean(means)), confidence_interval(np.asarray(spread)), len(runs) - len(scored))
