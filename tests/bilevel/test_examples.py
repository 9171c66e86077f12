"""The examples do what their texts claim."""

import json

import numpy as np
import pytest

from cml_tf.bilevel.examples import noisy_labels, task_heads
from tests.helpers.programs import run_program


def test_wrong_labels_are_spread_over_the_training_images_alone():
    letters = noisy_labels.draw_letters(0)
    sizes = [len(part.labels) for part in (letters.trained, letters.checked, letters.test)]
    assert sizes == [280, 80, 120] and letters.wrong.sum() == 112
    right = np.repeat(np.arange(20), 14)
    np.testing.assert_array_equal(letters.trained.labels.numpy() != right, letters.wrong)
    again = noisy_labels.draw_letters(0)
    np.testing.assert_array_equal(again.trained.labels, letters.trained.labels)


def test_wrong_examples_soon_weigh_less():
    letters = noisy_labels.draw_letters(0)
    x, residuals = noisy_labels.learn(letters, 40)
    weights = x.numpy()
    assert weights[letters.wrong].mean() < -0.5 < weights[~letters.wrong].mean()
    assert max(residuals[20:]) < 0.05


def test_features_soon_become_better():
    found = task_heads.result(0, steps=30, episodes=60)
    assert found["difference"] > 2 * found["difference_ci95"] > 0


@pytest.mark.slow
def test_weights_find_wrong_labels_in_every_seed():
    done = run_program("cml_tf.bilevel.examples", "--example=noisy_labels")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert line["weight_of_wrong"] < 0.25 < 0.65 < line["weight_of_right"]
        assert line["wrong_below_right"] > 0.75
        assert line["accuracy_weighted"] > line["accuracy_unweighted"] + 0.05
        assert line["accuracy_weighted_and_checked"] > line["accuracy_unweighted_and_checked"]


@pytest.mark.slow
def test_features_are_learned_in_every_seed():
    done = run_program("cml_tf.bilevel.examples", "--example=task_heads")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 2]
    assert all(line["accuracy_learned"] > 0.7 > 0.6 > line["accuracy_untrained"] for line in lines)
