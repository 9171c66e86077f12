"""Fast layers equal plain ones, differentiated by TensorFlow, and know which derivatives will be taken of them."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.peers.plain import plain_conv4, plain_conv4_co_learner
from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.learners import Convolution, Learner, Normalisation, conv4, conv4_co_learner
from cml_tf.learners.layers.derivative_order import differentiated_twice, inner_gradient, outer_gradient
from cml_tf.learners.normalisation.fused import affine_relu, standardised_pool
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.few_shot import image_trainer
from tests.helpers.models import two_blocks
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode

PROBLEM = Classification(3)
# Odd sizes: pools drop a row and a column, statistics do not.
SHAPE = (19, 18, 2)
FILTERS = 5
EPSILON = 1e-5


def make_method(make_learner, make_co_learner, mode="batch_transductive", hypergradient="reverse"):
    keras.utils.set_random_seed(0)
    learner = make_learner(PROBLEM.outputs, SHAPE, FILTERS, mode)
    terms = [QueryLoss(PROBLEM), CoLearner(make_co_learner(PROBLEM.outputs, FILTERS), PROBLEM, weight=0.7)]
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.1), 1, make_hypergradient(hypergradient)), terms)
    generator = np.random.default_rng(3)
    for variables in method.trained_variables().values():
        for variable in variables:
            # Scales of both signs, biases and shifts that are not zero.
            variable.assign(variable + 0.3 * generator.standard_normal(variable.shape))
            if variable.name == "scale":
                variable.assign(variable * generator.choice([-1.0, 1.0], variable.shape))
    return method


def shortened(make_learner):
    """Makes learners of two of four blocks."""
    return lambda *arguments: two_blocks(make_learner, *arguments)


def compare(mode, tolerance, hypergradient="reverse"):
    episode = classification_episode(shape=SHAPE, tasks=1)
    made = (mode, hypergradient)
    fast = make_method(shortened(conv4), functools.partial(conv4_co_learner, blocks=1), *made)
    plain = make_method(shortened(plain_conv4), functools.partial(plain_conv4_co_learner, blocks=1), *made)
    for group, variables in plain.trained_variables().items():
        for variable, same in zip(variables, fast.trained_variables()[group], strict=True):
            variable.assign(same)
    # In a graph, where kernels are exchanged for others that remember what pooling chose.
    received = tf.function(lambda: meta_gradient(fast, episode, fast.weights()), autograph=False)()
    expected = meta_gradient(plain, episode, plain.weights())
    np.testing.assert_allclose(received.term_losses, expected.term_losses, rtol=tolerance)
    for group, gradients in expected.gradients.items():
        size = max(np.abs(gradient).max() for gradient in gradients)
        for ours, theirs in zip(received.gradients[group], gradients, strict=True):
            np.testing.assert_allclose(ours / size, theirs / size, atol=tolerance, err_msg=group)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "hypergradient"), [("batch_transductive", "reverse"), ("support", "reverse_rematerialised")]
)
def test_loss_and_meta_gradient_equal_the_plain_ones(float64, mode, hypergradient):
    compare(mode, 1e-10, hypergradient)


def test_the_kernels_of_float32_do_within_their_precision():
    compare("batch_transductive", 1e-4)


def plain_pool(maps, sign, pool):
    axes = list(range(len(maps.shape) - 1))
    mean = tf.reduce_mean(maps, axes)
    variance = tf.reduce_mean(tf.square(maps - mean), axes)
    standard = sign * (maps - mean) * tf.math.rsqrt(variance + EPSILON)
    return tf.nn.max_pool2d(standard, pool, pool, "VALID") if pool > 1 else standard, mean, variance


def derivatives(function, inputs, order):
    """Of a scalar that mixes all of a function's results, up to an order, each contracted with a fixed direction."""
    generator = np.random.default_rng(1)
    directions = [tf.constant(generator.standard_normal(tensor.shape), tensor.dtype) for tensor in inputs]

    def contracted(tensors):
        mixed = [tf.reduce_sum(tf.cos(tensor) * (1.0 + position)) for position, tensor in enumerate(tensors)]
        return tf.add_n(mixed)

    def derivative(level, inputs):
        if level == 0:
            return contracted(function(*inputs))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            value = derivative(level - 1, inputs)
        gradients = tape.gradient(value, inputs)
        if level == order:
            return gradients
        return tf.add_n([tf.reduce_sum(g * d) for g, d in zip(gradients, directions, strict=True)])

    return derivative(order, inputs)


# Blank backgrounds make windows of equal entries: one of them gets the gradient, whichever pooling chose.
MAPS = {
    "different": (np.random.default_rng(0).standard_normal((3, 7, 8, 4)), [1.0, -1.0, -1.0, 1.0]),
    "ties": (np.random.default_rng(0).integers(0, 2, (2, 6, 6, 3)), [1.0] * 3),
}


def pooled(kind, pool):
    maps, sign = (tf.constant(array, tf.float64) for array in MAPS[kind])
    return (
        lambda maps: standardised_pool(maps, sign, EPSILON, pool),
        lambda maps: plain_pool(maps, sign, pool),
        [maps],
    )


def rectified(relu):
    generator = np.random.default_rng(0)
    inputs = [tf.constant(generator.standard_normal(shape), tf.float64) for shape in ((3, 4, 5, 2), (2,), (2,))]

    def plain(maps, factor, offset):
        outputs = maps * factor + offset
        return [tf.nn.relu(outputs) if relu else outputs]

    return lambda *inputs: [affine_relu(*inputs, relu=relu)], plain, inputs


KERNELS = [(pooled, "different", 1), (pooled, "different", 2), (pooled, "ties", 2)]
KERNELS += [(rectified, True), (rectified, False)]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: "-".join(map(str, kernel[1:])))
def test_derivatives_of_the_fused_kernels_are_those_of_plain_ones(float64, kernel, order):
    make, *arguments = kernel
    fused, plain, inputs = make(*arguments)
    received, expected = (derivatives(function, inputs, order) for function in (fused, plain))
    for ours, theirs in zip(received, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_a_bias_before_a_normalisation_has_no_gradient_at_all():
    method = make_method(conv4, conv4_co_learner)
    result = meta_gradient(method, classification_episode(shape=SHAPE, tasks=1), method.weights())
    biases = [
        gradient
        for group in ("learner", "co_learner")
        for variable, gradient in zip(method.trained_variables()[group], result.gradients[group], strict=True)
        if "convolution" in variable.path and variable.name == "bias"
    ]
    assert len(biases) == 6 and not np.any(biases)


@pytest.mark.slow
def test_half_precision_is_no_less_precise_than_the_plain_layers():
    """Over episodes: of one alone either is ahead, by up to twice, and which one depends on the processor."""

    def learner_gradients(make_learner, make_co_learner, policy):
        keras.backend.clear_session()
        with precision(policy=policy):
            method = make_method(make_learner, make_co_learner)
            gradient = tf.function(
                lambda episode: meta_gradient(method, episode, method.weights()).gradients["learner"],
                autograph=False,
            )
            found = [gradient(classification_episode(seed, shape=SHAPE)) for seed in range(24)]
        return np.stack([np.concatenate([np.ravel(part) for part in parts]) for parts in found])

    exact = learner_gradients(conv4, conv4_co_learner, "float32")
    fast = learner_gradients(conv4, conv4_co_learner, "mixed_bfloat16")
    plain = learner_gradients(plain_conv4, plain_conv4_co_learner, "mixed_bfloat16")
    assert (np.linalg.norm(fast - exact, axis=1) > 0.0).all()
    assert np.linalg.norm(fast - exact) < 1.2 * np.linalg.norm(plain - exact)
    # Of the gradient's own size, which rules out that both are lost.
    assert np.linalg.norm(fast - exact) < 0.5 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "same", "activation": "relu"},
        {"strides": 2, "use_bias": False},
        {"dilation_rate": 2, "bias_initializer": "random_normal"},
    ],
    ids=str,
)
def test_equals_keras_own(arguments):
    images = np.random.default_rng(0).standard_normal((2, 9, 8, 3)).astype(np.float32)
    keras_own, ours = keras.layers.Conv2D(5, 3, **arguments), Convolution(5, 3, **arguments)
    keras_own(images)
    ours(images)
    ours.set_weights([np.random.default_rng(1).standard_normal(w.shape) for w in keras_own.get_weights()])
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images), keras_own(images), rtol=1e-5, atol=1e-5)


def test_no_bias_of_a_convolution_goes_through_bias_add():
    """Only the linear heads may: a matrix product has no filter gradient that it could be merged with."""
    method = image_trainer(ways=3).method
    task = tf.nest.map_structure(lambda tensor: tensor[0], classification_episode(ways=3, shape=(16, 16, 1), tasks=1))
    losses = tf.function(
        lambda: method.losses(method.rule.initial(method.learner), method.term_values(), task), autograph=False
    )
    graph = losses.get_concrete_function().graph
    biases = [operation for operation in graph.get_operations() if operation.type == "BiasAdd"]
    assert biases and all(len(operation.inputs[0].shape) == 2 for operation in biases)


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
    method = Method.of(learner, rule, [QueryLoss(problem)])
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
    seen = seen_under(
        "reverse_rematerialised", lambda method, episode: tf.function(step, autograph=False)(method, episode)
    )
    # A step forwards, and again backwards.
    assert seen.count(False) == 1 and seen.count(True) >= 2
    with pytest.raises(RuntimeError), outer_gradient(), inner_gradient(second_order=True):
        assert differentiated_twice()
        raise RuntimeError
    assert not differentiated_twice(), "an error leaves nothing behind"


def test_normalisation_takes_the_form_that_it_is_told():
    """Prepared for two derivatives it pools between two kernels of its own; else one kernel does all but the pool."""

    def kernels(prepared):
        layer = Normalisation(relu=True, pool=2)
        layer.build((None, 4, 4, 2))

        def run(maps):
            with outer_gradient(), inner_gradient(prepared):
                return layer(maps)

        graph = tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec([3, 4, 4, 2])).graph
        return [operation.type for operation in graph.get_operations()].count("FusedBatchNormV3")

    assert (kernels(prepared=True), kernels(prepared=False)) == (2, 1)
