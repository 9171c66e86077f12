"""The report of one or several sweeps as a page: what stands on it, in words, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cml_tf.studies.page import Page, Picture, Section, Tile, count_of
from cml_tf.studies.paper import paper_tables
from cml_tf.studies.scores import CML, MAML, Diverged, ScoredMethod, Setting, over_seeds, paired
from cml_tf.studies.tables import bases_table, budget, diverged_table, machines_table, methods_table

_MEANING = (
    "± is the half-width of the 95 % interval over seeds. Differences are paired: both methods are scored on the same "
    "episodes. The last column is the interval of the difference over all episodes of all seeds; it compares these "
    "particular runs, not the methods. Accuracies are in %; a lower mean squared error is better."
)
_BASELINE = (
    "Every method is compared with {name}, scored in the same way where possible (ten inner steps with ten). Use "
    "cml_tf.report --against to compare with another method. Square brackets mark another reading of the same run, "
    "with another head or number of inner steps."
)
_DIVERGED = "Adaptation diverged in these evaluations. The means and intervals above exclude them."
_MACHINES = (
    "On the same machine, training is repeatable bit for bit. On another machine, rounding differs and the "
    "difference grows with the steps, finally to that between two seeds. Methods that were trained on different "
    "machines differ by that much too."
)
_PAPER = (
    "Cells of the paper's tables and its Figure 2, and the results of the runs on this page: with the configuration "
    "file of that cell, or with the same method, ways and shots on other data (as marked). Two figures can only be "
    "compared if data and budget are the same: the paper trains image classifiers for 30,000 outer steps. Its ± is "
    "over 3 runs. CML-dagger has two readings: co_learner is the paper's equation 9, co_learner_theta_adapted is the "
    "authors' code. Figures 3 and 4 are pictures without numbers: cml_tf.analyse draws them for runs."
)


def sweep_page(
    found: Mapping[str, Setting],
    pictures: Mapping[str, Sequence[Picture]],
    analyses: Sequence[Picture] = (),
    against: ScoredMethod = MAML,
    without_score: Sequence[Diverged] = (),
    trained_on: Mapping[str, Sequence[str]] | None = None,
) -> Page:
    """The page.

    Args:
      found: the results, at least one (`cml_tf.studies.scores.settings`).
      pictures: of each setting that has some, in order.
      analyses: pictures of `cml_tf.analyse`.
      against: what the methods of a setting are compared with.
      without_score: evaluations that diverged (`cml_tf.studies.scores.diverged`).
      trained_on: runs by machine (`cml_tf.studies.scores.machines`).

    Raises:
      ValueError: if two results to compare were not scored on the same episodes.
    """
    meaning = _BASELINE.format(name=against.name)
    sections = []
    for setting, methods in found.items():
        lost = [one.method for one in without_score if one.setting == setting]
        paragraphs = tuple(filter(None, (budget(methods), meaning)))
        table = methods_table(methods, against, lost)
        sections.append(Section(setting, paragraphs, table, tuple(pictures.get(setting, ()))))
    bases = bases_table(found)
    if bases.rows:
        sections.append(Section("With and without CML", (_MEANING,), bases))
    if without_score:
        sections.append(Section("Diverged", (_DIVERGED,), diverged_table(without_score)))
    if trained_on:
        sections.append(Section("Training machines", (_MACHINES,), machines_table(trained_on)))
    if analyses:
        sections.append(Section("Analyses", pictures=tuple(analyses)))
    measured, rest = paper_tables(found)
    folded = (f"{count_of(len(rest.rows), 'cell')} without a comparable run here", rest)
    sections.append(Section("Results in the paper", (_PAPER,), measured, folded=folded))
    count = len({run["run"] for methods in found.values() for runs in methods.values() for run in runs.values()})
    lead = f"{count_of(count, 'run')} in {count_of(len(found), 'setting')}. {_MEANING}"
    return Page("Results of the sweep", lead, _tiles(found), tuple(sections))


def _tiles(found: Mapping[str, Setting]) -> tuple[Tile, ...]:
    tiles = []
    for setting, methods in found.items():
        if MAML in methods and CML in methods:
            difference = paired(methods[CML], methods[MAML])
            if difference is not None:
                scores = f"MAML {over_seeds(methods[MAML]).text()}, CML {over_seeds(methods[CML]).text()}"
                tiles.append(Tile(f"{setting}: CML minus MAML", difference.over_seeds.text("+"), scores))
    return tuple(tiles)
