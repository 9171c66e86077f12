"""Rules that put another last layer into the head: what the base class does for all of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import HeadRule
from cml_tf.errors import UserError
from cml_tf.learners import Learner, conv4, mlp
from cml_tf.learners.linear_head import LinearHead
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.seeded_episodes import classification_episode, one_task

CLASSES = Classification(3)


class TowardsMeans(HeadRule):
    """Adds the mean of each class's rows to its column."""

    def fit(self, rows, support, kernel, bias, initial):
        of_class = self.problem.as_vectors(support.targets, rows.dtype)
        return kernel + tf.matmul(rows, of_class, transpose_a=True) / len(rows), bias


def method(learner):
    return Method.of(learner, TowardsMeans(CLASSES), [QueryLoss(CLASSES)])


def test_meta_gradients_match_differences(float64):
    keras.utils.set_random_seed(0)
    assert_matches_central_differences(method(mlp(3, (2,), activation="tanh")), classification_episode())


def test_a_task_answers_through_its_own_layer_and_packs_it(float64):
    keras.utils.set_random_seed(0)
    made, task = method(conv4(3, (16, 16, 1), 4)), one_task(classification_episode(shape=(16, 16, 1)), 0)
    learner, initial = made.learner, made.initial()
    adapted = made.outcome(initial, task).adapted
    features, outputs = adapted.predict(task.query.inputs)
    rows = LinearHead(learner).rows(features)
    np.testing.assert_allclose(outputs, rows @ adapted.kernel + adapted.bias, rtol=1e-10)
    again = made.rule.unpack(learner, initial, adapted.pack(), ())
    np.testing.assert_allclose(again.predict(task.query.inputs)[1], outputs, atol=1e-5)
    assert [spec.name for spec in made.rule.packed_spec(learner)] == ["adapted_kernel", "adapted_bias"]
    start = made.rule.unadapted(learner, initial, task.support, ())
    np.testing.assert_array_equal(start.kernel, initial.parameters.head[0])
    restored = TowardsMeans.from_config(made.rule.get_config())
    assert restored.problem == CLASSES and restored.adapts(learner) == {"head"}


@pytest.mark.parametrize(
    "head",
    [
        keras.layers.Dense(3, use_bias=False),
        keras.layers.Dense(3, activation="relu"),
        keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)]),
        keras.layers.Identity(),
    ],
)
def test_heads_of_another_kind_are_refused(head):
    with pytest.raises(UserError, match="a head of one trainable linear layer with a bias.*received"):
        method(Learner(keras.layers.Dense(3), head, input_shape=(2,)))
