"""From runs, models and datasets to what the figures draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cml_tf.datasets import EpisodeSource
from cml_tf.datasets.sinusoid import INPUTS, SinusoidSource
from cml_tf.experiments.runs import METRICS, RunError
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.reporting.episode_picture import EpisodePicture
from cml_tf.reporting.learning_curves import Curve
from cml_tf.reporting.regression_picture import RegressionPicture

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
            f"{path} must hold one JSON object a line with step, split and {metric}; received {error!r}. "
            "Where training was cut short in its last line, going on with the same python -m cml_tf.train mends it; "
            "otherwise train in another directory."
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
    (support_images, support_labels), (query_images, query_labels), _ = source.batch(number, 1)
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
    model: FewShotModel, source: SinusoidSource, count: int, steps: Sequence[int]
) -> list[RegressionPicture]:
    """Adapts a regression model to the first `count` waves of a source, by each of some numbers of inner steps."""
    support = source.batch(0, count).support
    inputs = np.linspace(*INPUTS, _POINTS, dtype=np.float32)
    pictures = []
    for task, (amplitude, phase) in enumerate(zip(*source.parameters(0, count), strict=True)):
        shown, targets = support.inputs[task].numpy(), support.targets[task].numpy()
        predictions = {
            number: model.adapt(shown, targets, steps=number).predict(inputs[:, np.newaxis])[:, 0] for number in steps
        }
        truth = amplitude * np.sin(inputs - phase)
        pictures.append(RegressionPicture(shown[:, 0], targets[:, 0], inputs, truth, predictions))
    return pictures
