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


def functional(activation):
    features = keras.Input((4,))
    return keras.Model(features, activation(K.Dense(3)(features)))


def learner(head, extractor=None, shape=(5,)):
    return Learner(extractor or keras.Sequential([K.Dense(4, activation="tanh")]), head, input_shape=shape)


def method(head, problem=THREE, terms=(), **arguments):
    return Method(learner(head, **arguments), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem), *terms])


PROBABILITIES = {
    "softmax": lambda: K.Dense(3, activation="softmax"),
    "sigmoid": lambda: K.Dense(3, activation="sigmoid"),
    "hard sigmoid": lambda: K.Dense(3, activation="hard_sigmoid"),
    "a function": lambda: K.Dense(3, activation=tf.nn.softmax),
    "Keras' function": lambda: K.Dense(3, activation=keras.activations.softmax),
    "zeros before it": lambda: K.Dense(3, activation="softmax", kernel_initializer="zeros"),
    "Softmax": lambda: keras.Sequential([K.Dense(3), K.Softmax()]),
    "Activation": lambda: keras.Sequential([K.Dense(3), K.Activation("softmax")]),
    "nested": lambda: keras.Sequential([K.Dense(4), keras.Sequential([K.Dense(3), keras.Sequential([K.Softmax()])])]),
    "functional": lambda: functional(K.Softmax()),
    "an operation": lambda: functional(keras.ops.sigmoid),
    "Lambda": lambda: keras.Sequential([K.Dense(3), K.Lambda(tf.nn.softmax)]),
    "an own layer": OwnSoftmax,
    "half precision": lambda: K.Dense(3, activation="softmax", dtype="mixed_bfloat16"),
    "one of two heads": lambda: TwoHeads(K.Dense(3), K.Dense(3, activation="softmax")),
}
LOGITS = {
    "linear": lambda: K.Dense(3),
    "log_softmax": lambda: K.Dense(3, activation="log_softmax"),
    "rectified": lambda: K.Dense(3, activation="relu"),
    "tanh": lambda: K.Dense(3, activation="tanh"),
    "zeros": lambda: K.Dense(3, kernel_initializer="zeros"),
    "a third each, to begin with": lambda: K.Dense(
        3, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(1 / 3)
    ),
    "softmax inside": lambda: keras.Sequential([K.Dense(4), K.Softmax(), K.Dense(3)]),
    "scaled softmax": lambda: keras.Sequential([K.Dense(3), K.Softmax(), K.Rescaling(20.0)]),
    "no weights": lambda: K.UnitNormalization(),
    "prototypes": lambda: Prototypes(3),
    "two heads": lambda: TwoHeads(K.Dense(3), K.Dense(3)),
}


@pytest.mark.parametrize("head", PROBABILITIES)
def test_heads_that_give_probabilities_are_refused(head):
    with pytest.raises(ValueError, match=r"the head '\w+'.* gives values from 0 to 1 .*end it without") as refusal:
        check_answers(method(PROBABILITIES[head]()), THREE)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("head", LOGITS)
def test_heads_that_give_logits_are_taken(head):
    extractor = keras.Sequential([K.Dense(3)]) if head == "no weights" else None
    check_answers(method(LOGITS[head](), extractor=extractor), THREE)


def test_a_head_without_weights_is_judged_behind_its_extractor():
    with pytest.raises(ValueError, match="the head 'linear' gives values from 0 to 1"):
        check_answers(method(K.Activation("linear", name="linear"), extractor=K.Dense(3, activation="softmax")), THREE)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_regression_may_be_held_between_0_and_1(head):
    check_answers(method(K.Dense(2, activation=head), NUMBERS), NUMBERS)


@pytest.mark.parametrize("layer", ["softmax", "sigmoid"])
def test_co_learners_that_give_probabilities_are_refused(layer):
    co_learner = CoLearner(K.Dense(3, activation=layer), THREE)
    with pytest.raises(ValueError, match="the term 'co_learner' gives values from 0 to 1"):
        check_answers(method(K.Dense(3), terms=[co_learner]), THREE)


SHAPES = {
    "too narrow": (
        lambda: K.Dense(1),
        THREE,
        r"\[examples, 3\] for Classification\(ways=3\), received \[examples, 1\]",
    ),
    "too wide": (lambda: K.Dense(7), THREE, r"received \[examples, 7\]: end it in a layer of 3 units"),
    "narrow regression": (lambda: K.Dense(1), NUMBERS, r"\[examples, 2\] for Regression.*, received \[examples, 1\]"),
    "wide regression": (lambda: K.Dense(5), NUMBERS, r"received \[examples, 5\]"),
    "second head": (lambda: TwoHeads(K.Dense(3), K.Dense(4)), THREE, r"output 1 must .*received \[examples, 4\]"),
    "a map": (lambda: K.Reshape((2, 2)), THREE, r"received \[examples, 2, 2\]: pool or flatten, and end it"),
    "no axis of outputs": (lambda: K.Lambda(lambda x: x[:, 0]), THREE, r"received \[examples\]"),
    "one answer for all": (lambda: K.Lambda(lambda x: tf.reduce_mean(x, 0)[:3]), THREE, r"received \[3\]"),
    "prototypes": (lambda: Prototypes(5), THREE, r"received \[examples, 5\]"),
}


@pytest.mark.parametrize(("head", "problem", "message"), SHAPES.values(), ids=SHAPES)
def test_heads_of_another_shape_are_refused(head, problem, message):
    with pytest.raises(ValueError, match=message) as refusal:
        check_answers(method(head(), problem), problem)
    assert "\n" not in str(refusal.value)


CO_LEARNERS = {
    "width": (lambda: K.Dense(4), r"the term 'co_learner' must give \[examples, 3\].*received \[examples, 4\]"),
    "map": (lambda: keras.Sequential([K.Dense(6), K.Reshape((2, 3))]), r"received \[examples, 2, 3\]: pool or flatten"),
    "impossible": (lambda: K.Conv2D(3, 3), r"the co-learner 'conv2d.*' cannot take inputs float32 \[2, 4\]: "),
}


@pytest.mark.parametrize(("layer", "message"), CO_LEARNERS.values(), ids=CO_LEARNERS)
def test_co_learners_of_another_shape_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        check_answers(method(K.Dense(3), terms=[CoLearner(layer(), THREE)]), THREE)


def test_a_head_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="the term 'second' cannot answer .*head 1 is to be read.*the learner has 1"):
        check_answers(method(K.Dense(3), terms=[QueryLoss(THREE, head=1, name="second", prefix="second_")]), THREE)


BOUNDARIES = {
    "Trainer": lambda made, problem: Trainer(made.learner, made.rule, made.terms, problem),
    "FewShotModel": lambda made, problem: FewShotModel(made, problem),
    "export": lambda made, problem: Exportable(made, problem, (0.0, 1.0)),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("head", [K.Dense(4), K.Dense(3, activation="softmax")], ids=["width", "softmax"])
def test_every_boundary_refuses(boundary, head):
    head = head.__class__.from_config(head.get_config())
    with pytest.raises(ExportError if boundary == "export" else ValueError, match="the head 'dense"):
        BOUNDARIES[boundary](method(head), THREE)


def test_nothing_is_changed_and_the_global_seed_is_left_alone():
    made = method(K.Dense(3), terms=[CoLearner(K.Dense(3), THREE)])
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
        with pytest.raises(ValueError, match="gives values from 0 to 1"):
            check_answers(method(K.Dense(3, activation="softmax")), THREE)


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


@pytest.mark.parametrize("labels", [True, False])
def test_heads_that_read_targets_are_taken_and_checked(labels):
    problem = THREE if labels else NUMBERS
    check_answers(method(Nearest(problem.outputs, labels), problem), problem)
    with pytest.raises(ValueError, match=r"the head 'nearest\w*' must give .*received \[examples, 5\]"):
        check_answers(method(Nearest(5, labels), problem), problem)


@pytest.mark.parametrize("part", ["rule", "term", "co-learner"])
def test_all_parts_are_of_one_problem(part):
    four = Classification(4)
    rule = GradientDescent(four if part == "rule" else THREE, SGD(0.1))
    terms = [QueryLoss(four if part == "term" else THREE)]
    terms += [CoLearner(K.Dense(3), four)] if part == "co-learner" else []
    with pytest.raises(ValueError, match=r"must be of Classification\(ways=3\) as the rest is, .*ways=4"):
        Trainer(learner(K.Dense(3)), rule, terms, THREE)
