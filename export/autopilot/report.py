"""What an autopilot did: a page of Markdown and a picture, for whoever has to decide whether to trust the model."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from cml_tf.datasets.base import SPLITS
from cml_tf.datasets.image_paths import image_files
from cml_tf.studies.pictures.episode import EpisodePicture, draw_episode
from cml_tf.studies.pictures.style import MUTED, colours, house_style, literal, new_figure, png_bytes
from cml_tf.system.files import write_bytes, write_text
from cml_tf.system.stages import duration
from export.autopilot.candidates import VALIDATION_EPISODES, Candidate
from export.autopilot.controller import MODEL, Outcome
from export.autopilot.journal import Journal, Point
from export.autopilot.survey import Survey
from export.quickstart.plan import interpreter

REPORT, PICTURE, EXAMPLE = "report.md", "report.png", "example"
_QUESTIONS = 3


@dataclass(frozen=True)
class Shown:
    """Answers of the winner to the first test episodes.

    Attributes:
      episode: the first one, for a picture.
      episodes: how many were answered twice.
      together: accuracy of questions that are asked at once.
      alone: of the same ones, asked one at a time.
    """

    episode: EpisodePicture
    episodes: int
    together: float
    alone: float


def write_report(
    workdir: Path,
    minutes: float,
    found: Survey,
    tried: Sequence[Candidate],
    journal: Journal,
    outcome: Outcome,
    shown: Shown | None,
) -> Path:
    """Writes `report.md`, `report.png` and a folder with an example to ask about.

    Args:
      workdir: of the autopilot.
      minutes: that there were.
      found: the pictures.
      tried: all candidates.
      journal: what was done.
      outcome: what came of it.
      shown: what is shown of its answers; None for nothing.

    Returns:
      The page.
    """
    write_bytes(workdir / PICTURE, picture(journal.points, 1 / found.ways, shown.episode if shown else None))
    example = write_example(workdir / EXAMPLE, found)
    parts = [
        f"# Autopilot: {len(tried)} candidates, {minutes:g} minutes",
        _verdict(found, outcome),
        f"![Accuracy of each candidate against its minutes, and a test episode with answers]({PICTURE})",
        "## Serve it and ask\n" + _commands(workdir, example),
        "## What was tried\n" + _tried(tried, journal, outcome),
        "## How sure the score is\n" + _sureness(found, outcome, shown),
        "## What was chosen\n" + "\n".join(f"- {sentence[0].upper()}{sentence[1:]}." for sentence in found.chosen),
        "## Classes\n" + "\n".join(f"- {split}: {', '.join(found.classes[split])}" for split in SPLITS),
        f"## Time\nAll starts together took {duration(journal.spent)} of {duration(60 * minutes)}. A training needs up "
        f"to {duration(journal.start())} before its first step, the export took {duration(journal.export)}.",
    ]
    write_text(workdir / REPORT, "\n\n".join(parts) + "\n")
    return workdir / REPORT


def write_example(directory: Path, found: Survey) -> Path:
    """Links to pictures of test classes, as a client asks: `support/CLASS/...` and `queries/CLASS/...`."""
    folders = found.folders["test"]
    for name in found.classes["test"][: found.ways]:
        files = image_files(folders[name])
        shown, asked = files[: found.shots], files[found.shots :][: min(_QUESTIONS, found.queries)]
        for part, paths in (("support", shown), ("queries", asked)):
            for path in paths:
                # With its folders: two of them may have pictures of one name.
                link = directory / part / folders[name].name / Path(path).relative_to(folders[name])
                link.parent.mkdir(parents=True, exist_ok=True)
                # A picture that somebody put in the place of a link stays.
                if not os.path.lexists(link):
                    link.symlink_to(os.path.realpath(path))
    return directory


def picture(points: Sequence[Point], chance: float, episode: EpisodePicture | None) -> bytes:
    """A PNG: accuracy against minutes, and below it the episode."""
    above = _image(draw_points(points, chance))
    sheets = [above] if episode is None else [above, _image(draw_episode(episode))]
    width, height = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    buffer = io.BytesIO()
    whole.save(buffer, format="PNG")
    return buffer.getvalue()


def draw_points(points: Sequence[Point], chance: float) -> Figure:
    """Validation accuracy of each candidate against the minutes of its own training; 8 x 4.2 inches."""
    names = list(dict.fromkeys(point.candidate for point in points))
    markers = "osD^vP*X"
    with house_style():
        figure = new_figure(8.0, 4.2)
        axes = figure.add_subplot()
        for place, (name, colour) in enumerate(colours(names).items()):
            own = [point for point in points if point.candidate == name]
            minutes = np.array([point.seconds for point in own]) / 60
            accuracies = [100 * point.accuracy for point in own]
            marker = markers[place % len(markers)]
            axes.plot(minutes, accuracies, color=colour, marker=marker, markersize=4.5, label=literal(name))
        axes.axhline(100 * chance, color=MUTED, linewidth=1.0, linestyle=":", label="guessing")
        axes.set(xlabel="minutes in training, starts and validations included", ylabel="accuracy [%]")
        axes.set_title(f"Accuracy on {VALIDATION_EPISODES} validation episodes, the same for all")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set(xlim=(0, None), ylim=(0, 102))
        figure.legend(loc="outside right upper")
    return figure


def _image(figure: Figure) -> Image.Image:
    return Image.open(io.BytesIO(png_bytes(figure))).convert("RGB")


def _verdict(found: Survey, outcome: Outcome) -> str:
    task = f"{found.ways} classes that it has never seen, {found.shots} examples of each"
    if not outcome.score:
        return (
            f"**{outcome.winner}** is exported to `{outcome.version}`. It was interrupted before its test: no score is "
            "known that could be trusted. Run the same command again to go on."
        )
    return (
        f"**{outcome.winner}** is right in **{_percent(outcome.score)}** of all questions about {task}; guessing gives "
        f"{100 / found.ways:.0f} %. It is exported to `{outcome.version}`."
    )


def _percent(score: Mapping[str, Any], sign: str = "") -> str:
    return f"{100 * score['mean']:{sign}.1f} % ± {100 * score['ci95']:.1f} %"


def _commands(workdir: Path, example: Path) -> str:
    model, ask = shlex.quote(str(workdir / MODEL)), shlex.quote(str(example))
    return (
        f"```sh\n{interpreter()} -m export.serve --model_dir={model} --playground\n"
        f"{interpreter()} -m export.client.predict --model={MODEL} --support={ask}/support --query={ask}/queries\n```\n"
        f"The folder `{EXAMPLE}` links to pictures of test classes. Put your own in their place: a folder for each "
        "class in `support`, pictures to ask about in `queries`."
    )


def _alone(shown: Shown) -> str:
    return (
        f"on the first {shown.episodes} test episodes {100 * shown.together:.1f} % of the answers are right, and "
        f"{100 * shown.alone:.1f} % when each question is asked alone."
    )


def _tried(tried: Sequence[Candidate], journal: Journal, outcome: Outcome) -> str:
    scores, lines = journal.scores(), ["| candidate | what | steps | time | best validation | outcome |"]
    lines.append("|---|---|---|---|---|---|")
    for candidate in tried:
        name = candidate.name
        score = f"{100 * scores[name]:.1f} %" if name in scores else ""
        ended = "exported" if name == outcome.winner else journal.left_out.get(name, "in play when the time ended")
        spent = duration(journal.trained.get(name, 0.0))
        lines.append(f"| `{name}` | {candidate.what} | {journal.steps.get(name, 0)} | {spent} | {score} | {ended} |")
    if outcome.vote:
        vote, difference = outcome.vote, outcome.vote["difference"]
        members = ", ".join(vote["of"])
        lines.append(
            f"\nThe vote of {members} (reported, not exported) scores {_percent(vote)} on the first {vote['episodes']} "
            f"test episodes, {_percent(difference, '+')} against the winner on the same ones."
        )
    else:
        lines.append(f"\nThe vote of the best ones was not scored: {outcome.no_vote}.")
    return "\n".join(lines)


def _sureness(found: Survey, outcome: Outcome, shown: Shown | None) -> str:
    classes = {split: len(found.classes[split]) for split in SPLITS}
    about = (
        f"It holds for classes like these {classes['test']}: new kinds of things can be easier or harder, by more than "
        "the interval, and the fewer classes the more so. "
        "Figures of validation flatter, since the winner was chosen by them. "
        f"The {found.ways * found.queries} questions of an episode are asked at once, and some models learn from "
        f"that{'.' if shown is None else ': ' + _alone(shown)}"
    )
    if not outcome.score:
        return "It is not known. " + about
    score = outcome.score
    return (
        f"The interval is the 95 % interval over {score['episodes']} episodes from {classes['test']} test classes, "
        f"which played no part in training ({classes['train']} classes) or in choosing ({classes['validation']}). "
        + about
    )
