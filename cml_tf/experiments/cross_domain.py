"""Episodes of another dataset for a trained run: train on one set, test on another."""

from __future__ import annotations

from typing import Any

from cml_tf.datasets import DatasetError, EpisodeSource, load_dataset
from cml_tf.datasets.benchmarks import BENCHMARKS
from cml_tf.datasets.class_splits import class_splits
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
      DatasetError: if one of the two has no images, the other's cannot be had at the run's size, it has no such split
        or too few classes or images in it, or the split has classes that the run was trained or chosen on.
    """
    own = experiment.config.dataset.name
    if name not in EXAMPLES or {EXAMPLES[own], EXAMPLES[name]} != {"images"}:
        images = ", ".join(dataset for dataset, examples in EXAMPLES.items() if examples == "images")
        raise DatasetError(
            f"a run can be scored on another dataset where both have images ({images}); received {own!r} and {name!r}."
        )
    _check_classes_are_new(own, name, split)
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


def _check_classes_are_new(own: str, other: str, split: str) -> None:
    """Some benchmarks are two splits of the same pictures: CIFAR-FS and FC100, miniImageNet and tieredImageNet."""
    if own == other or own not in BENCHMARKS or other not in BENCHMARKS:
        return
    seen = {name for part in ("train", "validation") for name in class_splits(own).classes.get(part, ())}
    asked = class_splits(other).classes.get(split, ())
    if known := [name for name in asked if name in seen]:
        raise DatasetError(
            f"the {split} classes of {other} must be new to a run on {own}, {len(known)} of {len(asked)} are among its "
            f"training or validation classes ({', '.join(known[:3])}{', ...' if len(known) > 3 else ''}): the score "
            "would be of classes that it was trained or chosen on. Score it on a benchmark of other pictures, or train "
            f"on {other}."
        )
