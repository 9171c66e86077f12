"""What provided learners begin with: bounds, spread, zeros, by name, and through Keras' serialisation."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cml_tf.learners import conv4, conv4_co_learner, gcn, mlp, mlp_co_learner, resnet12, resnet12_co_learner, sgc
from cml_tf.learners.layers.initialisation import INITIALISATIONS, Linear, linear

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


def variables_of(name: str, part: str, **start) -> list[keras.Variable]:
    """All variables of a learner, or of the co-learner that goes with it, in order."""
    keras.utils.set_random_seed(0)
    if part == "learner":
        return [*LEARNERS[name](**start).variables.extractor, *LEARNERS[name](**start).variables.head]
    make, features = CO_LEARNERS[name]
    layer = make(**start)
    layer(np.zeros(features, "float32"))
    return layer.trainable_variables


PARTS = [(name, "learner") for name in LEARNERS] + [(name, "co_learner") for name in CO_LEARNERS]


def kernels_and_biases(variables):
    """Pairs of a kernel and the bias that follows it; None where a layer has none or adds none (`idle_bias`)."""
    named = [variable for variable in variables if not variable.path.endswith(("scale", "shift"))]
    for position, variable in enumerate(named):
        if variable.name.startswith("kernel"):
            follower = named[position + 1] if position + 1 < len(named) else None
            biased = follower is not None and follower.name.startswith("bias") and "convolution" not in follower.path
            yield variable.numpy(), follower.numpy() if biased else None


of_parts = pytest.mark.parametrize(("name", "part"), PARTS)


@of_parts
def test_uniform_kernels_fill_their_bounds_and_no_more(name, part):
    for kernel, bias in kernels_and_biases(variables_of(name, part, initialisation="fan_in_uniform")):
        bound = np.prod(kernel.shape[:-1]) ** -0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert abs(kernel.std() / (bound / 3**0.5) - 1.0) < 0.1 and abs(kernel.mean()) < 0.2 * bound
        assert bias is None or 0.3 * bound < np.abs(bias).max() <= bound
    for kernel, bias in kernels_and_biases(variables_of(name, part, initialisation="glorot_uniform")):
        bound = (6.0 / (np.prod(kernel.shape[:-2]) * (kernel.shape[-2] + kernel.shape[-1]))) ** 0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound
        assert bias is None or not bias.any()


@of_parts
def test_zero_head_begins_with_equal_outputs_and_with_co_learners_that_say_something(name, part):
    *others, (kernel, bias) = kernels_and_biases(variables_of(name, part, initialisation="zero_head"))
    assert kernel.any() == bias.any() == (part == "co_learner")
    for kernel, bias in others:
        assert kernel.any() and (bias is None or bias.any())


@of_parts
def test_every_layer_draws_numbers_of_its_own_and_a_seed_repeats_them(name, part):
    first, second = (variables_of(name, part) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    kernels = [kernel.tobytes() for kernel, _ in kernels_and_biases(first)]
    assert len(set(kernels)) == len(kernels)


@of_parts
def test_an_unknown_name_is_refused_with_the_known_ones(name, part):
    with pytest.raises(ValueError, match=rf"must be one of {', '.join(INITIALISATIONS)}, received 'he_normal'"):
        variables_of(name, part, initialisation="he_normal")


def test_prototypes_have_no_weights_to_begin_at_zero():
    with pytest.raises(ValueError, match="prototypes must not be zero_head"):
        gcn(5, 30, head="prototypes", initialisation="zero_head")


def test_a_linear_layer_survives_keras_serialisation():
    layer = linear(3, "fan_in_uniform")
    layer.build((None, 4))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(again, Linear) and again.bias_begins_as_kernel
    again.set_weights(layer.get_weights())
    inputs = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(again(inputs), layer(inputs))


@pytest.mark.parametrize("name", ["conv4", "resnet12", "gcn", "sgc"])
def test_extractors_remember_what_they_began_with(name):
    learner = LEARNERS[name](initialisation="glorot_uniform")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(learner.extractor))
    assert again.get_config() == learner.extractor.get_config()
