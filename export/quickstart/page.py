"""What the quickstart's report says: its words and tables, from the results. Nothing here reads or writes files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from cml_tf.learners.normalisation.mode import MODES
from cml_tf.studies.page import Command, Page, Picture, Section, Table, Tile, count_of
from cml_tf.studies.pictures.intervals import Interval, decimal_text
from cml_tf.training.evaluator import Evaluation, PairedDifference

CURVES, COMPARISON, SINUSOID = "learning_curves.png", "comparison.png", "sinusoid.png"
EPISODE_CML, EPISODE_MAML = "episode_cml.png", "episode_maml.png"


@dataclass(frozen=True)
class Classified:
    """One of the two compared runs: its configuration, score, and parameter counts."""

    config: ConfigDict
    evaluation: Evaluation
    served: int
    trained: int


@dataclass(frozen=True)
class QuickstartResults:
    """Everything that the report tells.

    Attributes:
      maml: the run without co-learner.
      cml: the run with it.
      difference: CML minus MAML, paired.
      class_counts: classes in the data, by split.
      letters: names of the classes in the pictured episode.
      sinusoid: configuration of the regression run.
      sinusoid_scores: its evaluations by number of inner steps.
      reproduce: commands that repeat training and evaluation.
      next_commands: what to type next.
      versions: of the packages and the machine, by name.
    """

    maml: Classified
    cml: Classified
    difference: PairedDifference
    class_counts: Mapping[str, int]
    letters: Sequence[str]
    sinusoid: ConfigDict
    sinusoid_scores: Mapping[int, Evaluation]
    reproduce: tuple[Command, ...]
    next_commands: tuple[Command, ...]
    versions: Mapping[str, str]


def percent(evaluation: Evaluation, name: str = "") -> Interval:
    """An accuracy in per cent."""
    return Interval(name, 100.0 * evaluation.mean, 100.0 * evaluation.ci95)


def points(difference: PairedDifference) -> Interval:
    """The difference of two accuracies in percentage points."""
    return Interval("CML − MAML", 100.0 * difference.mean, 100.0 * difference.ci95)


def reading(difference: PairedDifference) -> str:
    """What the interval of the difference says, and what it does not."""
    interval = points(difference)
    extent = f"{decimal_text(interval.low)} to {decimal_text(interval.high)} points"
    if interval.contains_zero:
        verdict = (
            f"The interval of the difference, {extent}, contains zero: these {difference.episodes} episodes do not "
            "show which of the two runs is better."
        )
    else:
        better, worse = ("CML", "MAML") if interval.mean > 0 else ("MAML", "CML")
        verdict = (
            f"The interval of the difference, {extent}, does not contain zero: on such classes, this {better} "
            f"run is better than this {worse} run."
        )
    return verdict + (
        " The interval is over test episodes only. Each method was trained once, from one seed and for a small budget; "
        "another seed or longer training can change the difference by more than the interval, so this does not compare "
        "the methods in general."
    )


def quickstart_page(results: QuickstartResults) -> Page:
    """The report."""
    config = results.cml.config
    ways, shots = config.dataset.ways, config.dataset.shots
    return Page(
        title=f"Quickstart: CML and MAML, {ways}-way {shots}-shot",
        lead=(
            f"Two models learned to learn letters: given {count_of(shots, 'example')} of each of {ways} letters from "
            "scripts they have never seen, they can distinguish these letters. Both had the same data, the same "
            "initial learner and the same number of meta-steps; CML also had a co-learner during training."
        ),
        tiles=_tiles(results),
        sections=(
            _result(results),
            _training(results),
            _curves(),
            _episode(results),
            _sinusoid(results),
            Section("Run it again", ("From the root of the checkout:",), commands=results.reproduce),
            Section("Next commands", commands=results.next_commands),
            Section("Versions", table=Table(("what", "version"), tuple(results.versions.items()))),
        ),
    )


def _tiles(results: QuickstartResults) -> tuple[Tile, ...]:
    chance = f"guessing gives {100.0 / results.cml.config.dataset.ways:.0f} %"
    episodes = f"{results.difference.episodes} paired episodes"
    return (
        Tile("MAML, accuracy", f"{percent(results.maml.evaluation).text()} %", chance),
        Tile("CML, accuracy", f"{percent(results.cml.evaluation).text()} %", chance),
        Tile("CML − MAML", f"{points(results.difference).text('+')} points", episodes),
    )


def _result(results: QuickstartResults) -> Section:
    rows = [
        (name, f"{percent(run.evaluation).text()} %", f"{run.served:,}", f"{run.trained:,}")
        for name, run in (("MAML", results.maml), ("CML", results.cml))
    ]
    rows.append(("CML − MAML, paired", f"{points(results.difference).text('+')} points", "", ""))
    return Section(
        "Scores on unseen scripts",
        (
            f"Mean accuracy over {results.difference.episodes} test episodes with its 95 % interval. Both runs were "
            "scored on the same episodes, so the difference is paired. The co-learner is discarded after training: "
            "both models answer with the same number of parameters.",
            reading(results.difference),
        ),
        Table(("run", "accuracy, 95 % interval", "parameters served", "parameters trained"), tuple(rows)),
        (
            Picture(
                COMPARISON,
                f"MAML {percent(results.maml.evaluation).text()} %, CML {percent(results.cml.evaluation).text()} %, "
                f"paired difference {points(results.difference).text('+')} percentage points.",
                "Left: the accuracy of each run. Right: their paired difference, with zero marked. Bars are 95 % "
                "intervals over episodes.",
            ),
        ),
    )


def _training(results: QuickstartResults) -> Section:
    config, counts = results.cml.config, results.class_counts
    settings = (
        (
            "data",
            "letters in DejaVu fonts, 28 × 28 pixels; each class is a letter, each example a slightly distorted font",
        ),
        ("training classes", f"{counts['train']} Latin and Cyrillic letters"),
        ("validation classes", f"{counts['validation']} Greek letters"),
        ("test classes", f"{counts['test']} Armenian and Georgian letters"),
        ("learner", f"four convolutional blocks of {config.learner.filters} filters and a linear head"),
        ("normalisation", _normalisation_words(config)),
        ("episodes in training", _episode_words(config, config.dataset.queries)),
        ("episodes in test", _episode_words(config, config.eval.queries or config.dataset.queries)),
        (
            "budget of each run",
            f"{config.train.steps} meta-steps of {config.train.meta_batch} episodes, Adam at {config.train.rate:g}; "
            "the checkpoint with the best validation accuracy is tested",
        ),
        ("inner loop", f"{count_of(config.adaptation.steps, 'gradient step')} at rate {config.adaptation.rate:g}"),
        ("co-learner of CML", f"weight gamma = {config.objective.gamma:g}; MAML has none"),
        ("seeds", f"{config.seed} for training, {config.eval.seed} for test episodes"),
    )
    note = (
        "The settings are the paper's where it states them, except for the normalisation, the budget, the outer rate "
        "and the number of queries in training. The normalisation treats each query by itself, as in a request to a "
        "server; the others fit a few minutes on two cores. The configurations in configs/ train longer."
    )
    return Section("What was trained", (note,), Table(("setting", "value"), settings))


def _curves() -> Section:
    caption = (
        "Accuracy after adaptation during training. Dashed: training episodes, the mean since the last "
        "point. Solid: validation episodes, with letters of a script that is not in training."
    )
    return Section(
        "How they learned",
        pictures=(Picture(CURVES, "Accuracy of MAML and CML in training and validation over meta-steps.", caption),),
    )


def _episode(results: QuickstartResults) -> Section:
    shots = results.cml.config.dataset.shots
    letters = ", ".join(results.letters)
    paragraph = (
        f"The first test episode, not a selected one. Each model saw {count_of(shots, 'support example')} of each "
        f"letter ({letters}), adapted, and predicted the letter of each query. ✓ and a solid frame mark a right "
        "answer, ✗ and a dashed frame a wrong one."
    )
    pictures = tuple(
        Picture(file, f"Support examples, queries and the answers of {name}, right and wrong ones marked.", name)
        for file, name in ((EPISODE_CML, "CML"), (EPISODE_MAML, "MAML"))
    )
    return Section("One episode, answered by both", (paragraph,), pictures=pictures)


def _sinusoid(results: QuickstartResults) -> Section:
    config = results.sinusoid
    scores = results.sinusoid_scores
    episodes = next(iter(scores.values())).episodes
    rows = tuple((str(steps), Interval("", score.mean, score.ci95).text()) for steps, score in sorted(scores.items()))
    return Section(
        "The same idea on curves",
        (
            f"CML on few-shot regression: each task is a sine wave with its own amplitude and phase, given at "
            f"{count_of(config.dataset.shots, 'point')}. Trained for {config.train.steps} meta-steps with "
            f"{count_of(config.adaptation.steps, 'inner step')} at rate {config.adaptation.rate:g}; other numbers of "
            "steps are only used in evaluation.",
        ),
        Table(("inner steps", f"mean squared error over {episodes} test episodes, 95 % interval"), rows),
        (
            Picture(
                SINUSOID,
                "Three sine waves with support points, and the model's curve before and after adaptation.",
                "The first three test episodes. Before adaptation the model draws one curve for all tasks; gradient "
                "steps on the support points bend it to the task at hand.",
            ),
        ),
    )


def _episode_words(config: ConfigDict, queries: int) -> str:
    ways, shots = config.dataset.ways, config.dataset.shots
    return f"{ways} classes, {count_of(shots, 'support example')} and {queries} queries of each"


def _normalisation_words(config: ConfigDict) -> str:
    mode = MODES[config.learner.normalisation]
    told = "answers depend on the other queries" if mode.joins_queries else "no answer depends on other queries"
    return f"with statistics of {mode.text}; {told}"
