"""Layers are told which derivatives will be taken of a forward pass, and only of that one."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.learners import Learner, Normalisation
from cml_tf.learners.layers.derivative_order import differentiated_twice, inner_gradient, outer_gradient
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_step import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.seeded_episodes import classification_episode


class Witness(keras.layers.Layer):
    """Writes down what every forward pass was told."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        self.seen.append(differentiated_twice())
        return inputs


def witnessed(hypergradient):
    problem = Classification(3)
    witness = Witness()
    extractor = keras.Sequential([keras.layers.Flatten(), witness, keras.layers.Dense(4)])
    learner = Learner(extractor, keras.layers.Dense(3), input_shape=(4, 4, 1))
    method = Method(
        learner, GradientDescent(problem, SGD(0.1), 2, make_hypergradient(hypergradient)), [QueryLoss(problem)]
    )
    witness.seen.clear()
    return method, witness


@pytest.mark.parametrize("hypergradient, twice", [("reverse", 2), ("first_order", 0)])
def test_inner_steps_are_differentiated_twice_and_queries_once(hypergradient, twice):
    method, witness = witnessed(hypergradient)
    meta_gradient(method, classification_episode(shape=(4, 4, 1), tasks=1), method.weights())
    assert witness.seen == [bool(twice)] * 2 + [False]


def test_rematerialised_steps_are_differentiated_twice_too():
    method, witness = witnessed("reverse_rematerialised")
    tf.function(lambda episode: meta_gradient(method, episode, method.weights()).loss)(
        classification_episode(shape=(4, 4, 1), tasks=2)
    )
    assert witness.seen.count(False) == 1, "only the query set's pass is differentiated once"
    assert witness.seen.count(True) >= 2, "a step forwards, and again backwards"


def test_nothing_is_where_no_outer_loop_is():
    method, witness = witnessed("reverse")
    evaluate_losses(method, classification_episode(shape=(4, 4, 1), tasks=1))
    assert witness.seen and not any(witness.seen)


def test_normalisation_takes_the_form_that_it_is_told():
    """Prepared for two derivatives it pools between two kernels of its own; else one kernel does all but the pool."""

    def kernels(prepared):
        layer = Normalisation(relu=True, pool=2)
        layer.build((None, 4, 4, 2))

        def run(maps):
            with outer_gradient(), inner_gradient(prepared):
                return layer(maps)

        graph = tf.function(run).get_concrete_function(tf.TensorSpec([3, 4, 4, 2])).graph
        return [operation.type for operation in graph.get_operations()].count("FusedBatchNormV3")

    assert (kernels(prepared=True), kernels(prepared=False)) == (2, 1)


def test_an_error_inside_leaves_nothing_behind():
    with pytest.raises(RuntimeError), outer_gradient(), inner_gradient(second_order=True):
        assert differentiated_twice()
        raise RuntimeError
    assert not differentiated_twice()
    with inner_gradient(second_order=True):
        assert not differentiated_twice()
