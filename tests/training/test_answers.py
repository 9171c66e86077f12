"""Heads and co-learners against the problem, in training, use and export: their shape, and that they give logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.errors import UserError
from cml_tf.learners import Learner, TwoHeads
from cml_tf.models import FewShotModel
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.answers import check_answers
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from export.errors import ExportError
from export.graph.exportable import Exportable

K = keras.layers
THREE, FOUR, NUMBERS = Classification(3), Classification(4), Regression(2)


class Nearest(keras.layers.Layer):
    """A head of somebody's own that reads the targets of support sets, of one kind."""

    def __init__(self, width, labels):
        super().__init__()
        self.width = width
        self.labels = labels

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.width))

    def call(self, features, training=False, targets=None):
        outputs = features @ self.kernel
        if not training:
            return outputs
        if self.labels:
            return outputs + 0.1 * tf.one_hot(targets, self.width)
        return outputs + 0.1 * tf.ensure_shape(targets, [None, self.width])


def dense(activation="softmax", **arguments):
    return K.Dense(3, activation=activation, **arguments)


def sequence(*layers):
    return keras.Sequential([K.Dense(3), *layers])


def functional(activation):
    features = keras.Input((4,))
    return keras.Model(features, activation(K.Dense(3)(features)))


def method(head, problem=THREE, terms=(), extractor=None, rule_of=None, query_of=None):
    learner = Learner(extractor or K.Dense(4, activation="tanh"), head, input_shape=(5,))
    rule = GradientDescent(rule_of or problem, SGD(0.1))
    return Method.of(learner, rule, [QueryLoss(query_of or problem), *terms])


def with_co_learner(layer, problem=THREE):
    return method(K.Dense(3), terms=[CoLearner(layer, problem)])


THIRD = keras.initializers.Constant(1 / 3)
TAKEN = {
    "log_softmax": lambda: method(dense("log_softmax")),
    "rectified": lambda: method(dense("relu")),
    "a third each, to begin with": lambda: method(K.Dense(3, kernel_initializer="zeros", bias_initializer=THIRD)),
    "softmax inside": lambda: method(keras.Sequential([K.Dense(4), K.Softmax(), K.Dense(3)])),
    "scaled softmax": lambda: method(sequence(K.Softmax(), K.Rescaling(20.0))),
    "two heads": lambda: method(TwoHeads(K.Dense(3), K.Dense(3))),
    "reads labels": lambda: method(Nearest(3, labels=True)),
    "no weights": lambda: method(K.UnitNormalization(), extractor=K.Dense(3)),
    "probabilities of regression": lambda: method(K.Dense(2, activation="softmax"), NUMBERS),
    "reads numbers": lambda: method(Nearest(2, labels=False), NUMBERS),
}


@pytest.mark.parametrize("name", TAKEN)
def test_heads_that_give_what_the_problem_takes_are_taken(name):
    made = TAKEN[name]()
    check_answers(made, made.rule.problem)


IN_UNIT, OTHER = ".*logits .*from 0 to 1", r"must be for Classification\(ways=3\) .*ways=4"
REFUSED = {
    "softmax": (lambda: method(dense()), rf"the head '\w+'.* {IN_UNIT}"),
    "zeros before it": (lambda: method(dense("sigmoid", kernel_initializer="zeros")), IN_UNIT),
    "nested": (lambda: method(keras.Sequential([K.Dense(4), sequence(keras.Sequential([K.Softmax()]))])), IN_UNIT),
    "an operation": (lambda: method(functional(keras.ops.sigmoid)), IN_UNIT),
    "Lambda": (lambda: method(sequence(K.Lambda(tf.nn.softmax))), IN_UNIT),
    "half precision": (lambda: method(dense(dtype="mixed_bfloat16")), IN_UNIT),
    "one of two heads": (lambda: method(TwoHeads(K.Dense(3), dense())), IN_UNIT),
    "no weights": (lambda: method(K.Activation("linear", name="x"), extractor=dense()), f"the head 'x' {IN_UNIT}"),
    "co-learner": (lambda: with_co_learner(dense("sigmoid")), f"the term 'co_learner' {IN_UNIT}"),
    "narrow": (lambda: method(K.Dense(1)), r"\[examples, 3\] for .*ways=3\), received \[examples, 1\].* 3 units"),
    "second head": (lambda: method(TwoHeads(K.Dense(3), K.Dense(4))), r"output 1 must .*received \[examples, 4\]"),
    "a map": (lambda: method(K.Reshape((2, 2))), r"received \[examples, 2, 2\]: pool or flatten, and end it"),
    "no axis of outputs": (lambda: method(K.Lambda(lambda x: x[:, 0])), r"received \[examples\]"),
    "one answer for all": (lambda: method(K.Lambda(lambda x: tf.reduce_mean(x, 0)[:3])), r"received \[3\]"),
    "reads labels": (lambda: method(Nearest(5, labels=True)), r"the head 'nearest\w*' must .*\[examples, 5\]"),
    "co-learner's width": (lambda: with_co_learner(K.Dense(4)), r"term 'co_learner' .*3\].* \[examples, 4\]"),
    "impossible": (
        lambda: with_co_learner(K.Conv2D(3, 3)),
        r"the co-learner 'conv2d.*' cannot process inputs",
    ),
    "no such head": (
        lambda: method(K.Dense(3), terms=[QueryLoss(THREE, head=1, name="second", prefix="second_")]),
        "the term 'second' cannot answer .*head must be below 1",
    ),
    "a rule of another problem": (lambda: method(K.Dense(3), rule_of=FOUR), OTHER),
    "a term of another problem": (lambda: method(K.Dense(3), query_of=FOUR), OTHER),
    "a co-learner of another problem": (lambda: with_co_learner(K.Dense(3), FOUR), OTHER),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_problem_cannot_use_is_refused(make, message):
    with pytest.raises(UserError, match=message) as refusal:
        check_answers(make(), THREE)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("head", [K.Dense(5), Nearest(5, labels=False)])
def test_regression_has_a_width_too(head):
    with pytest.raises(UserError, match=r"\[examples, 2\] for Regression.*, received \[examples, 5\]"):
        check_answers(method(head, NUMBERS), NUMBERS)


def test_every_boundary_refuses():
    for boundary in (
        lambda made: Trainer(made.learner, made.rule, made.terms, THREE),
        lambda made: FewShotModel(made, THREE),
        lambda made: Exportable(made, THREE, (0.0, 1.0)),
    ):
        with pytest.raises((ValueError, ExportError), match="the head 'dense"):
            boundary(method(K.Dense(4)))


def test_nothing_is_changed_and_the_global_seed_is_left_alone():
    made = with_co_learner(K.Dense(3))
    before = [v.numpy() for v in tf.nest.flatten(made.trained_variables())]
    keras.utils.set_random_seed(3)
    expected = keras.random.normal((2,))
    keras.utils.set_random_seed(3)
    check_answers(made, THREE)
    np.testing.assert_array_equal(keras.random.normal((2,)), expected)
    for left, right in zip(before, tf.nest.flatten(made.trained_variables()), strict=True):
        np.testing.assert_array_equal(left, right)
