"""The provided learners: the papers' sizes, ResNet-12's blocks, prototypes, what all begin with, refusals."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Examples
from cml_tf.learners import (
    Convolution,
    Learner,
    Normalisation,
    Prototypes,
    ResidualBlock,
    TwoHeads,
    conv4,
    conv4_co_learner,
    count_parameters,
    gcn,
    mlp,
    mlp_co_learner,
    resnet12,
    resnet12_co_learner,
    sgc,
)
from cml_tf.learners.layers.initialisation import INITIALISATIONS, linear
from cml_tf.objectives import CoLearner
from cml_tf.problems import Classification, Regression
from tests.helpers.models import randomise

WAYS = 5


def size_of_co_learner(layer, learner, problem=None):
    term = CoLearner(layer, problem or Classification(WAYS))
    term.build(learner)
    return count_parameters(term.variables)


def resnet12_size(filters, channels, outputs):
    total, before = 0, channels
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        total += 9 * before * width + 2 * 9 * width * width + before * width + 4 * 2 * width
        before = width
    return total + before * outputs + outputs


def test_sizes_are_the_papers():
    learner = conv4(WAYS, (84, 84, 3))
    assert count_parameters(tuple(learner.variables)) == 121_093
    sizes = [size_of_co_learner(conv4_co_learner(WAYS, blocks=blocks), learner) for blocks in (0, 1, 2)]
    assert sizes == [8_005, 45_061, 82_117] and size_of_co_learner(conv4_co_learner(WAYS), learner) == 82_117
    assert learner.example_features.shape == (2, 10, 10, 64)
    assert count_parameters(tuple(conv4(WAYS, (84, 84, 3), extra_blocks=3).variables)) == 232_261, "More-MAML"
    assert count_parameters(conv4(WAYS, (84, 84, 3), head_blocks=2).variables.head) == 82_117
    assert count_parameters(tuple(mlp(1, (1,)).variables)) == 1_761
    assert size_of_co_learner(mlp_co_learner(1), mlp(1, (1,)), Regression(1)) == 1_681
    assert resnet12_size(64, 3, WAYS) == 7_999_365
    learner = resnet12(WAYS, (32, 32, 3), filters=8)
    assert count_parameters(tuple(learner.variables)) == resnet12_size(8, 3, WAYS)
    assert learner.example_features.shape == (2, 4, 4, 64)
    expected = 2 * (9 * 64 * 64 + 64 + 2 * 64) + 64 * WAYS + WAYS
    assert size_of_co_learner(resnet12_co_learner(WAYS, filters=8), learner) == expected


def test_any_size_and_number_of_channels():
    learner = conv4(3, (33, 47, 2), filters=4)
    assert learner.example_features.shape == (2, 4, 5, 4) and learner.variables.head[0].shape == (2 * 2 * 4, 3)
    assert learner.call(*learner.initial(), np.ones((6, 33, 47, 2), np.float32), (), False).outputs.shape == (6, 3)
    assert mlp(3, (4, 4, 2), hidden=(5,)).variables.extractor[0].shape == (32, 5), "images are flattened"


SMALL = r"at least 16x16, .*received"
REFUSED = {
    **{f"{make.__name__} {s}": (make, s, SMALL) for make in (conv4, resnet12) for s in ((15, 16, 1), (16, 15, 1))},
    **{f"{make.__name__} {s}": (make, s, SMALL) for make in (conv4, resnet12) for s in ((28, 28), (2, 28, 28, 1))},
    **{
        f"{make.__name__} {shape}": (make, shape, "positive whole numbers, received")
        for make in (mlp, conv4, resnet12)
        for shape in (28, (0, 28, 1), "28")
    },
    "no hidden layer": (lambda *_: mlp(1, (1,), hidden=()), None, "at least one width"),
    **{
        make.__name__: (lambda *_, make=make: make(5, blocks=-1), None, "0 or more, received -1")
        for make in (conv4_co_learner, resnet12_co_learner)
    },
    "blocks of a head": (lambda *_: conv4(5, (16, 16, 1), head_blocks=-1), None, "received -1"),
}


@pytest.mark.parametrize(("make", "shape", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_learner_is_refused(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make(5, shape)


def normalised(maps, norm):
    mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
    return norm.scale.numpy() * (maps - mean) / np.sqrt(variance + 1e-5) + norm.shift.numpy()


def leaky(maps):
    # TensorFlow keeps the slope in single precision, whatever the maps are.
    return np.where(maps > 0, maps, float(np.float32(0.1)) * maps)


def test_a_residual_block_is_what_it_says(float64):
    block = ResidualBlock(3, pool=2)
    block.build((None, 5, 6, 2))
    randomise(block.trainable_variables, 0, scale=1.0)
    maps = inputs = np.random.default_rng(1).standard_normal((4, 5, 6, 2))
    for number, (convolution, norm) in enumerate(zip(block.convolutions, block.normalisations, strict=True)):
        convolved = tf.nn.conv2d(leaky(maps) if number else maps, convolution.kernel.value, 1, "SAME")
        maps = normalised(convolved.numpy(), norm)
    past = tf.nn.conv2d(inputs, block.shortcut.kernel.value, 1, "SAME").numpy()
    past = normalised(past, block.shortcut_normalisation)
    outputs = leaky(maps + past)[:, :4].reshape(4, 2, 2, 3, 2, 3).max((2, 4))
    np.testing.assert_allclose(block(inputs), outputs, rtol=1e-10, atol=1e-10)


def test_statistics_of_the_support_set_follow_the_task():
    learner = resnet12(3, (16, 16, 1), filters=1, normalisation="support")
    threaded = tf.nest.flatten(tuple(learner.threaded_state()))
    assert len(threaded) == 4 * 4 * 2 and all(threaded)
    images = np.random.default_rng(0).random((6, 16, 16, 1), np.float32)
    parameters, state = learner.initial()
    after = learner.call(parameters, state, images, (), True).state
    alone = [learner.call(parameters, after, images[[number]], (), False).outputs[0] for number in range(2)]
    together = learner.call(parameters, after, images, (), False).outputs
    np.testing.assert_allclose(alone, together[:2], rtol=1e-4, atol=1e-5)


# ---- prototypes

FEATURES = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
LABELS = np.array([2, 0, 1, 2, 0, 2], np.int32)


def expected_logits(features, seen):
    """Minus the squared distances to the class means of a support set's features."""
    prototypes = np.stack([seen[way == LABELS].mean(0) for way in range(3)])
    return -((features[:, None] - prototypes[None]) ** 2).sum(-1)


def test_logits_of_prototypes_are_minus_squared_distances_to_class_means():
    head = Prototypes(3)
    received = head(FEATURES, training=True, targets=tf.constant(LABELS))
    np.testing.assert_allclose(received, expected_logits(FEATURES, FEATURES), rtol=1e-5)
    np.testing.assert_allclose(head(FEATURES[:2] + 1.0), expected_logits(FEATURES[:2] + 1.0, FEATURES), rtol=1e-5)
    wider = Prototypes(4)
    hard = wider(FEATURES, training=True, targets=tf.constant(LABELS))
    soft = wider(FEATURES, training=True, targets=tf.one_hot(LABELS, 4))
    np.testing.assert_allclose(soft, hard, rtol=1e-6)
    np.testing.assert_array_equal(wider.prototypes.numpy()[3], np.zeros(4), err_msg="a class without examples")
    with pytest.raises(ValueError, match="targets must be passed in training"):
        head(FEATURES, training=True)


def test_an_adapted_task_predicts_with_the_prototypes_of_the_adapted_features():
    learner = Learner(keras.layers.Dense(4, activation="tanh"), Prototypes(3), input_shape=(5,))
    randomise(learner, 0)
    rule = GradientDescent(Classification(3), SGD(0.2), 2)
    rule.build(learner)
    inputs = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
    support, initial = Examples(tf.constant(inputs), tf.constant(LABELS)), rule.initial(learner)
    adapted = rule.adapt(learner, initial, support, ())
    features, outputs = adapted.predict(support.inputs)
    np.testing.assert_allclose(outputs, expected_logits(features.numpy(), features.numpy()), rtol=1e-4)
    assert np.abs(adapted.parameters.extractor[0] - initial.parameters.extractor[0]).max() > 1e-3
    again = rule.unpack(learner, initial, adapted.pack(), ())
    np.testing.assert_array_equal(again.predict(support.inputs)[1], outputs)


def test_gradients_reach_the_features_through_the_prototypes(float64):
    head = Prototypes(3, dtype="float64")

    def loss(features):
        logits = head(features, training=True, targets=tf.constant(LABELS))
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.constant(LABELS), logits))

    head(tf.constant(FEATURES, tf.float64))
    theoretical, numerical = tf.test.compute_gradient(loss, [tf.constant(FEATURES, tf.float64)], delta=1e-5)
    np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-6, atol=1e-8)


# ---- what all begin with

LEARNERS = {
    "conv4": lambda **start: conv4(5, (28, 28, 3), 16, extra_blocks=1, head_blocks=1, **start),
    "resnet12": lambda **start: resnet12(5, (16, 16, 3), 4, **start),
    "mlp": lambda **start: mlp(5, (20,), (50, 40), **start),
    "gcn": lambda **start: gcn(5, 30, (40, 20), **start),
    "sgc": lambda **start: sgc(5, 30, 40, **start),
}
CO_LEARNERS = {
    "conv4": (lambda **start: conv4_co_learner(5, 16, **start), (2, 7, 7, 16)),
    "resnet12": (lambda **start: resnet12_co_learner(5, 4, **start), (2, 4, 4, 32)),
    "mlp": (lambda **start: mlp_co_learner(5, 40, **start), (2, 40)),
}
of_parts = pytest.mark.parametrize(
    ("name", "part"), [(name, "learner") for name in LEARNERS] + [(name, "co_learner") for name in CO_LEARNERS]
)


def variables_of(name: str, part: str, **start) -> list[keras.Variable]:
    """All variables of a learner, or of the co-learner that goes with it, in order."""
    keras.utils.set_random_seed(0)
    if part == "learner":
        return tf.nest.flatten(tuple(LEARNERS[name](**start).variables))
    make, features = CO_LEARNERS[name]
    layer = make(**start)
    layer(np.zeros(features, "float32"))
    return layer.trainable_variables


def kernels_and_biases(variables):
    """Pairs of a kernel and the bias that follows it; None where a layer has none or adds none (`idle_bias`)."""
    named = [variable for variable in variables if not variable.path.endswith(("scale", "shift"))]
    for position, variable in enumerate(named):
        if variable.name.startswith("kernel"):
            follower = named[position + 1] if position + 1 < len(named) else None
            biased = follower is not None and follower.name.startswith("bias") and "convolution" not in follower.path
            yield variable.numpy(), follower.numpy() if biased else None


@of_parts
def test_first_weights_are_as_their_names_say(name, part):
    drawn = list(kernels_and_biases(variables_of(name, part, initialisation="fan_in_uniform")))
    assert len({kernel.tobytes() for kernel, _ in drawn}) == len(drawn)
    for kernel, bias in drawn:
        bound = np.prod(kernel.shape[:-1]) ** -0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert abs(kernel.std() / (bound / 3**0.5) - 1.0) < 0.1 and abs(kernel.mean()) < 0.2 * bound
        assert bias is None or 0.3 * bound < np.abs(bias).max() <= bound
    for kernel, bias in kernels_and_biases(variables_of(name, part, initialisation="glorot_uniform")):
        bound = (6.0 / (np.prod(kernel.shape[:-2]) * (kernel.shape[-2] + kernel.shape[-1]))) ** 0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert bias is None or not bias.any()
    *others, (kernel, bias) = kernels_and_biases(variables_of(name, part, initialisation="zero_head"))
    assert kernel.any() == bias.any() == (part == "co_learner"), "co-learners must say something"
    assert all(kernel.any() and (bias is None or bias.any()) for kernel, bias in others)
    with pytest.raises(ValueError, match=rf"one of {', '.join(INITIALISATIONS)}, received 'he_normal'"):
        variables_of(name, part, initialisation="he_normal")


def test_first_weights_follow_from_the_seed():
    for one, other in zip(*(variables_of("mlp", "learner") for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)


LAYERS = {
    **{name: lambda name=name: LEARNERS[name](initialisation="glorot_uniform").extractor for name in ("gcn", "sgc")},
    "normalisation": lambda: Normalisation("group", epsilon=0.5, groups=2),
    "residual block": lambda: ResidualBlock(3, "support", 2),
    "linear": lambda: linear(3, "fan_in_uniform"),
    "convolution": lambda: Convolution(3, 2, dilation_rate=2),
    "prototypes": lambda: Prototypes(3),
    "two heads": lambda: TwoHeads(keras.layers.Dense(3), keras.layers.Dense(4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_made_again_from_their_configuration(name):
    layer = LAYERS[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer) and again.get_config() == layer.get_config()
