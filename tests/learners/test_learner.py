"""Any Keras model as a learner: what is accepted, what is refused by name, and calls as pure functions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, RematerialisedReverse, Reverse
from cml_tf.learners import Learner, Parameters, TwoHeads, mlp
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.training.meta_step import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.models import randomise, smooth_co_learner
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode, one_task


def body(*layers):
    return keras.Sequential([keras.layers.Dense(4, activation="tanh"), *layers])


class Nested(keras.Model):
    """A subclassed model with the layer in question deep inside."""

    def __init__(self, layer):
        super().__init__()
        self.block = keras.Sequential([keras.layers.Dense(4), keras.Sequential([layer])])

    def call(self, inputs, training=False):
        return self.block(inputs, training=training)


def frozen(layer):
    layer.trainable = False
    return layer


def shared():
    dense = keras.layers.Dense(4)
    return Learner(keras.Sequential([dense]), keras.Sequential([dense]), input_shape=(4,))


def learner(extractor, head=None, **arguments):
    arguments = arguments or {"input_shape": (4,)}
    return Learner(extractor, head or keras.layers.Dense(3), **arguments)


REFUSED = {
    "Dropout": (lambda: learner(body(keras.layers.Dropout(0.5))), r"'dropout.*' \(Dropout\) draws random numbers"),
    "Dropout in the head": (
        lambda: learner(body(), keras.Sequential([keras.layers.Dropout(0.1), keras.layers.Dense(3)])),
        r"\(Dropout\) draws random numbers",
    ),
    "Dropout deep inside": (lambda: learner(Nested(keras.layers.Dropout(0.5))), r"\(Dropout\) draws random numbers"),
    "frozen Dropout": (lambda: learner(body(frozen(keras.layers.Dropout(0.5)))), r"\(Dropout\) draws random numbers"),
    "GaussianNoise": (
        lambda: learner(body(keras.layers.GaussianNoise(1.0))),
        r"\(GaussianNoise\) draws random numbers",
    ),
    "BatchNormalization": (
        lambda: learner(body(keras.layers.BatchNormalization())),
        r"'batch_normalization.*' \(BatchNormalization\) keeps running state.*Normalisation instead.*trainable = False",
    ),
    "BatchNormalization deep inside": (
        lambda: learner(Nested(keras.layers.BatchNormalization())),
        r"\(BatchNormalization\) keeps running state",
    ),
    "BatchNormalization in the head": (
        lambda: learner(body(), keras.Sequential([keras.layers.BatchNormalization(), keras.layers.Dense(3)])),
        r"\(BatchNormalization\) keeps running state",
    ),
    "SpectralNormalization": (
        lambda: learner(keras.layers.SpectralNormalization(keras.layers.Dense(4))),
        r"\(SpectralNormalization\) (keeps running state|draws random numbers)",
    ),
    "a shared variable": (shared, r"extractor and head share a variable"),
    "everything frozen": (
        lambda: learner(frozen(keras.layers.Dense(4)), frozen(keras.layers.Dense(3))),
        r"no trainable variable: every layer is frozen or has no weights",
    ),
    "no weights at all": (lambda: learner(keras.layers.ReLU(), keras.layers.Flatten()), r"no trainable variable"),
    "no input shape": (
        lambda: Learner(body(), keras.layers.Dense(3)),
        r"exactly one of input_shape and example_inputs",
    ),
    "input shape and example": (
        lambda: learner(body(), input_shape=(4,), example_inputs=np.zeros((2, 4))),
        r"exactly one of input_shape and example_inputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


@keras.saving.register_keras_serializable("tests")
class InInferenceMode(keras.Layer):
    """The idiom of Keras' guide to transfer learning: a normalisation that never takes the batch's moments."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.BatchNormalization()

    def call(self, inputs):
        return self.inner(inputs, training=False)


ACCEPTED = {
    "BatchNormalization that is always in inference mode": InInferenceMode,
    "Dropout of rate 0": lambda: keras.layers.Dropout(0.0),
    "frozen BatchNormalization": lambda: frozen(keras.layers.BatchNormalization()),
    "RMSNormalization": keras.layers.RMSNormalization,
    "UnitNormalization": keras.layers.UnitNormalization,
    "frozen Dense": lambda: frozen(keras.layers.Dense(4)),
    "layer without training argument": keras.layers.Flatten,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_layers_adapt_with_exact_gradients(float64, case):
    made = learner(body(ACCEPTED[case]()), example_inputs=np.zeros((2, 2)))
    randomise(made, 0)
    method = Method(made, GradientDescent(PROBLEM, SGD(0.3), steps=2), [QueryLoss(PROBLEM), smooth_co_learner(PROBLEM)])
    randomise(method.terms[1].variables, 1)
    before = [np.asarray(value) for value in made.initial()[1].extractor]
    assert_matches_central_differences(method, classification_episode())
    for start, end in zip(before, made.initial()[1].extractor, strict=True):
        np.testing.assert_array_equal(start, end)


MOMENTS = {
    "LayerNormalization": keras.layers.LayerNormalization,
    "frozen LayerNormalization": lambda: frozen(keras.layers.LayerNormalization()),
    "GroupNormalization": lambda: keras.layers.GroupNormalization(2),
}


@pytest.mark.parametrize("case", MOMENTS)
def test_layers_with_a_wrong_second_derivative_are_for_first_order_only(float64, case):
    made = learner(body(MOMENTS[case]()), example_inputs=np.zeros((2, 2)))
    for rule in (
        GradientDescent(PROBLEM, SGD(0.3)),
        GradientDescent(PROBLEM, SGD(0.3), 2, RematerialisedReverse()),
    ):
        with pytest.raises(ValueError, match=r"Normalization\) has a wrong second derivative.*first_order"):
            Method(made, rule, [QueryLoss(PROBLEM)])
    method = Method(made, GradientDescent(PROBLEM, SGD(0.3), 1, FirstOrder()), [QueryLoss(PROBLEM)])
    assert np.isfinite(evaluate_losses(method, classification_episode())[0]).all()


def test_the_reason_for_that_refusal_still_stands(float64):
    """Should this fail, TensorFlow has mended `tf.nn.moments` and `check_second_derivatives` can go."""

    class Unchecked(Reverse):
        second_order = False

    made = learner(body(keras.layers.LayerNormalization()), example_inputs=np.zeros((2, 2)))
    randomise(made, 0)
    method = Method(made, GradientDescent(PROBLEM, SGD(0.3), 2, Unchecked()), [QueryLoss(PROBLEM)])
    with pytest.raises(AssertionError, match="group learner"):
        assert_matches_central_differences(method, classification_episode())


def test_frozen_weights_are_neither_adapted_nor_meta_learned():
    stem = frozen(keras.layers.Dense(4))
    made = learner(keras.Sequential([stem, keras.layers.Dense(5)]))
    assert [variable.shape for variable in made.variables.extractor] == [(4, 5), (5,)]
    assert [id(variable) for variable in made.state_variables.extractor] == [id(weight) for weight in stem.weights]
    method = Method(made, GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM)])
    assert len(method.trained_variables()["learner"]) == 4
    assert len(method.all_variables()["learner_state"]) == 2


def test_frozen_batch_normalisation_ignores_the_batch():
    """Its statistics are constants, in training mode too: one example is told the same alone as among others."""
    norm = frozen(keras.layers.BatchNormalization())
    made = learner(body(norm))
    norm.moving_mean.assign(np.full(4, 0.25))
    parameters, state = made.initial()
    inputs = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    together = made.call(parameters, state, inputs, (), training=True).outputs
    alone = made.call(parameters, state, inputs[:1], (), training=True).outputs
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-5, atol=1e-6)


def test_calls_are_pure():
    """Other parameters give other outputs, and leave the variables alone."""
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
        made = learner(keras.layers.Dense(4), example_inputs=np.zeros((2, 2)))
        method = Method(
            made, GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM), CoLearner(keras.layers.Dense(3), PROBLEM)]
        )
        forward = made.call(*made.initial(), np.ones((2, 2), np.float32), (), False)
        co_outputs = method.terms[1].read((forward.features, forward.outputs), method.term_values()[1])
        gradients = meta_gradient(method, classification_episode(), method.weights()).gradients
    assert {forward.features.dtype, forward.outputs.dtype, co_outputs.dtype} == {tf.bfloat16}
    assert {gradient.dtype for group in gradients.values() for gradient in group} == {tf.float32}


def test_structured_inputs():
    """Inputs may be any structure; every leaf carries the task and example axes."""
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    model = keras.Model({"left": left, "right": right}, keras.layers.Dense(4, activation="tanh")(joined))
    made = learner(model, example_inputs={"left": np.zeros((2, 2)), "right": np.zeros((2, 3))})
    method = Method(made, GradientDescent(PROBLEM, SGD(0.3)), [QueryLoss(PROBLEM)])
    plain, wide = classification_episode(shape=(2,)), classification_episode(shape=(3,))
    episode = plain._replace(
        **{
            part: getattr(plain, part)._replace(
                inputs={"left": getattr(plain, part).inputs, "right": getattr(wide, part).inputs}
            )
            for part in ("support", "query")
        }
    )
    assert np.isfinite(evaluate_losses(method, episode)[0]).all()


def test_two_heads_return_both_and_come_back_from_their_configuration():
    heads = TwoHeads(keras.layers.Dense(3), keras.layers.Dense(3))
    made = learner(body(), heads)
    features = np.ones((2, 4), np.float32)
    outputs = made.head(features)
    np.testing.assert_array_equal(outputs[0], heads.first(features))
    np.testing.assert_array_equal(outputs[1], heads.second(features))
    assert len(made.variables.head) == 4
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(heads))
    assert isinstance(again, TwoHeads) and again.second.units == 3


def test_cl_adapts_both_heads_on_the_sum_of_their_losses(float64):
    method, episode = make_method("sgd", "cl"), classification_episode()
    task = one_task(episode, 0)
    initial = method.rule.initial(method.learner)
    adapted = method.rule.adapt(method.learner, initial, task.support, ())
    first, second = adapted.predict(task.support.inputs)[1]
    expected = sum(float(tf.reduce_mean(PROBLEM.losses(outputs, task.support.targets))) for outputs in (first, second))
    assert float(method.rule.support_loss(PROBLEM, adapted, task.support)) == pytest.approx(expected, rel=1e-12)
    assert set(evaluate_losses(method, episode)[1]) == {"loss", "accuracy", "second_loss", "second_accuracy"}
