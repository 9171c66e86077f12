"""Soft k-means: class means without queries, their refinement by hand, classes that are missing, gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SoftKMeans
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import AllClasses, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.models import randomise
from tests.helpers.seeded_episodes import classification_episode, one_task

CLASSES = Classification(3)


def method(refinements=1, scale=1.0):
    body = keras.Sequential([keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3)])
    learner = Learner(body, keras.layers.Identity(), input_shape=(2,))
    randomise(learner, 0)
    return Method.of(learner, SoftKMeans(CLASSES, refinements, scale), [QueryLoss(CLASSES)])


def by_hand(support, labels, queries, refinements, scale):
    """The prototypes, class by class."""
    means = np.stack([support[labels == way].mean(0) for way in range(3)])
    counts = np.bincount(labels)
    for _ in range(refinements):
        logits = -scale * np.square(queries[:, None] - means).sum(-1)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        sums = [support[labels == way].sum(0) + shares[:, way] @ queries for way in range(3)]
        means = np.stack(sums) / (counts + shares.sum(0))[:, None]
    return -scale * np.square(queries[:, None] - means).sum(-1)


@pytest.mark.parametrize("refinements", [0, 1, 3])
def test_it_is_what_a_loop_over_classes_gives(float64, refinements):
    made, task = method(refinements, 0.7), one_task(classification_episode(), 0)
    _, received = made.outcome(made.rule.initial(made.learner), task).query_forward
    support, queries = (
        made.learner.call(*made.learner.initial(), part.inputs, (), False).features.numpy()
        for part in (task.support, task.query)
    )
    expected = by_hand(support, task.support.targets.numpy(), queries, refinements, 0.7)
    np.testing.assert_allclose(received, expected, rtol=1e-10, atol=1e-10)


def test_refinements_are_its_steps_and_another_number_shares_the_scale(float64):
    made, task = method(3, 0.7), one_task(classification_episode(), 0)
    fewer = made.rule.with_steps(0)
    assert (made.rule.steps, fewer.steps) == (3, 0) and fewer.meta_variables is made.rule.meta_variables
    initial = made.rule.initial(made.learner)
    found = fewer.adapt(made.learner, initial, task.support, (), task.query.inputs)
    before = made.rule.unadapted(made.learner, initial, task.support, ())
    np.testing.assert_array_equal(found.means, before.means, "the queries take no part")
    with pytest.raises(UserError, match="refinements must be a whole number of 0 or more, received -1"):
        made.rule.with_steps(-1)


def test_without_queries_it_is_plain_prototypes(float64):
    made, task = method(3, 0.7), one_task(classification_episode(), 0)
    initial, queries = made.rule.initial(made.learner), task.query.inputs
    plain = made.rule.with_steps(0).adapt(made.learner, initial, task.support, (), queries)
    unasked = made.rule.adapt(made.learner, initial, task.support, (), queries[:0])
    np.testing.assert_array_equal(unasked.predict(queries)[1], plain.predict(queries)[1])


def test_the_classifier_that_trained_the_encoder_has_no_say(float64):
    """It belongs to the term, whatever its weights are: answers are those of a method without it, bit for bit."""
    made, task = method(2), one_task(classification_episode(), 0)
    term = AllClasses(7, rotation=0.0)
    trained = Method.of(made.learner, made.rule, [term])
    randomise(term.variables, 1)
    expected, received = (one.outcome(one.rule.initial(one.learner), task).query_forward[1] for one in (made, trained))
    assert len(term.variables) == 2
    np.testing.assert_array_equal(received, expected)


def test_other_queries_change_an_answer_and_their_order_does_not(float64):
    made, task = method(), one_task(classification_episode(), 0)
    initial = made.rule.initial(made.learner)

    def answers(inputs):
        return made.rule.adapt(made.learner, initial, task.support, (), inputs).predict(task.query.inputs)[1].numpy()

    inputs = task.query.inputs
    assert np.abs(answers(inputs) - answers(inputs[:1])).max() > 1e-3
    np.testing.assert_allclose(answers(inputs), answers(tf.reverse(inputs, [0])), rtol=1e-10)


def test_a_class_without_an_example_gets_nothing(float64):
    made, task = method(2), one_task(classification_episode(), 0)
    kept = np.flatnonzero(task.support.targets.numpy() != 1)
    support = Examples(*(tf.gather(part, kept) for part in task.support[:2]))
    initial = made.rule.initial(made.learner)
    _, outputs = made.rule.adapt(made.learner, initial, support, (), task.query.inputs).predict(task.query.inputs)
    assert np.isfinite(outputs).all()
    np.testing.assert_array_equal(CLASSES.predictions(outputs)[:, 1], 0)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="needs classification, received Regression"):
        SoftKMeans(Regression(1))
    with pytest.raises(UserError, match="refinements must be a whole number of 0 or more, received -1"):
        SoftKMeans(CLASSES, -1)
    with pytest.raises(UserError, match="a head without weights"):
        Method.of(mlp(3, (2,)), SoftKMeans(CLASSES), [QueryLoss(CLASSES)])
    made, task = method(), one_task(classification_episode(), 0)
    with pytest.raises(UserError, match="no task state"):
        made.outcome(made.rule.initial(made.learner), task).adapted.pack()


@pytest.mark.parametrize(
    ("distance", "share", "centres"),
    [("squared", 0.880797, (0.234155, 1.840240)), ("euclidean", 0.731059, (0.211159, 1.682088))],
)
def test_metadeltas_decoder_on_a_line(float64, distance, share, centres):
    """Supports at 0 and 2, one query at 0.5, one round."""
    learner = Learner(keras.layers.Dense(1, kernel_initializer="ones"), keras.layers.Identity(), input_shape=(1,))
    support = Examples(tf.constant([[0.0], [2.0]], tf.float64), tf.constant([0, 1]))
    query = tf.constant([[0.5]], tf.float64)
    answers = {}
    for rounds in (0, 1):
        rule = SoftKMeans(Classification(2), rounds, distance=distance)
        rule.build(learner)
        answers[rounds] = rule.adapt(learner, rule.initial(learner), support, (), query)
    shares = tf.nn.softmax(answers[0].predict(query)[1])
    np.testing.assert_allclose(shares[0, 0], share, atol=1e-6)
    np.testing.assert_allclose(answers[1].means[:, 0], centres, atol=1e-6)


def test_normalised_features_have_length_one_and_gradients(float64):
    learner = method().learner
    rule = SoftKMeans(CLASSES, 2, normalised=True, distance="euclidean")
    made, task = Method.of(learner, rule, [QueryLoss(CLASSES)]), one_task(classification_episode(), 0)
    lengths = tf.norm(rule.embedded(learner.call(*learner.initial(), task.query.inputs, (), False).outputs), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-12)
    assert_matches_central_differences(made, classification_episode())
