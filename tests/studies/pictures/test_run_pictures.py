"""Pictures of runs and sweeps: here the models are stand-ins whose answers are known."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets.class_pool import ClassPool, ClassPoolSource
from cml_tf.experiments.stored import RunError
from cml_tf.models.few_shot_model import NonFiniteAdaptation
from cml_tf.studies.pictures import of_runs
from cml_tf.studies.pictures.curves import mean_curves
from cml_tf.studies.pictures.of_runs import (
    draw_setting,
    picture_of_episode,
    pictures_of_waves,
    read_curves,
    validation_curves,
)
from cml_tf.studies.pictures.waves import draw_regression
from cml_tf.studies.scores import MAML, settings
from tests.helpers.sweep_results import MAML_SCORES, SETTING, result

RUNS = [result("maml", seed, MAML_SCORES[seed]) for seed in (0, 1)]


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
    """Predicts the number of its steps everywhere, 7 where none is asked for."""

    def __init__(self, steps=5):
        self.method = SimpleNamespace(rule=SimpleNamespace(steps=steps))

    def adapt(self, inputs, targets, steps=None):
        assert inputs.shape == targets.shape == (10, 1)
        told = 7 if steps is None else steps
        return SimpleNamespace(predict=lambda inputs: np.full((len(inputs), 1), told, np.float32))


def test_an_episode_is_answered_and_its_classes_are_named():
    names = tuple(f"grey {10 * number}" for number in range(20))
    greys = np.repeat(np.arange(20, dtype=np.uint8) * 10, 4)[:, None, None, None] * np.ones((1, 3, 3, 1), np.uint8)
    source = ClassPoolSource(ClassPool(names, np.full(20, 4), greys), "test", ways=5, shots=1, queries=3, seed=3)
    picture = picture_of_episode(_Nearest(), source, 7, names)
    assert picture.accuracy == 1.0 and picture.query_images.shape == (15, 3, 3, 1)
    for image, label in zip(picture.query_images, picture.query_labels, strict=True):
        assert picture.class_names[label] == f"grey {round(255 * float(image.mean()))}"
    np.testing.assert_array_equal(picture.support_images, source.batch(7, 1).support.inputs[0])


def test_waves_are_the_true_ones_and_models_are_adapted_by_each_number_of_steps():
    source = datasets.load("sinusoid").episodes("test", shots=10, queries=5, seed=3)
    pictures = pictures_of_waves(_StepCounter(), source, 2, (0, 1, 5))
    assert len(pictures) == 2
    for picture in pictures:
        expected = np.interp(picture.support_inputs, picture.inputs, picture.truth)
        np.testing.assert_allclose(picture.support_targets, expected, atol=5e-3)
        for steps in (0, 1, 5):
            np.testing.assert_array_equal(picture.predictions[steps], np.full(len(picture.inputs), steps))


class _Diverging(_StepCounter):
    """Its second task leads to infinity in five steps."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def adapt(self, inputs, targets, steps=None):
        self.asked.append(steps)
        if self.asked.count(5) == 2 and steps == 5:
            raise NonFiniteAdaptation("adaptation diverged")
        return super().adapt(inputs, targets, steps)


def test_steps_that_diverge_are_left_out_of_all_pictures_of_waves_and_told(tmp_path, monkeypatch):
    source = datasets.load("sinusoid").episodes("test", shots=10, queries=5, seed=3)
    experiment = SimpleNamespace(episodes=lambda split: source)
    monkeypatch.setattr(of_runs, "load_run", lambda workdir: experiment)
    monkeypatch.setattr(of_runs, "model_of", lambda experiment: _Diverging())
    assert [sorted(one.predictions) for one in pictures_of_waves(_Diverging(), source, 2, (0, 1, 5))] == [[0, 1]] * 2
    (picture,) = of_runs._episode(SETTING, {0: RUNS[0]}, tmp_path, tmp_path)
    assert "(adaptation diverged after 5 steps)" in picture.caption


def test_a_rule_that_takes_no_steps_has_one_curve(tmp_path, monkeypatch):
    source = datasets.load("sinusoid").episodes("test", shots=10, queries=5, seed=3)
    drawn = []
    monkeypatch.setattr(of_runs, "load_run", lambda workdir: SimpleNamespace(episodes=lambda split: source))
    monkeypatch.setattr(of_runs, "model_of", lambda experiment: _StepCounter(None))
    monkeypatch.setattr(of_runs, "draw_regression", lambda made: drawn.append(made) or draw_regression(made))
    (picture,) = of_runs._episode(SETTING, {0: RUNS[0]}, tmp_path, tmp_path)
    assert picture.caption.startswith(f"The first 3 test episodes of {RUNS[0]['run']}, after adaptation.")
    ((first, *_),) = drawn
    np.testing.assert_array_equal(first.predictions[None], np.full(len(first.inputs), 7))


def write_metrics(folder, **splits):
    """Accuracies at steps 10, 20, ... of each split."""
    folder.mkdir(exist_ok=True)
    lines = [
        {"step": 10 * (i + 1), "split": split, "loss": 1.0, "accuracy": value}
        for split, values in splits.items()
        for i, value in enumerate(values)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("content", [None, "not json\n", '{"step": 1, "split": "train", "mse": 1.0}\n'])
def test_a_missing_or_damaged_metrics_file_is_named(tmp_path, content):
    folder = tmp_path / RUNS[0]["run"]
    folder.mkdir()
    if content is not None:
        (folder / "metrics.jsonl").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.jsonl must contain"):
        read_curves(folder, "CML", "accuracy")
    with pytest.raises(RunError, match=r"cora_2way_1shot_maml-seed0/metrics\.jsonl must contain"):
        draw_setting(SETTING, settings(RUNS)[SETTING], tmp_path, tmp_path)


def test_a_curve_of_a_sweep_is_the_mean_as_far_as_all_runs_go(tmp_path):
    runs = settings(RUNS)[SETTING]
    assert draw_setting(SETTING, runs, tmp_path, tmp_path) == [], "its runs are elsewhere"
    for run, values in zip(RUNS, ([0.2, 0.4, 0.9], [0.4, 0.5]), strict=True):
        write_metrics(tmp_path / run["run"], train=[0.1, 0.0], validation=values)
    (curve,) = mean_curves(validation_curves(MAML, runs[MAML], tmp_path, "accuracy"))
    assert (curve.run, curve.split, curve.steps.tolist()) == ("MAML", "validation", [10, 20])
    np.testing.assert_allclose(curve.values, [0.3, 0.45])
    train, validation = read_curves(tmp_path / RUNS[1]["run"], "CML", "accuracy")
    assert (train.run, train.split, validation.split) == ("CML", "train", "validation")
    np.testing.assert_array_equal([train.values, validation.values], [[0.1, 0.0], [0.4, 0.5]])
