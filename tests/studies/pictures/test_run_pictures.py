"""Pictures of models: here the models are stand-ins whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.sinusoid import SinusoidDataset
from cml_tf.experiments.runs import RunError
from cml_tf.studies.pictures.of_runs import picture_of_episode, pictures_of_waves, read_curves


class _Nearest:
    """Answers with the label of the support image of the nearest mean grey."""

    def adapt(self, images, labels, steps=None):
        self.greys, self.labels = images.mean((1, 2, 3)), labels
        return self

    def predict(self, images):
        distances = np.abs(images.mean((1, 2, 3))[:, None] - self.greys)
        answers = self.labels[distances.argmin(1)]
        return (answers[:, None] == np.arange(self.labels.max() + 1)).astype(np.float32)


class _StepCounter:
    """Predicts the number of its steps everywhere."""

    def adapt(self, inputs, targets, steps=None):
        assert inputs.shape == targets.shape == (10, 1)
        adapted = _StepCounter()
        adapted.steps = steps
        return adapted

    def predict(self, inputs):
        return np.full((len(inputs), 1), self.steps, np.float32)


def _greys(classes):
    """Class c holds images of grey 10 c."""
    names = tuple(f"grey {10 * number}" for number in range(classes))
    images = np.repeat(np.arange(classes, dtype=np.uint8) * 10, 4)[:, None, None, None] * np.ones(
        (1, 3, 3, 1), np.uint8
    )
    return ClassPool(names, np.full(classes, 4), images)


@pytest.fixture
def dataset():
    pools = {}
    for split in ("train", "validation", "test"):
        pool = _greys(20)
        pools[split] = ClassPool(tuple(f"{split} {name}" for name in pool.class_names), pool.counts, pool.images)
    return ImageDataset.from_pools("greys", pools)


def test_an_episode_is_answered_and_its_classes_are_named(dataset):
    source = dataset.episodes("test", ways=5, shots=1, queries=3, seed=3)
    names = dataset.class_names("test")
    picture = picture_of_episode(_Nearest(), source, 7, names)
    assert picture.accuracy == 1.0
    assert picture.query_images.shape == (15, 3, 3, 1)
    for image, label in zip(picture.query_images, picture.query_labels, strict=True):
        assert picture.class_names[label] == f"test grey {round(255 * float(image.mean()))}"
    np.testing.assert_array_equal(picture.support_images, source.batch(7, 1).support.inputs[0])


def test_waves_are_the_true_ones_and_models_are_adapted_by_each_number_of_steps():
    source = SinusoidDataset().episodes("test", shots=10, queries=5, seed=3)
    pictures = pictures_of_waves(_StepCounter(), source, 2, (0, 1, 5))
    assert len(pictures) == 2
    for picture in pictures:
        expected = np.interp(picture.support_inputs, picture.inputs, picture.truth)
        np.testing.assert_allclose(picture.support_targets, expected, atol=5e-3)
        for steps in (0, 1, 5):
            np.testing.assert_array_equal(picture.predictions[steps], np.full(len(picture.inputs), steps))


def test_curves_are_read_by_split(tmp_path):
    lines = [
        {"step": 50, "split": "train", "loss": 1.0, "accuracy": 0.4, "tasks_per_second": 9.0},
        {"step": 50, "split": "validation", "loss": 1.1, "accuracy": 0.3},
        {"step": 100, "split": "train", "loss": 0.9, "accuracy": 0.5, "tasks_per_second": 9.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train, validation = read_curves(tmp_path, "CML", "accuracy")
    assert (train.run, train.split, validation.split) == ("CML", "train", "validation")
    np.testing.assert_array_equal(train.steps, [50, 100])
    np.testing.assert_array_equal(train.values, [0.4, 0.5])
    np.testing.assert_array_equal(validation.values, [0.3])


@pytest.mark.parametrize("content", [None, "not json\n", '{"step": 1, "split": "train", "mse": 1.0}\n', "3\n"])
def test_a_missing_or_damaged_metrics_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.jsonl must hold"):
        read_curves(tmp_path, "CML", "accuracy")
