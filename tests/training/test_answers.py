"""Heads and co-learners against the problem, in training, use and export: their shape, and that they give logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner, Prototypes, TwoHeads
from cml_tf.models import FewShotModel
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.answers import check_answers
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from export.errors import ExportError
from export.graph.exportable import Exportable
from tests.helpers.precision import precision

K = keras.layers
THREE, NUMBERS = Classification(3), Regression(2)


class OwnSoftmax(keras.layers.Layer):
    """Logits and the softmax in one layer of somebody's own."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, features):
        return tf.nn.softmax(features @ self.kernel)


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


def learner(head, extractor=None):
    return Learner(extractor or keras.Sequential([K.Dense(4, activation="tanh")]), head, input_shape=(5,))


def method(head, problem=THREE, terms=(), extractor=None):
    return Method.of(learner(head, extractor), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem), *terms])


def with_co_learner(layer):
    return method(K.Dense(3), terms=[CoLearner(layer, THREE)])


PROBABILITIES = {
    "softmax": dense,
    "sigmoid": lambda: dense("sigmoid"),
    "a function": lambda: dense(tf.nn.softmax),
    "zeros before it": lambda: dense(kernel_initializer="zeros"),
    "nested": lambda: keras.Sequential([K.Dense(4), keras.Sequential([K.Dense(3), keras.Sequential([K.Softmax()])])]),
    "an operation": lambda: functional(keras.ops.sigmoid),
    "Lambda": lambda: sequence(K.Lambda(tf.nn.softmax)),
    "an own layer": OwnSoftmax,
    "half precision": lambda: dense(dtype="mixed_bfloat16"),
    "one of two heads": lambda: TwoHeads(K.Dense(3), dense()),
}
LOGITS = {
    "linear": lambda: K.Dense(3),
    "log_softmax": lambda: dense("log_softmax"),
    "rectified": lambda: dense("relu"),
    "zeros": lambda: K.Dense(3, kernel_initializer="zeros"),
    "a third each, to begin with": lambda: K.Dense(
        3, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(1 / 3)
    ),
    "softmax inside": lambda: keras.Sequential([K.Dense(4), K.Softmax(), K.Dense(3)]),
    "scaled softmax": lambda: sequence(K.Softmax(), K.Rescaling(20.0)),
    "prototypes": lambda: Prototypes(3),
    "two heads": lambda: TwoHeads(K.Dense(3), K.Dense(3)),
    "reads labels": lambda: Nearest(3, labels=True),
}


@pytest.mark.parametrize("head", LOGITS)
def test_heads_that_give_logits_are_taken(head):
    check_answers(method(LOGITS[head]()), THREE)


def test_other_heads_are_taken():
    check_answers(method(K.UnitNormalization(), extractor=K.Dense(3)), THREE)
    for head in (K.Dense(2, activation="softmax"), Nearest(2, labels=False)):
        check_answers(method(head, NUMBERS), NUMBERS)


IN_UNIT = "must output logits"
REFUSED = {
    **{
        name: (lambda head=head: method(head()), rf"the head '\w+'.* {IN_UNIT}") for name, head in PROBABILITIES.items()
    },
    "no weights": (lambda: method(K.Activation("linear", name="x"), extractor=dense()), f"the head 'x' {IN_UNIT}"),
    "co-learner": (
        lambda: with_co_learner(dense("sigmoid")),
        f"the term 'co_learner' {IN_UNIT}.*remove that activation",
    ),
    "narrow": (
        lambda: method(K.Dense(1)),
        r"\[examples, 3\] for .*ways=3\), received \[examples, 1\]: end it with .* 3 units",
    ),
    "second head": (lambda: method(TwoHeads(K.Dense(3), K.Dense(4))), r"output 1 must .*received \[examples, 4\]"),
    "a map": (lambda: method(K.Reshape((2, 2))), r"received \[examples, 2, 2\]: pool or flatten, and end it"),
    "no axis of outputs": (lambda: method(K.Lambda(lambda x: x[:, 0])), r"received \[examples\]"),
    "one answer for all": (lambda: method(K.Lambda(lambda x: tf.reduce_mean(x, 0)[:3])), r"received \[3\]"),
    "prototypes": (lambda: method(Prototypes(5)), r"received \[examples, 5\]"),
    "reads labels": (lambda: method(Nearest(5, labels=True)), r"the head 'nearest\w*' must .*received \[examples, 5\]"),
    "co-learner's width": (
        lambda: with_co_learner(K.Dense(4)),
        r"term 'co_learner' must output \[examples, 3\].* \[examples, 4\]",
    ),
    "co-learner's map": (lambda: with_co_learner(sequence(K.Reshape((3, 1)))), r"received \[examples, 3, 1\]: pool or"),
    "impossible": (
        lambda: with_co_learner(K.Conv2D(3, 3)),
        r"the co-learner 'conv2d.*' cannot process inputs float32 \[",
    ),
    "no such head": (
        lambda: method(K.Dense(3), terms=[QueryLoss(THREE, head=1, name="second", prefix="second_")]),
        "the term 'second' cannot answer .*head 1 is to be read.*the learner has 1",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_problem_cannot_use_is_refused(make, message):
    with pytest.raises(ValueError, match=message) as refusal:
        check_answers(make(), THREE)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("head", [K.Dense(5), Nearest(5, labels=False)])
def test_regression_has_a_width_too(head):
    with pytest.raises(ValueError, match=r"\[examples, 2\] for Regression.*, received \[examples, 5\]"):
        check_answers(method(head, NUMBERS), NUMBERS)


BOUNDARIES = {
    "Trainer": lambda made, problem: Trainer(made.learner, made.rule, made.terms, problem),
    "FewShotModel": lambda made, problem: FewShotModel(made, problem),
    "export": lambda made, problem: Exportable(made, problem, (0.0, 1.0)),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_boundary_refuses(boundary):
    for head in (K.Dense(4), dense()):
        with pytest.raises(ExportError if boundary == "export" else ValueError, match="the head 'dense"):
            BOUNDARIES[boundary](method(head), THREE)


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


def test_double_precision():
    with precision("float64"):
        check_answers(method(K.Dense(3)), THREE)
        with pytest.raises(ValueError, match=IN_UNIT):
            check_answers(method(dense()), THREE)


@pytest.mark.parametrize("part", ["rule", "term", "co-learner"])
def test_all_parts_are_of_one_problem(part):
    four = Classification(4)
    rule = GradientDescent(four if part == "rule" else THREE, SGD(0.1))
    terms = [QueryLoss(four if part == "term" else THREE)]
    terms += [CoLearner(K.Dense(3), four)] if part == "co-learner" else []
    with pytest.raises(ValueError, match=r"must be for Classification\(ways=3\) like the rest of the method, .*ways=4"):
        Trainer(learner(K.Dense(3)), rule, terms, THREE)
