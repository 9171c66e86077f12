"""Draws the quickstart's pictures from its runs and writes its page."""

from __future__ import annotations

import os
import platform
import unicodedata
from collections.abc import Mapping
from importlib import metadata

from cml_tf.datasets.formulas import FormulaSource
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run
from cml_tf.learners.learner import count_parameters
from cml_tf.studies.page import write_page
from cml_tf.studies.pictures.curves import draw_learning_curves
from cml_tf.studies.pictures.episode import draw_episode
from cml_tf.studies.pictures.intervals import Interval, draw_comparison
from cml_tf.studies.pictures.of_runs import picture_of_episode, pictures_of_waves, read_curves
from cml_tf.studies.pictures.style import write_png
from cml_tf.studies.pictures.waves import draw_regression
from cml_tf.training.evaluator import Evaluation, compare
from export.quickstart import page as words
from export.quickstart.plan import CML, MAML, SINUSOID, WAVE_STEPS, Plan

REPORT = "report.html"
_PACKAGES = ("tensorflow", "keras", "numpy", "matplotlib")
_WAVES_SHOWN = 3


def write_report(
    plan: Plan, evaluations: Mapping[str, Evaluation], wave_scores: Mapping[int, Evaluation]
) -> words.QuickstartResults:
    """Writes PNGs and `report.html` into the plan's working directory.

    Args:
      plan: whose runs are finished.
      evaluations: of the runs "maml" and "cml", on the same episodes.
      wave_scores: of the run "sinusoid", by number of inner steps.

    Returns:
      What the report tells.
    """
    experiment = load_run(plan.run_directory(CML))
    _draw_results(plan, evaluations)
    letters = _draw_episodes(plan, experiment)
    _draw_waves(plan)
    dataset = experiment.dataset
    results = words.QuickstartResults(
        maml=_classified(plan, MAML, evaluations[MAML]),
        cml=_classified(plan, CML, evaluations[CML]),
        difference=compare(evaluations[CML], evaluations[MAML]),
        class_counts={split: len(dataset.class_names(split)) for split in dataset.splits},
        letters=[_letter_name(letter) for letter in letters],
        sinusoid=plan.config(SINUSOID),
        sinusoid_scores=wave_scores,
        reproduce=plan.reproduce(),
        next_commands=(*plan.next_commands(), plan.notebook()),
        versions=versions(),
    )
    write_page(words.quickstart_page(results), plan.workdir / REPORT)
    return results


def versions() -> dict[str, str]:
    """Of this package, what it stands on, and the machine."""
    try:
        own = metadata.version("cml_tf")
    except metadata.PackageNotFoundError:
        own = "not installed, run from a checkout"
    return {
        "cml_tf": own,
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def _draw_results(plan: Plan, evaluations: Mapping[str, Evaluation]) -> None:
    names = {MAML: "MAML", CML: "CML"}
    curves = [curve for run, name in names.items() for curve in read_curves(plan.run_directory(run), name, "accuracy")]
    chance = 1.0 / plan.config(CML).dataset.ways
    write_png(draw_learning_curves(curves, "accuracy", chance), plan.workdir / words.CURVES)
    scores: list[Interval] = [words.percent(evaluations[run], name) for run, name in names.items()]
    difference = words.points(compare(evaluations[CML], evaluations[MAML]))
    figure = draw_comparison(scores, difference, "accuracy on test classes [%]", "difference [percentage points]")
    write_png(figure, plan.workdir / words.COMPARISON)


def _draw_episodes(plan: Plan, experiment: Experiment) -> tuple[str, ...]:
    source = experiment.episodes("test")
    class_names = experiment.dataset.class_names("test")
    for run, file in ((CML, words.EPISODE_CML), (MAML, words.EPISODE_MAML)):
        picture = picture_of_episode(load(plan.run_directory(run)), source, 0, class_names)
        write_png(draw_episode(picture), plan.workdir / file)
    return picture.class_names


def _draw_waves(plan: Plan) -> None:
    source = load_run(plan.run_directory(SINUSOID)).episodes("test")
    if not isinstance(source, FormulaSource):
        raise TypeError(f"the source must be of waves, received {type(source).__name__}.")
    pictures = pictures_of_waves(load(plan.run_directory(SINUSOID)), source, _WAVES_SHOWN, WAVE_STEPS)
    write_png(draw_regression(pictures), plan.workdir / words.SINUSOID)


def _classified(plan: Plan, run: str, evaluation: Evaluation) -> words.Classified:
    groups = load_run(plan.run_directory(run)).trainer.method.trained_variables()
    counts = {name: count_parameters(variables) for name, variables in groups.items()}
    return words.Classified(plan.config(run), evaluation, counts["learner"], sum(counts.values()))


def _letter_name(letter: str) -> str:
    """The letter with its Unicode name, for those whose screen reader or fonts do not know it."""
    name = unicodedata.name(letter, "") if len(letter) == 1 else ""
    return f"{letter} {name.lower()}".strip()
