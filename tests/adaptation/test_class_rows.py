"""Class rows that begin alike or at prototypes: order of classes, absent ones, a wider bound, gradients, refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, PerStepRates, RematerialisedReverse, anil, boil
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import randomise, smooth_co_learner, smooth_mlp, two_headed
from tests.helpers.seeded_episodes import classification_episode, one_task

KINDS = pytest.mark.parametrize("kind", ["shared", "prototypes"])
EXACT = {"rtol": 1e-10, "atol": 1e-10}
BOUND = 5


def method(kind, ways=BOUND, steps=2, update=None, learner=None):
    problem = Classification(ways)
    rule = GradientDescent(problem, update or SGD(0.3), steps, class_rows=kind)
    return Method.of(learner or smooth_mlp(ways), rule, [QueryLoss(problem)])


def adapted(made, support):
    return made.rule.adapt(made.learner, made.rule.initial(made.learner), support, ())


def probabilities(made, task):
    _, outputs = adapted(made, task.support).predict(task.query.inputs)
    return made.terms[0].problem.predictions(outputs).numpy()


def unequal(task):
    """A task of three classes with 4, 2 and 1 support examples."""
    kept = np.concatenate([np.flatnonzero(task.support.targets == way)[: 4 >> way] for way in range(3)])
    return task._replace(support=Examples(*(tf.gather(part, kept) for part in task.support[:2])))


def a_task():
    return unequal(one_task(classification_episode(shots=4, queries=3), 0))


@KINDS
@pytest.mark.parametrize("update", [lambda: SGD(0.3), lambda: anil(SGD(0.3)), lambda: PerStepRates(0.3, 2)])
def test_other_labels_give_the_same_probabilities_in_other_columns(float64, kind, update):
    made, task = method(kind, update=update()), a_task()
    made.rule.build(made.learner)
    labels = np.array([3, 0, 4])
    support = task.support._replace(targets=tf.gather(labels, task.support.targets))
    expected = probabilities(made, task)
    received = probabilities(made, task._replace(support=support))
    np.testing.assert_allclose(received[:, labels], expected[:, :3], **EXACT)
    assert np.ptp(expected[:, :3]) > 0.05


@KINDS
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_absent_class_has_no_probability_at_all(float64, kind, steps):
    found = probabilities(method(kind, steps=steps), a_task())
    np.testing.assert_array_equal(found[:, 3:], 0)
    np.testing.assert_allclose(found.sum(1), 1, **EXACT)
    assert (found[:, :3] > 0).all()


def test_without_a_step_shared_rows_know_nothing_and_prototypes_are_those_of_prototypical_networks(float64):
    task = a_task()
    np.testing.assert_allclose(probabilities(method("shared", steps=0), task)[:, :3], 1 / 3, **EXACT)
    made = method("prototypes", steps=0)
    support, queries = (
        made.learner.call(*made.learner.initial(), part.inputs, (), False).features.numpy()
        for part in (task.support, task.query)
    )
    means = np.stack([support[task.support.targets == way].mean(0) for way in range(3)])
    distances = np.square(queries[:, None] - means).sum(-1)
    np.testing.assert_allclose(probabilities(made, task)[:, :3], tf.nn.softmax(-distances), **EXACT)


@KINDS
def test_a_wider_bound_changes_nothing(float64, kind):
    """Three classes are three classes, whether five or eight had room."""
    task, narrow, wide = a_task(), method(kind), method(kind, ways=8)
    for target, value in zip(wide.learner.variables.extractor, narrow.learner.variables.extractor, strict=True):
        target.assign(value)
    np.testing.assert_allclose(probabilities(wide, task)[:, :3], probabilities(narrow, task)[:, :3], **EXACT)


@KINDS
def test_padding_changes_neither_loss_nor_gradient(float64, kind):
    """Rows behind a mask hold nonsense: the labels of absent classes and numbers beyond all bounds."""
    made, episode = method(kind), classification_episode()

    def padded(examples, rows):
        tasks, count = examples.targets.shape
        inputs = tf.concat([examples.inputs, tf.fill([tasks, rows, 2], np.float64(np.nan))], 1)
        targets = tf.concat([examples.targets, tf.fill([tasks, rows], 4)], 1)
        return Examples(inputs, targets, tf.tile([[True] * count + [False] * rows], [tasks, 1]))

    wide = Episode(padded(episode.support, 3), padded(episode.query, 2), classes=episode.classes)
    for left, right in zip(
        tf.nest.flatten(meta_gradient(made, wide, made.weights())),
        tf.nest.flatten(meta_gradient(made, episode, made.weights())),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, **EXACT)


@KINDS
def test_the_meta_gradient_is_the_derivative_and_the_same_for_every_row(float64, kind):
    made, episode = method(kind), classification_episode()
    made = Method.of(made.learner, made.rule, [*made.terms, smooth_co_learner(Classification(BOUND))])
    randomise(made.terms[1].variables, 1)
    gradients = gradients_of(made, episode)
    assert_matches_central_differences(made, episode, gradients)
    made.rule.hypergradient = RematerialisedReverse()
    assert_same_gradients(gradients_of(made, episode), gradients)
    *_, kernel, bias = gradients["learner"]
    np.testing.assert_array_equal(kernel, np.broadcast_to(kernel[:, :1], kernel.shape))
    # What all rows have in common cancels in the softmax.
    np.testing.assert_allclose(kernel, 0, atol=1e-12)
    np.testing.assert_allclose(bias, 0, atol=1e-12)
    *_, last = gradients["co_learner"]
    np.testing.assert_array_equal(np.asarray(last)[..., 3:], 0)
    assert np.abs(np.asarray(last)[..., :3]).max() > 1e-3


def test_shared_rows_leave_the_features_alone_in_the_first_step(float64):
    task = a_task()
    one, two = (adapted(method("shared", steps=steps), task.support) for steps in (1, 2))
    start = method("shared").learner.initial()[0].extractor
    for value, moved, initial in zip(one.parameters.extractor, two.parameters.extractor, start, strict=True):
        np.testing.assert_allclose(value, initial, **EXACT)
        assert np.abs(moved - initial).max() > 1e-6


@KINDS
@pytest.mark.parametrize("update", [lambda: SGD(0.3), lambda: anil(SGD(0.3))])
def test_a_packed_task_knows_its_classes(float64, kind, update):
    made, task = method(kind, update=update()), a_task()
    whole = adapted(made, task.support)
    again = made.rule.unpack(made.learner, made.rule.initial(made.learner), whole.pack(), ())
    (features, expected), (_, received) = whole.predict(task.query.inputs), again.predict(task.query.inputs)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(received[:, 3:], expected[:, 3:])
    np.testing.assert_allclose(whole.answer(features), expected, **EXACT)
    origin = made.rule.packed_origin(made.learner, made.rule.initial(made.learner))
    assert origin.shape == whole.pack().shape and not origin[:BOUND].numpy().any()


@KINDS
def test_soft_labels_of_one_class_are_labels(float64, kind):
    made, task = method(kind), a_task()
    soft = task.support._replace(targets=tf.one_hot(task.support.targets, BOUND, dtype=tf.float64))
    np.testing.assert_allclose(probabilities(made, task._replace(support=soft)), probabilities(made, task), **EXACT)


@KINDS
def test_a_rule_is_made_again_from_its_configuration(kind):
    rule = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(method(kind).rule))
    assert rule.rows.kind == kind
    config = method("own").rule.get_config()
    del config["class_rows"]
    assert GradientDescent.from_config(config).rows is None


def test_own_rows_are_what_they_were(float64):
    episode = classification_episode()
    plain = Method.of(smooth_mlp(3), GradientDescent(Classification(3), SGD(0.3), 2), [QueryLoss(Classification(3))])
    np.testing.assert_array_equal(
        evaluate_losses(method("own", ways=3), episode)[0], evaluate_losses(plain, episode)[0]
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: method("shared", update=MetaSGD(0.3)), "rate for each element"),
        (lambda: method("shared", update=Partition(SGD(0.3), MetaSGD(0.3))), "rate for each element"),
        (lambda: method("prototypes", update=boil(SGD(0.3))), "a head that adapts"),
        (lambda: method("shared", learner=two_headed(smooth_mlp(BOUND), BOUND)), "linear head"),
        (lambda: GradientDescent(Regression(1), SGD(0.3), class_rows="shared"), "classification"),
        (lambda: GradientDescent(Classification(5), SGD(0.3), class_rows="alike"), "own, shared, prototypes"),
        (lambda: method("shared").rule.through_head(((4, 5), (5,))), "readout 'learner'"),
    ],
)
def test_what_cannot_work_is_refused_with_a_remedy(make, told):
    with pytest.raises(UserError, match=told):
        make()


def test_rates_of_the_body_alone_may_be_by_element():
    assert method("shared", update=Partition(MetaSGD(0.3), SGD(0.3)), learner=mlp(BOUND, (2,))).rule.rows is not None
