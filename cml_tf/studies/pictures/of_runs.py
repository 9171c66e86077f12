"""From runs, models and datasets to what the figures draw.

Of a sweep these are learning curves and the first test episode, from the directories of its runs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cml_tf.datasets import EpisodeSource
from cml_tf.datasets.formulas import FormulaSource
from cml_tf.experiments.loading import model_of
from cml_tf.experiments.runs import METRICS, load_run
from cml_tf.experiments.stored import RunError
from cml_tf.models.few_shot_model import FewShotModel, NonFiniteAdaptation
from cml_tf.studies.page import Picture
from cml_tf.studies.pictures.curves import Curve, draw_learning_curves, mean_curves
from cml_tf.studies.pictures.episode import EpisodePicture, draw_episode
from cml_tf.studies.pictures.style import write_png
from cml_tf.studies.pictures.waves import RegressionPicture, draw_regression
from cml_tf.studies.scores import CML, MAML, Runs, ScoredMethod, Setting

_POINTS = 201


def read_curves(workdir: Path, run: str, metric: str) -> list[Curve]:
    """The training and validation curve of a run, from its metrics file.

    Args:
      workdir: of the run.
      run: the name that its curves get.
      metric: "accuracy" or "mse".

    Raises:
      RunError: if the file is missing, damaged, or has no such metric.
    """
    path = workdir / METRICS
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        splits = {split: [line for line in lines if line["split"] == split] for split in ("train", "validation")}
        return [
            Curve(
                run, split, np.array([line["step"] for line in of_split]), np.array([line[metric] for line in of_split])
            )
            for split, of_split in splits.items()
            if of_split
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} must contain one JSON object per line with step, split and {metric}, found "
            f"{type(error).__name__}: {error}. "
            "If only the last line is cut off, run the same python -m cml_tf.train again to repair it; otherwise train "
            "in another directory."
        ) from error


def picture_of_episode(
    model: FewShotModel, source: EpisodeSource, number: int, class_names: Sequence[str]
) -> EpisodePicture:
    """Adapts a classification model to one episode and lets it answer all queries.

    Args:
      model: adapted as at evaluation.
      source: of the episode.
      number: of the episode in its source.
      class_names: of the source's split, in the order of its class numbers.
    """
    episode = source.batch(number, 1)
    support_images, support_labels, query_images, query_labels = *episode.support[:2], *episode.query[:2]
    classes = source.indices(number, 1)[0, :, 0]
    # Labels, not names: names are sorted first, and a model with permuted outputs is not the one that was evaluated.
    task = model.adapt(support_images[0].numpy(), support_labels[0].numpy())
    return EpisodePicture(
        support_images=support_images[0].numpy(),
        support_labels=support_labels[0].numpy(),
        query_images=query_images[0].numpy(),
        query_labels=query_labels[0].numpy(),
        probabilities=task.predict(query_images[0].numpy()),
        class_names=tuple(class_names[number] for number in classes),
    )


def pictures_of_waves(
    model: FewShotModel, source: FormulaSource, count: int, steps: Sequence[int | None]
) -> list[RegressionPicture]:
    """Adapts a regression model to the first `count` tasks of one input, by each of some numbers of inner steps.

    None among them is for rules that take no steps. Numbers of steps after which adaptation diverged on one of the
    tasks are left out.
    """
    support = source.batch(0, count).support
    inputs = np.linspace(*source.formula.inputs, _POINTS, dtype=np.float32)
    shown, targets = support.inputs.numpy(), support.targets.numpy()
    answers = [dict(_predictions(model, shown[task], targets[task], inputs, steps)) for task in range(count)]
    drawn = [number for number in steps if all(number in of_task for of_task in answers)]
    pictures = []
    for task, parameters in enumerate(zip(*source.parameters(0, count), strict=True)):
        predictions = {number: answers[task][number] for number in drawn}
        truth = source.formula.value(*parameters, inputs).numpy()
        pictures.append(RegressionPicture(shown[task, :, 0], targets[task, :, 0], inputs, truth, predictions))
    return pictures


def _predictions(
    model: FewShotModel, shown: np.ndarray, targets: np.ndarray, inputs: np.ndarray, steps: Sequence[int | None]
) -> Iterator[tuple[int | None, np.ndarray]]:
    """By number of inner steps, but for those after which adaptation diverged."""
    for number in steps:
        with contextlib.suppress(NonFiniteAdaptation):
            yield number, model.adapt(shown, targets, steps=number).predict(inputs[:, np.newaxis])[:, 0]


# More lines than colours that can be told apart would be no picture.
_CURVES = 5
_WAVES, _WAVE_STEPS = 3, (0, 1, 5, 10)


def draw_setting(setting: str, methods: Setting, workdir: Path, output: Path) -> list[Picture]:
    """Draws what there is of one setting's runs into `output`.

    Args:
      setting: its name, which begins the files' names.
      methods: its results.
      workdir: with one directory a run, as `cml_tf.sweep --workdir` has it.
      output: folder of the page.

    Returns:
      Learning curves of up to five methods with runs there (plain MAML and CML first), and, where the inputs are
      images or waves, the first test episodes of a run of plain MAML and of CML (of the first method drawn where there
      is neither); nothing if no run of the setting is there.

    Raises:
      RunError: if a run's directory is damaged.
      DatasetError: if the data of a run are not where its configuration says.
    """
    there = {method: _there(runs, workdir) for method, runs in methods.items() if not method.evaluation}
    there = {method: runs for method, runs in there.items() if runs}
    if not there:
        return []
    chosen = sorted(there, key=lambda method: (method not in (MAML, CML), method.place))[:_CURVES]
    metric = next(iter(there[chosen[0]].values()))["metric"]
    curves = [curve for method in chosen for curve in validation_curves(method, there[method], workdir, metric)]
    file = f"{setting}_curves.png"
    write_png(draw_learning_curves(mean_curves(curves), metric), output / file)
    names = ", ".join(method.name for method in chosen)
    rest = f"; {len(there) - len(chosen)} more methods are not shown" if len(there) > len(chosen) else ""
    caption = f"Mean over seeds on validation episodes: {names}{rest}."
    asked = [method for method in (MAML, CML) if method in there] or chosen[:1]
    shown = [picture for method in asked for picture in _episode(setting, there[method], workdir, output)]
    return [Picture(file, f"Learning curves of {names}.", caption), *shown]


def _there(runs: Runs, workdir: Path) -> Runs:
    return {seed: run for seed, run in runs.items() if (workdir / run["run"]).is_dir()}


def validation_curves(method: ScoredMethod, runs: Runs, workdir: Path, metric: str) -> list[Curve]:
    """The validation curve of each of a method's runs."""
    return [
        curve
        for run in runs.values()
        for curve in read_curves(workdir / run["run"], method.name, metric)
        if curve.split == "validation"
    ]


def _episode(setting: str, runs: Runs, workdir: Path, output: Path) -> list[Picture]:
    run = runs[min(runs)]["run"]
    experiment = load_run(workdir / run)
    source, model = experiment.episodes("test"), model_of(experiment)
    file = f"{run}_episode.png"
    figure: Figure
    if isinstance(source, FormulaSource) and source.formula.dimensions == 1:
        takes_steps = model.method.rule.steps is not None
        steps = _WAVE_STEPS if takes_steps else (None,)
        pictures = pictures_of_waves(model, source, _WAVES, steps)
        figure = draw_regression(pictures)
        when = "before and after inner steps" if takes_steps else "after adaptation"
        what = f"The first {_WAVES} test episodes of {run}, {when}"
        if diverged := [str(number) for number in steps if number not in pictures[0].predictions]:
            what += f" (adaptation diverged after {' and '.join(diverged)} steps)"
    elif len(experiment.data.input_shape) == 3:
        names = experiment.dataset.class_names("test")
        figure = draw_episode(picture_of_episode(model, source, 0, names))
        what = f"The first test episode of {run}, and its answers"
    else:
        return []
    write_png(figure, output / file)
    return [Picture(file, f"{what}.", f"{what}. Not selected: it is the first in the test split.")]
