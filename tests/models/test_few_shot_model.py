"""The notebook's model: adapt, predict, summarise; NumPy in and out; what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf import FewShotModel
from cml_tf.adaptation import SGD, GradientDescent, MetaSGD
from cml_tf.learners.learner import count_parameters
from cml_tf.objectives import QueryLoss
from cml_tf.training.evaluator import Evaluator
from tests.helpers.few_shot import IMAGE_SHAPE, sinusoid_trainer
from tests.helpers.small_tasks import NAMES, pictures, points


def test_names_in_probabilities_out(task, classifier):
    assert task.class_names == ("alpha", "beta", "gamma")
    probabilities = task.predict(pictures(5, seed=1))
    assert isinstance(probabilities, np.ndarray) and probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float32 and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    expected = [task.class_names[column] for column in probabilities.argmax(-1)]
    assert task.classify(pictures(5, seed=1)) == expected
    packed = task.packed()
    assert packed.dtype == np.float32 and packed.shape == (count_parameters(classifier.method.learner.variables),)


def test_it_is_what_evaluation_computes(regressor):
    """The model of a notebook and the evaluator make one and the same adaptation."""
    inputs, targets = points(5)
    queries, truth = points(7, seed=1)
    predictions = regressor.adapt(inputs, targets).predict(queries)
    pairs = ((inputs, targets), (queries, truth))
    episode = cml_tf.Episode(*(cml_tf.Examples(*(tf.constant(a[None], tf.float32) for a in pair)) for pair in pairs))
    scores = Evaluator(regressor.method, "mse").metrics([episode], 1)["mse"]
    assert np.mean((predictions - truth) ** 2) == pytest.approx(scores[0], rel=1e-5)


def test_labels_may_be_anything_that_can_be_told_apart_or_soft(classifier):
    images, queries, labels = pictures(6), pictures(4, seed=1), np.array([1, 0, 2, 1, 0, 2])
    expected = classifier.adapt(images, labels.tolist()).predict(queries)
    numbers = [20, -3, 400, 20, -3, 400]
    for same in (NAMES, np.array(NAMES), numbers, labels.astype(np.uint8)):
        np.testing.assert_array_equal(classifier.adapt(images, same).predict(queries), expected)
    assert classifier.adapt(images, numbers).class_names == ("-3", "20", "400")
    soft = classifier.adapt(images, np.eye(3)[labels])
    np.testing.assert_allclose(soft.predict(queries), expected, rtol=1e-4)
    assert soft.class_names == ("0", "1", "2")


def test_fewer_classes_than_ways(classifier):
    """The unused column is dropped, the rest is renormalised."""
    images, queries = pictures(4), pictures(3, seed=1)
    two = classifier.adapt(images, ["b", "a", "b", "a"])
    assert two.class_names == ("a", "b")
    probabilities = two.predict(queries)
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    # Soft labels name all columns, so the same adaptation can be seen in full.
    full = classifier.adapt(images, np.eye(3)[[1, 0, 1, 0]]).predict(queries)
    np.testing.assert_allclose(probabilities, full[:, :2] / full[:, :2].sum(-1, keepdims=True), rtol=1e-4)
    one = classifier.adapt(images[:1], ["only"])
    np.testing.assert_array_equal(one.predict(queries), np.ones((3, 1)))
    assert one.classify(queries) == ["only"] * 3


def test_float64_and_integer_inputs_are_taken(regressor):
    inputs, targets = np.array([[1], [2], [3]]), [1.0, 2.0, 3.0]
    expected = regressor.adapt(inputs.astype(np.float32), targets).predict(inputs.astype(np.float32))
    for kind in (np.int64, np.float64, np.uint8):
        np.testing.assert_array_equal(
            regressor.adapt(inputs.astype(kind), targets).predict(inputs.astype(kind)), expected
        )
    assert expected.shape == (3, 1) and expected.dtype == np.float32


def test_steps(regressor):
    inputs, targets = points(5)
    queries, learner = points(7, seed=1)[0].astype(np.float32), regressor.method.learner

    def after(steps, asked=queries):
        return regressor.adapt(inputs, targets, steps=steps).predict(asked)

    np.testing.assert_allclose(after(0), learner.head(learner.extractor(queries)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(after(None), after(1))
    errors = [np.mean((after(steps, inputs) - targets) ** 2) for steps in (0, 1, 20)]
    assert errors[0] > errors[1] > errors[2], "more steps fit the support set better"
    with pytest.raises(ValueError, match="inner steps must be 0 or more, received -1"):
        after(-1)


def test_a_task_stays_what_it_was_while_others_come_and_training_goes_on():
    model, (inputs, targets) = FewShotModel.of(sinusoid_trainer()), points(5)
    task = model.adapt(inputs, targets)
    expected = task.predict(inputs)
    model.adapt(inputs, -targets).predict(inputs)
    for variable in model.method.learner.variables.extractor:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(task.predict(inputs), expected)
    assert not np.allclose(model.adapt(inputs, targets).predict(inputs), expected)


def test_the_summary_counts_psi_theta_and_phi():
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01))
    text = FewShotModel.of(trainer).summary()
    counts = {line[:24].strip(): int(line[24:].replace(",", "")) for line in text.splitlines()}
    psi, theta, phi = 8 + 8 + 8 * 8 + 8, 8 + 1, 8 * 8 + 8 + 8 + 1
    assert counts == {
        "extractor (psi)": psi,
        "head (theta)": theta,
        "adaptation rule": psi + theta,
        "co_learner (phi)": phi,
        "served": 2 * (psi + theta),
        "trained": 2 * (psi + theta) + phi,
    }


def test_no_queries_have_no_answers(task, regressor):
    assert task.predict(pictures(0)).shape == (0, 3) and task.classify(pictures(0)) == []
    assert regressor.adapt(*points(3)).predict(points(0)[0]).shape == (0, 1)


def trained_nowhere(extractor, example, problem):
    learner = cml_tf.Learner(extractor, keras.layers.Dense(problem.outputs), example_inputs=example)
    return FewShotModel.of(cml_tf.Trainer(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem))


def two_inputs(example):
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    inputs = {"left": left, "right": right} if isinstance(example, dict) else [left, right]
    body = keras.Model(inputs, keras.layers.Dense(8)(keras.layers.Concatenate()([left, right])))
    return trained_nowhere(body, example, cml_tf.Classification(3))


def test_several_inputs_in_any_sequence_or_by_name():
    first, second = np.random.default_rng(0).random((6, 4)), np.random.default_rng(1).random((6, 3))
    model = two_inputs([np.zeros((2, 4)), np.zeros((2, 3))])
    expected = model.adapt([first, second], NAMES).predict([first, second])
    np.testing.assert_array_equal(model.adapt((first, second), NAMES).predict((first, second)), expected)
    named = two_inputs({"left": np.zeros((2, 4)), "right": np.zeros((2, 3))})
    task = named.adapt({"right": second, "left": first}, NAMES)
    assert task.predict({"left": first, "right": second}).shape == (6, 3)
    with pytest.raises(ValueError, match=r"a tuple or list .*received \(float64 \[6, 4\]\)"):
        model.adapt([first], NAMES)
    with pytest.raises(ValueError, match="a dictionary {left: .*received {left: .*, write: "):
        task.predict({"left": first, "write": second})


# Of inputs, here is only what the task makes of them: their structures are those of tests/boundary/test_arrays.py.
TWO = ["a", "b"]
BAD_TASKS = {
    "too many classes": (pictures(4), ["a", "b", "c", "d"], "has 3 ways .* received 4: a, b, c, d"),
    "no examples": (pictures(0), [], "support.targets must contain at least one"),
    "a label too few": (pictures(4), ["a", "b", "a"], r"\[tasks, examples\] = \[1, 3\]"),
    "channels first": (np.zeros((2, 1, 16, 16)), TWO, r"received .*\[2, 1, 16, 16\]: move the channels last"),
    "ragged targets": (pictures(2), [[1], [1, 2]], "targets must be an array whose rows have the same length"),
    "whole soft labels": (pictures(2), np.eye(3, dtype=int)[:2], r"integer labels .* \(soft ones are floats\)"),
    "NaN": (np.full((2, *IMAGE_SHAPE), np.nan), TWO, "inputs must be finite"),
    "8-bit values": (np.full((2, *IMAGE_SHAPE), 255, np.uint8), TWO, "divide by 255"),
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


def test_bad_queries_are_refused(task):
    for queries, message in (
        (np.zeros(IMAGE_SHAPE), r"examples of shape \[16, 16, 1\]"),
        (np.full((1, *IMAGE_SHAPE), np.nan), "inputs must be finite"),
        (np.full((1, *IMAGE_SHAPE), 200, np.uint8), "divide by 255"),
    ):
        with pytest.raises(ValueError, match=message):
            task.predict(queries)


def test_a_regressor_has_no_classes_and_says_that_it_diverged(regressor):
    adapted = regressor.adapt(*points(3))
    assert adapted.class_names == ()
    with pytest.raises(ValueError, match="a regression model has no classes"):
        adapted.classify(points(3)[0])
    with pytest.raises(ArithmeticError, match="adaptation diverged"):
        regressor.adapt(*(1e3 * array for array in points(5)), steps=60)


def test_numbers_beyond_a_table_are_told_in_one_line():
    extractor = keras.Sequential([keras.layers.Embedding(10, 4), keras.layers.Flatten()])
    model = trained_nowhere(extractor, np.zeros((2, 3), "int32"), cml_tf.Classification(2))
    words = np.array([[1, 2, 3], [4, 5, 6]], "int32")
    task = model.adapt(words, TWO)
    for ask in (lambda: task.predict(words + 9), lambda: model.adapt(words + 9, TWO)):
        with pytest.raises(ValueError, match=r"the model cannot .*: .*is not in \[0, 10\)") as error:
            ask()
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)
