"""All training classes at once: the loss by hand, rotations, what gets a gradient, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf.adaptation import SoftKMeans
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import AllClasses, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.models import randomise
from tests.helpers.seeded_episodes import CLASSES, classification_episode, one_task

THREE = Classification(3)
SHAPE = (4, 4, 1)


def method(rotation=0.5, shape=SHAPE):
    body = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5, activation="tanh")])
    learner = Learner(body, keras.layers.Identity(), input_shape=shape)
    term = AllClasses(CLASSES, rotation)
    made = Method.of(learner, SoftKMeans(THREE), [QueryLoss(THREE, differentiated=False), term])
    for seed, variables in enumerate((learner, term.variables)):
        randomise(variables, seed)
    return made


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_the_loss_is_what_a_loop_over_pictures_gives(float64, rotation):
    made, episode = method(rotation), classification_episode(shape=SHAPE)
    losses, metrics = evaluate_losses(made, episode)
    values = [variable.numpy() for variable in made.terms[1].variables]
    for task in range(2):
        one, sums, right = one_task(episode, task), [], []
        for part in (one.support, one.query):
            for picture, label in zip(part.inputs.numpy(), part.targets.numpy(), strict=True):
                for turn in range(4 if rotation else 1):
                    features = made.learner.extractor(np.rot90(picture, turn)[None]).numpy()[0]
                    logits, number = features @ values[0] + values[1], episode.classes[task, label]
                    own = -(1 - rotation) * log_softmax(logits)[number]
                    if rotation:
                        own -= rotation * log_softmax(features @ values[2] + values[3])[turn]
                    sums.append(own)
                    right.append(logits.argmax() == number)
        np.testing.assert_allclose(losses[task, 1], np.mean(sums), rtol=1e-10)
        np.testing.assert_allclose(metrics["class_accuracy"][task], np.mean(right), rtol=1e-10)


def test_gradients_and_that_the_decoder_learns_nothing(float64):
    made, episode = method(), classification_episode(shape=SHAPE)
    assert_matches_central_differences(made.with_terms(["all_classes"]), episode)
    gradients = meta_gradient(made, episode, made.weights()).gradients
    assert all(not value.numpy().any() for value in gradients["adaptation"])
    assert any(value.numpy().any() for value in gradients["learner"])


def test_the_order_of_labels_is_of_no_account(float64):
    made, episode = method(), classification_episode(shape=SHAPE)
    turned = episode._replace(
        support=episode.support._replace(targets=2 - episode.support.targets),
        query=episode.query._replace(targets=2 - episode.query.targets),
        classes=tf.reverse(episode.classes, [1]),
    )
    losses, others = evaluate_losses(made, episode)[0], evaluate_losses(made, turned)[0]
    np.testing.assert_allclose(losses[:, 1], others[:, 1], rtol=1e-12)


def test_episodes_of_this_librarys_data_say_which_classes_they_hold():
    glyphs = cml_tf.datasets.load("glyphs")
    source = glyphs.episodes("train", ways=5, shots=1, queries=2, seed=0)
    episode = source.batch(3, 2)
    np.testing.assert_array_equal(episode.classes, source.indices(3, 2)[:, :, 0])


REFUSED = {
    "episodes must say which training class": lambda made, one: one._replace(classes=()),
    "needs whole-number labels": lambda made, one: one._replace(
        support=one.support._replace(targets=tf.one_hot(one.support.targets, 3, dtype=tf.float64)),
        query=one.query._replace(targets=tf.one_hot(one.query.targets, 3, dtype=tf.float64)),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_episodes_that_do_not_tell_are_refused(float64, message):
    made = method()
    with pytest.raises(UserError, match=message):
        evaluate_losses(made, REFUSED[message](made, classification_episode(shape=SHAPE)))


def test_arguments_and_learners_that_do_not_fit_are_refused():
    for arguments, message in (((1,), "2 or more, received 1"), ((5, 1.0), "below 1, received 1.0")):
        with pytest.raises(UserError, match=message):
            AllClasses(*arguments)
    with pytest.raises(UserError, match="a learner whose head has no weights"):
        AllClasses(5).build(Learner(keras.layers.Flatten(), keras.layers.Dense(3), input_shape=SHAPE))
    with pytest.raises(UserError, match="rotation must be 0 unless inputs are square"):
        method(shape=(4, 5, 1))
    assert len(method(0.0, (4, 5, 1)).terms[1].variables) == 2
