"""What the notebook's model refuses, and what it says."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cml_tf import FewShotModel
from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.trainer import Trainer
from tests.helpers.few_shot import IMAGE_SHAPE
from tests.helpers.small_tasks import pictures, points

BAD_TASKS = {
    "too many classes": (pictures(4), ["a", "b", "c", "d"], "at most 3 classes apart .* received 4: a, b, c, d"),
    "no examples": (pictures(0), [], "support.targets must hold at least one"),
    "a label too few": (pictures(4), ["a", "b", "a"], r"\[tasks, examples\] = \[1, 3\]"),
    "one image": (pictures(1)[0], ["a"], r"examples of shape \[16, 16, 1\], received .* \[16, 16, 1\]"),
    "channels first": (np.zeros((2, 1, 16, 16)), ["a", "b"], r"received .*\[2, 1, 16, 16\]: put the channels last"),
    "two inputs": ((pictures(2), pictures(2)), ["a", "b"], r"received .* \[2, 2, 16, 16, 1\]"),
    "a dictionary": ({"x": pictures(2)}, ["a", "b"], r"received {x: float64 \[2, 16, 16, 1\]}"),
    "ragged": ([[1.0], [1.0, 2.0]], ["a", "b"], "inputs must be an array with rows of one length"),
    "ragged targets": (pictures(2), [[1], [1, 2]], "targets must be an array with rows of one length"),
    "whole soft labels": (pictures(2), np.eye(3, dtype=int)[:2], r"integer labels .* \(soft ones are floats\)"),
    "another size": (np.zeros((2, 20, 20, 1)), ["a", "b"], r"examples of shape \[16, 16, 1\], received"),
    "words": (np.array([["x"], ["y"]]), ["a", "b"], "inputs must be numbers"),
    "NaN": (np.full((2, *IMAGE_SHAPE), np.nan), ["a", "b"], "inputs must be finite"),
    "infinite": (np.full((2, *IMAGE_SHAPE), np.inf), ["a", "b"], "inputs must be finite"),
    "8-bit values": (np.full((2, *IMAGE_SHAPE), 255, np.uint8), ["a", "b"], "divide by 255"),
    "soft labels of another width": (pictures(2), np.eye(4)[:2], "support.targets must be"),
    "soft labels that are NaN": (pictures(2), np.full((2, 3), np.nan), "support.targets must be"),
}


@pytest.mark.parametrize(("inputs", "targets", "message"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_bad_tasks_are_refused(classifier, inputs, targets, message):
    with pytest.raises(ValueError, match=message) as refusal:
        classifier.adapt(inputs, targets)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize("targets", [[np.nan, 1.0], np.zeros((2, 3)), ["a", "b"], np.zeros((2, 1, 1))])
def test_bad_regression_targets_are_refused(regressor, targets):
    with pytest.raises(ValueError, match="support.targets must be"):
        regressor.adapt(np.zeros((2, 1)), targets)


BAD_QUERIES = {
    "another size": (np.zeros((2, 20, 20, 1)), r"examples of shape \[16, 16, 1\]"),
    "one image": (np.zeros(IMAGE_SHAPE), r"examples of shape \[16, 16, 1\]"),
    "NaN": (np.full((1, *IMAGE_SHAPE), np.nan), "inputs must be finite"),
    "8-bit values": (np.full((1, *IMAGE_SHAPE), 200, np.uint8), "divide by 255"),
    "a dictionary": ({"image": np.zeros((1, *IMAGE_SHAPE))}, "inputs must be numbers"),
}


@pytest.mark.parametrize(("queries", "message"), BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_bad_queries_are_refused(task, queries, message):
    with pytest.raises(ValueError, match=message):
        task.predict(queries)


def test_a_regressor_has_no_classes(regressor):
    inputs, targets = points(3)
    adapted = regressor.adapt(inputs, targets)
    assert adapted.class_names == ()
    with pytest.raises(ValueError, match="a regression model has no classes"):
        adapted.classify(inputs)


def test_adaptation_that_diverges_is_said(regressor):
    with pytest.raises(ArithmeticError, match="adaptation diverged"):
        regressor.adapt(*(1e3 * array for array in points(5)), steps=60)


def test_numbers_beyond_a_table_are_told_in_one_line():
    extractor = keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Flatten()])
    learner = Learner(extractor, keras.layers.Dense(2), example_inputs=np.zeros((2, 3), "int32"))
    problem = Classification(2)
    model = FewShotModel.of(Trainer(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem))
    words = np.array([[1, 2, 3], [4, 5, 6]], "int32")
    task = model.adapt(words, ["a", "b"])
    for ask in (lambda: task.predict(words + 9), lambda: model.adapt(words + 9, ["a", "b"])):
        with pytest.raises(ValueError, match=r"the model cannot .*: .*is not in \[0, 10\)") as error:
            ask()
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)
