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
    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        self.seen.append(differentiated_twice())
        return inputs


def seen_under(hypergradient, run):
    """What every forward pass of two inner steps and a query set was told."""
    problem, witness = Classification(3), Witness()
    extractor = keras.Sequential([keras.layers.Flatten(), witness, keras.layers.Dense(4)])
    learner = Learner(extractor, keras.layers.Dense(3), input_shape=(4, 4, 1))
    rule = GradientDescent(problem, SGD(0.1), 2, make_hypergradient(hypergradient))
    method = Method(learner, rule, [QueryLoss(problem)])
    witness.seen.clear()
    run(method, classification_episode(shape=(4, 4, 1), tasks=1))
    return list(witness.seen)


def step(method, episode):
    return meta_gradient(method, episode, method.weights()).loss


def test_inner_steps_are_differentiated_twice_and_queries_once():
    assert seen_under("reverse", step) == [True, True, False]
    assert seen_under("first_order", step) == [False] * 3
    seen = seen_under("reverse", evaluate_losses)
    assert seen and not any(seen), "there is no outer loop"
    seen = seen_under("reverse_rematerialised", lambda method, episode: tf.function(step)(method, episode))
    # A step forwards, and again backwards.
    assert seen.count(False) == 1 and seen.count(True) >= 2


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
