"""Losses, scores and predictions of the problems, against their formulas."""

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.problems import Classification, Regression, at_least_float32

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
LABELS = np.array([0, 2])
SOFT = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("labels", [LABELS, np.eye(3)[LABELS], SOFT, SOFT.astype(np.float32)])
def test_classification(dtype, rtol, labels):
    problem, outputs = Classification(3), tf.constant(LOGITS, dtype)
    losses = problem.losses(outputs, tf.constant(labels))
    weights = np.eye(3)[labels] if labels.ndim == 1 else labels
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, -(weights * np.log(PROBABILITIES)).sum(1), rtol=rtol)
    np.testing.assert_array_equal(problem.scores(outputs, tf.constant(labels)), [1.0, 0.0])
    np.testing.assert_allclose(problem.predictions(outputs), PROBABILITIES, rtol=rtol)
    assert (problem.metric, problem.higher_is_better, problem.outputs) == ("accuracy", True, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squared_error(dtype):
    problem = Regression(2)
    outputs, targets = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 1.0]])
    losses = problem.losses(tf.constant(outputs, dtype), tf.constant(targets, "float32"))
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, [2.0, 5.0])
    np.testing.assert_array_equal(problem.scores(tf.constant(outputs, dtype), tf.constant(targets, dtype)), losses)
    np.testing.assert_array_equal(problem.predictions(tf.constant(outputs)), outputs)
    assert (problem.metric, problem.higher_is_better, problem.outputs) == ("mse", False, 2)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_half_precision_is_widened_before_a_loss(dtype, expected):
    assert at_least_float32(tf.zeros(1, dtype)).dtype == expected
    assert Classification(3).losses(tf.cast(LOGITS, dtype), tf.constant(LABELS)).dtype == expected
    assert Regression(3).losses(tf.cast(LOGITS, dtype), tf.constant(LOGITS)).dtype == expected
    assert Classification(3).predictions(tf.cast(LOGITS, dtype)).dtype == expected


@pytest.mark.parametrize(("problem", "name", "least"), [(Classification, "ways", 2), (Regression, "outputs", 1)])
def test_impossible_problems_are_refused(problem, name, least):
    with pytest.raises(ValueError, match=f"{name} must be at least {least}, received {least - 1}"):
        problem(least - 1)


@pytest.mark.parametrize(
    ("problem", "outputs", "targets"),
    [
        (Regression(3), (4, 1), (4, 3)),
        (Regression(1), (4, 5), (4, 1)),
        (Regression(1), (4, 1), (1, 1)),
        (Regression(2), (4,), (4, 2)),
        (Classification(3), (4, 1), (4, 3)),
        (Classification(3), (4, 3), (1, 3)),
        (Classification(3), (4, 2, 3), (4, 3)),
    ],
)
def test_outputs_and_targets_are_never_broadcast(problem, outputs, targets):
    with pytest.raises(UserError, match=r"outputs must be \[examples, \d\].*received outputs .* and targets"):
        problem.losses(tf.zeros(outputs), tf.zeros(targets))
    traced = tf.function(lambda given: problem.losses(tf.zeros(outputs), given))
    with pytest.raises(UserError, match="outputs must be"):
        traced(tf.zeros(targets))


def test_labels_must_be_as_many_as_outputs():
    with pytest.raises(UserError, match=r"received outputs \(4, 3\) and targets \(3,\)"):
        Classification(3).losses(tf.zeros((4, 3)), tf.zeros(3, tf.int32))
