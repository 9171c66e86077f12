"""The rule of steepest descent: the whole gradient, episodes, symmetries, limits and words."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SteepestDescent
from cml_tf.adaptation.class_objective import (
    ClassObjective,
    LearnedNumbers,
    class_weights,
    entropy,
)
from cml_tf.adaptation.steepest_descent import normalised, step
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.method import Method
from tests.helpers.differences import assert_alike_all_at_once, assert_matches_central_differences, gradients_of
from tests.helpers.models import randomise
from tests.helpers.seeded_episodes import classification_episode, one_task
from tests.helpers.small_configs import load

CLASSES = Classification(3)


def number(value):
    return tf.constant(value, tf.float64)


def method_of(**options):
    body = keras.Sequential([keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(4)])
    learner = Learner(body, keras.layers.Identity(), input_shape=(2,))
    randomise(learner, 0)
    return Method.of(learner, SteepestDescent(CLASSES, **options), [QueryLoss(CLASSES)])


# ---- the whole gradient


def test_the_whole_meta_gradient(float64):
    """At slopes that are not 1, so that residuals bend; the contract of members has it as it is by default."""
    method = method_of(normalise_first=True, transductive=True, kappa=3.0, iterations=3)
    for variable, value in zip(method.rule.meta_variables, (4, -3, 1.2, 0.7, 0.8, 0.3, 0.4, 0.9, 0.2), strict=False):
        variable.assign(value)
    assert_matches_central_differences(method, classification_episode(tasks=1))


@pytest.mark.parametrize("transductive", [False, True])
def test_nothing_is_called_learned_that_has_no_gradient(float64, transductive):
    method = method_of(transductive=transductive, kappa=1.0)
    names = [variable.name for variable in method.rule.meta_variables]
    assert len(names) == 7 + 2 * transductive and ("log_kappa" in names) == transductive
    for name, gradient in zip(names, gradients_of(method, classification_episode())["adaptation"], strict=True):
        assert abs(float(gradient)) > 1e-8, name
    assert "penalty" not in [variable.name for variable in method_of(penalty=0.0).rule.meta_variables]
    assert len(method_of(iterations=0).rule.meta_variables) == 2


# ---- episodes


@pytest.mark.parametrize("first", [False, True])
def test_a_task_is_the_closed_form_and_five_steps_on_features_of_length_1(float64, first):
    method, task = method_of(normalise_first=first), one_task(classification_episode(), 0)
    features, asked = (
        method.learner.call(*method.learner.initial(), part.inputs, (), False).features for part in task[:2]
    )
    labels = tf.one_hot(task.support.targets, 3, dtype=tf.float64)
    start = class_weights(normalised(features) if first else features, labels, 5.0, -5.0)
    objective = ClassObjective(normalised(features), labels, LearnedNumbers(penalty=0.1))
    adapted = method.outcome(method.initial(), task).adapted
    expected = start
    for _ in range(5):
        expected = step(objective, expected)
    np.testing.assert_allclose(adapted.weights, expected, rtol=1e-12)
    unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    np.testing.assert_allclose(adapted.predict(task.query.inputs)[1], unit @ tf.transpose(adapted.weights), rtol=1e-9)
    begun = method.rule.unadapted(method.learner, method.initial(), task.support, ())
    np.testing.assert_allclose(begun.weights, start, rtol=1e-12)


def test_without_the_entropy_it_asks_for_no_queries():
    method = method_of()
    assert not method.rule.uses_query_inputs
    assert method.rule.packed_spec(method.learner)[0].shape == (3, 4)


def test_a_transductive_answer_depends_on_what_else_is_asked_and_not_on_its_order(float64):
    method, task = method_of(transductive=True), one_task(classification_episode(), 0)
    inputs = task.query.inputs

    def answers(asked):
        return method.rule.adapt(method.learner, method.initial(), task.support, (), asked).predict(inputs)[1].numpy()

    assert np.abs(answers(inputs) - answers(inputs[:1])).max() > 1e-3
    np.testing.assert_allclose(answers(inputs), answers(tf.reverse(inputs, [0])), rtol=1e-8)
    assert method.rule.packed_spec(method.learner) is None


def test_the_entropy_falls_where_the_support_set_is_silent(float64):
    """A large factor makes the queries' classes surer than none does."""
    entropies = []
    for options in ({}, {"transductive": True}):
        method, task = method_of(**options), one_task(classification_episode(), 0)
        entropies.append(float(tf.reduce_mean(entropy(method.outcome(method.initial(), task).query_forward[1]))))
    assert entropies[1] < entropies[0]


@pytest.mark.parametrize("transductive", [False, True])
def test_the_order_of_classes_is_that_of_the_answers(float64, transductive):
    method, task = method_of(transductive=transductive, kappa=5.0), one_task(classification_episode(), 0)
    order = tf.constant([2, 0, 1])
    renamed = task.support._replace(targets=tf.gather(order, task.support.targets))
    weights, turned = (
        method.outcome(method.initial(), task._replace(support=support)).adapted.weights.numpy()
        for support in (task.support, renamed)
    )
    np.testing.assert_allclose(turned[order.numpy()], weights, rtol=1e-9)


@pytest.mark.slow
def test_all_tasks_at_once_are_as_one_by_one(float64):
    assert_alike_all_at_once(method_of(transductive=True, kappa=5.0, iterations=1), classification_episode())


@pytest.mark.parametrize("kept", [[0, 2], [1]])
def test_classes_without_examples_and_features_of_zeros_give_numbers(float64, kept):
    method, task = method_of(transductive=True), one_task(classification_episode(), 0)
    there = np.flatnonzero(np.isin(task.support.targets, kept))
    support = Examples(*(tf.gather(part, there) for part in task.support[:2]))
    with tf.GradientTape() as tape:
        initial = method.initial()
        tape.watch(initial.meta)
        adapted = method.rule.adapt(method.learner, initial, support, (), task.query.inputs)
        answers = adapted.predict(task.query.inputs)[1]
    assert np.isfinite(answers).all() and np.isfinite(tape.gradient(answers, initial.meta)).all()
    if len(kept) == 2:
        assert (adapted.predict(support.inputs)[1].numpy().argmax(1) == support.targets.numpy()).all()
    np.testing.assert_array_equal(normalised(number([[0.0, 0.0]])), [[0, 0]])


# ---- refusals, words and saving


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"iterations": -1}, "iterations must be a whole number of 0 or more, received -1"),
        ({"positive": -6.0}, "positive must be above negative -5.0, received -6.0"),
        ({"penalty": float("nan")}, "penalty must be 0 or more, received nan"),
        ({"kappa": 0.0}, "kappa must be positive, received 0.0: leave out transductive"),
        ({"temperature": -1.0}, "temperature must be positive, received -1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, fault):
    with pytest.raises(UserError, match=fault):
        SteepestDescent(CLASSES, **options)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="needs classification, received Regression"):
        SteepestDescent(Regression(1))
    with pytest.raises(UserError, match="a head without weights"):
        Method.of(mlp(3, (2,)), SteepestDescent(CLASSES), [QueryLoss(CLASSES)])
    with pytest.raises(UserError, match="SteepestDescent takes no inner steps, received 2"):
        SteepestDescent(CLASSES).with_steps(2)
    method, task = method_of(transductive=True), one_task(classification_episode(), 0)
    with pytest.raises(UserError, match="no task state"):
        method.rule.unpack(method.learner, method.initial(), tf.zeros([12]), task.context)


def test_words_choose_it_and_its_entropy():
    assert not load("glyphs", "maml,steepest_descent").adaptation.transductive
    transductive = load("glyphs", "maml,fiml_transductive").adaptation
    assert transductive.transductive and transductive.rule == "steepest_descent"


def test_it_is_made_again_from_its_configuration():
    rule = SteepestDescent(CLASSES, iterations=3, penalty=0.0, transductive=True, kappa=7.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert again.get_config() == rule.get_config() and again.iterations == 3 and again.uses_query_inputs
