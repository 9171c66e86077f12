"""The examples do what their texts claim."""

import numpy as np
import pytest

from cml_tf.bilevel.examples import noisy_labels, task_heads


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


@pytest.mark.slow
def test_features_soon_become_better():
    found = task_heads.result(0, steps=30, episodes=60)
    assert found["difference"] > 2 * found["difference_ci95"] > 0


@pytest.mark.slow
def test_the_examples_end_where_their_page_says():
    """A test of the pages in docs/ runs the program."""
    found = noisy_labels.result(0)
    assert found["weight_of_wrong"] < 0.25 < 0.65 < found["weight_of_right"]
    assert found["wrong_below_right"] > 0.75
    assert found["accuracy_weighted"] > found["accuracy_unweighted"] + 0.05
    assert found["accuracy_weighted_and_checked"] > found["accuracy_unweighted_and_checked"]
    found = task_heads.result(0)
    assert found["accuracy_learned"] > 0.7 > 0.6 > found["accuracy_untrained"]
