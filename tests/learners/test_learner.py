"""Any Keras model as a learner: what is accepted, what is refused by name, and calls as pure functions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, RematerialisedReverse, Reverse
from cml_tf.errors import UserError
from cml_tf.learners import Learner, Parameters, TwoHeads, mlp
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.models import randomise, smooth_co_learner
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode, one_task

K = keras.layers


def body(*layers):
    return keras.Sequential([K.Dense(4, activation="tanh"), *layers])


def frozen(layer):
    layer.trainable = False
    return layer


def learner(extractor, head=None, **arguments):
    return Learner(extractor, head or K.Dense(3), **(arguments or {"input_shape": (4,)}))


def shared():
    dense = K.Dense(4)
    return learner(keras.Sequential([dense]), keras.Sequential([dense]))


def built(**arguments):
    return lambda: Learner(K.Conv2D(2, 3), K.Dense(3), **arguments)


def method_of(made, *terms, rule=None):
    return Method.of(made, rule or GradientDescent(PROBLEM, SGD(0.3), 2), [QueryLoss(PROBLEM), *terms])


REFUSED = {
    "a shared variable": (shared, "extractor and head must not share a variable"),
    "everything frozen": (
        lambda: method_of(learner(frozen(K.Dense(4)), frozen(K.Dense(3)))),
        "a trainable variable, but every",
    ),
    "no weights at all": (lambda: method_of(learner(K.ReLU(), K.Flatten())), "a trainable variable"),
    "no input shape": (built(), "exactly one of input_shape"),
    "input shape and example": (built(input_shape=(4,), example_inputs=np.zeros((2, 4))), "exactly one of input_shape"),
    "unknown size": (built(input_shape=(None, 2)), r"positive whole numbers, received \(N"),
    "nothing in it": (built(input_shape=(0,)), r"received \(0,\)"),
    "no examples": (built(example_inputs=np.zeros((0, 2))), r"received float64 \[0, 2\]"),
    "a list of numbers": (built(example_inputs=[[1.0, 2.0]]), r"must be arrays .*float64 \[1, 2\]"),
    "words": (built(example_inputs=np.array(["a", "b"])), "must be numbers, received dtype <U1"),
    "wrong rank": (built(input_shape=(8,)), r"the extractor 'conv2d.*cannot process inputs float32 \[2, 8\]: "),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_learner_cannot_be_built_on_is_told_in_a_line(make, message):
    with pytest.raises(UserError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


class InInferenceMode(keras.Layer):
    """The idiom of Keras' guide to transfer learning: a normalisation that never takes the batch's moments."""

    def __init__(self):
        super().__init__()
        self.inner = K.BatchNormalization()

    def call(self, inputs):
        return self.inner(inputs, training=False)


ACCEPTED = {
    "BatchNormalization that is always in inference mode": InInferenceMode,
    "Dropout of rate 0": lambda: K.Dropout(0.0),
    "frozen BatchNormalization": lambda: frozen(K.BatchNormalization()),
    "RMSNormalization": K.RMSNormalization,
    "layer without training argument": K.Flatten,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_layers_adapt_with_exact_gradients(float64, case):
    made = learner(body(ACCEPTED[case]()), example_inputs=np.zeros((2, 2)))
    randomise(made, 0)
    method = method_of(made, smooth_co_learner(PROBLEM))
    randomise(method.terms[1].variables, 1)
    before = [np.asarray(value) for value in made.initial()[1].extractor]
    assert_matches_central_differences(method, classification_episode())
    for start, end in zip(before, made.initial()[1].extractor, strict=True):
        np.testing.assert_array_equal(start, end)


@pytest.mark.parametrize("make", [K.LayerNormalization, lambda: frozen(K.GroupNormalization(2))])
def test_layers_with_a_wrong_second_derivative_are_for_first_order_only(float64, make):
    made = learner(body(make()), example_inputs=np.zeros((2, 2)))
    for hypergradient in (Reverse(), RematerialisedReverse()):
        with pytest.raises(UserError, match=r"Normalization\) has a wrong second derivative.*first_order"):
            method_of(made, rule=GradientDescent(PROBLEM, SGD(0.3), 2, hypergradient))
    method = method_of(made, rule=GradientDescent(PROBLEM, SGD(0.3), 1, FirstOrder()))
    assert np.isfinite(evaluate_losses(method, classification_episode())[0]).all()


def test_before_all_that_is_learned_they_are_exact(float64):
    made = learner(frozen(body(K.LayerNormalization())), example_inputs=np.zeros((2, 2)))
    randomise(made, 0)
    assert_matches_central_differences(method_of(made), classification_episode())
    with pytest.raises(UserError, match="wrong second derivative"):
        method_of(learner(K.Dense(4), frozen(body(K.LayerNormalization(), K.Dense(3)))))


def test_the_reason_for_that_refusal_still_stands(float64):
    """Should this fail, TensorFlow has mended `tf.nn.moments` and `check_second_derivatives` can go."""

    class Unchecked(Reverse):
        second_order = False

    made = learner(body(K.LayerNormalization()), example_inputs=np.zeros((2, 2)))
    randomise(made, 0)
    method = method_of(made, rule=GradientDescent(PROBLEM, SGD(0.3), 2, Unchecked()))
    with pytest.raises(AssertionError, match="group learner"):
        assert_matches_central_differences(method, classification_episode())


def test_frozen_weights_are_neither_adapted_nor_meta_learned():
    stem = frozen(K.Dense(4))
    made = learner(keras.Sequential([stem, K.Dense(5)]))
    assert [variable.shape for variable in made.variables.extractor] == [(4, 5), (5,)]
    assert [id(variable) for variable in made.state_variables.extractor] == [id(weight) for weight in stem.weights]
    method = method_of(made)
    assert len(method.trained_variables()["learner"]) == 4 and len(method.all_variables()["learner_state"]) == 2


def test_calls_are_pure():
    made = mlp(3, (2,))
    parameters, state = made.initial()
    inputs = np.ones((2, 2), np.float32)
    forward = made.call(parameters, state, inputs, (), training=True)
    np.testing.assert_array_equal(forward.outputs, made.head(made.extractor(inputs)))
    doubled = Parameters(parameters.extractor, tuple(2.0 * value for value in parameters.head))
    np.testing.assert_allclose(made.call(doubled, state, inputs, (), True).outputs, 2.0 * forward.outputs, rtol=1e-6)
    np.testing.assert_array_equal(made.head(made.extractor(inputs)), forward.outputs)


def test_bare_layers_follow_the_dtype_policy():
    """A layer that is no model is called as Keras calls it: inputs and weights in the compute dtype."""
    with precision(policy="mixed_bfloat16"):
        method = method_of(learner(K.Dense(4), example_inputs=np.zeros((2, 2))), CoLearner(K.Dense(3), PROBLEM))
        forward = method.learner.call(*method.learner.initial(), np.ones((2, 2), np.float32), (), False)
        co_outputs = method.terms[1].read((forward.features, forward.outputs), method.term_values()[1])
        gradients = meta_gradient(method, classification_episode(), method.weights()).gradients
    assert {forward.features.dtype, forward.outputs.dtype, co_outputs.dtype} == {tf.bfloat16}
    assert {gradient.dtype for group in gradients.values() for gradient in group} == {tf.float32}


def test_two_heads_return_both_and_cl_adapts_them_on_the_sum_of_their_losses(float64):
    heads = TwoHeads(K.Dense(3), K.Dense(3))
    made = learner(body(), heads)
    features = np.ones((2, 4))
    for received, head in zip(made.head(features), (heads.first, heads.second), strict=True):
        np.testing.assert_array_equal(received, head(features))
    assert len(made.variables.head) == 4
    method, episode = make_method("sgd", "cl"), classification_episode()
    task = one_task(episode, 0)
    adapted = method.rule.adapt(method.learner, method.rule.initial(method.learner), task.support, ())
    first, second = adapted.predict(task.support.inputs)[1]
    expected = sum(float(tf.reduce_mean(PROBLEM.losses(outputs, task.support.targets))) for outputs in (first, second))
    assert float(method.rule.support_loss(PROBLEM, adapted, task.support)) == pytest.approx(expected, rel=1e-12)
    assert set(evaluate_losses(method, episode)[1]) == {"loss", "accuracy", "second_loss", "second_accuracy"}
