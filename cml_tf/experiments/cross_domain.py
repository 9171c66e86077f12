"""Episodes of another dataset for a trained run: train on one set, test on another."""

from __future__ import annotations

from typing import Any

from cml_tf.datasets import DatasetError, EpisodeSource, load_dataset
from cml_tf.datasets.benchmarks import BENCHMARKS
from cml_tf.experiments.combinations import EXAMPLES
from cml_tf.experiments.experiment import Experiment


def episodes_of(experiment: Experiment, name: str, root: str, split: str) -> EpisodeSource:
    """A split of another dataset of images, with the ways, shots, queries and evaluation seed of the run.

    The image benchmarks and `image_folder` are made at the size of the run's images.

    Args:
      experiment: the run.
      name: of the other dataset.
      root: folder with its files, empty for none.
      split: of the other dataset.

    Raises:
      DatasetError: if one of the two has no images, the other's cannot be had at the run's size, or it has no such
        split or too few classes or images in it.
    """
    own = experiment.config.dataset.name
    if name not in EXAMPLES or {EXAMPLES[own], EXAMPLES[name]} != {"images"}:
        images = ", ".join(dataset for dataset, examples in EXAMPLES.items() if examples == "images")
        raise DatasetError(
            f"a run can be scored on another dataset where both have images ({images}); received {own!r} and {name!r}."
        )
    height, width, channels = experiment.data.input_shape
    options: dict[str, Any] = {}
    if name in BENCHMARKS or name == "image_folder":
        options["image_size"] = (height, width)
    if name == "image_folder":
        options["channels"] = channels
    dataset = load_dataset(name, root, **options)
    if dataset.input_shape != experiment.data.input_shape:
        raise DatasetError(
            f"{name} has images of shape {dataset.input_shape}, the run (on {own}) was trained on "
            f"{experiment.data.input_shape}: evaluate it on a dataset of that shape."
        )
    settings = experiment.config.dataset
    return dataset.episodes(
        split,
        ways=settings.ways,
        shots=settings.shots,
        queries=experiment.config.eval.queries or settings.queries,
        seed=experiment.config.eval.seed,
    )
