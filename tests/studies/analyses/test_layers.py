from __future__ import annotations

import keras
import pytest

from cml_tf.learners import Learner, conv4, mlp
from cml_tf.studies.analyses.gradients import parameter_layers
from tests.helpers.nodes import random_gcn, random_sgc


def names(learner):
    return [layer.name for layer in parameter_layers(learner)]


def test_conv4_has_four_convolutions_and_their_normalisations():
    layers = parameter_layers(conv4(3, (16, 16, 1), filters=2))
    assert [layer.name for layer in layers] == [
        f"{kind} {number}" for number in range(1, 5) for kind in ("convolution", "normalisation")
    ]
    assert [layer.has_kernel for layer in layers] == [True, False] * 4
    assert [place for layer in layers for place in layer.positions] == list(range(16))


def test_perceptrons_have_dense_layers_and_heads_do_not_count():
    assert names(mlp(3, (2, 2), hidden=(4, 3))) == ["dense 1", "dense 2"]


def test_frozen_layers_have_no_gradient():
    extractor = keras.Sequential([keras.layers.Dense(3, trainable=False), keras.layers.Dense(2)])
    learner = Learner(extractor, keras.layers.Dense(2), input_shape=(2,))
    (layer,) = parameter_layers(learner)
    assert (layer.name, layer.positions, layer.owner) == ("dense 1", (0, 1), extractor.layers[1])
    extractor = keras.Sequential([keras.layers.Dense(3, trainable=False)])
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_layers(Learner(extractor, keras.layers.Dense(2), input_shape=(2,)))


def test_unknown_layers_keep_their_own_name():
    extractor = keras.Sequential([keras.layers.Conv1D(2, 1, name="strange"), keras.layers.Flatten()])
    assert names(Learner(extractor, keras.layers.Dense(2), input_shape=(3, 1))) == ["strange 1"]


def test_learners_of_nodes_have_a_layer_a_kernel():
    assert names(random_gcn()) == ["graph convolution 1", "graph convolution 2"]
    assert names(random_sgc()) == ["linear 1"]
    assert set(names(random_gcn(matching=True))) == {
        "attribute matching 1",
        "graph convolution 1",
        "graph convolution 2",
    }


@pytest.mark.parametrize(
    "make", [lambda: random_gcn(matching=True), random_sgc, lambda: conv4(3, (16, 16, 1), filters=2)]
)
def test_every_parameter_belongs_to_one_layer(make):
    learner = make()
    places = [place for layer in parameter_layers(learner) for place in layer.positions]
    assert sorted(places) == list(range(len(learner.variables.extractor)))
