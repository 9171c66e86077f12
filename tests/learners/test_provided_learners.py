"""The provided learners: parameter counts of the paper, any image size that leaves something, refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cml_tf.learners import (
    conv4,
    conv4_co_learner,
    count_parameters,
    mlp,
    mlp_co_learner,
    resnet12,
    resnet12_co_learner,
)
from cml_tf.objectives import CoLearner
from cml_tf.problems import Classification, Regression

WAYS = 5


def co_learner_parameters(learner, **arguments):
    term = CoLearner(conv4_co_learner(WAYS, **arguments), Classification(WAYS))
    term.build(learner)
    return count_parameters(term.variables)


def test_parameters_at_84x84_are_the_papers():
    learner = conv4(WAYS, (84, 84, 3))
    assert count_parameters(tuple(learner.variables)) == 121_093
    assert [co_learner_parameters(learner, blocks=blocks) for blocks in (0, 1, 2)] == [8_005, 45_061, 82_117]
    assert co_learner_parameters(learner) == 82_117 and learner.example_features.shape == (2, 10, 10, 64)
    assert count_parameters(tuple(conv4(WAYS, (84, 84, 3), extra_blocks=3).variables)) == 232_261, "More-MAML"
    assert count_parameters(conv4(WAYS, (84, 84, 3), head_blocks=2).variables.head) == 82_117


@pytest.mark.parametrize(
    ("shape", "features"),
    [((16, 16, 1), (2, 2, 2, 4)), ((28, 28, 1), (2, 3, 3, 4)), ((33, 47, 2), (2, 4, 5, 4))],
)
def test_any_size_and_number_of_channels(shape, features):
    learner = conv4(3, shape, filters=4)
    assert learner.example_features.shape == features
    forward = learner.call(*learner.initial(), np.ones((6, *shape), np.float32), (), False)
    assert forward.outputs.shape == (6, 3)
    head_inputs = (features[1] // 2) * (features[2] // 2) * 4
    assert learner.variables.head[0].shape == (head_inputs, 3)


@pytest.mark.parametrize("make", [conv4, resnet12])
@pytest.mark.parametrize("shape", [(15, 16, 1), (16, 15, 1), (28, 28), (2, 28, 28, 1)])
def test_images_that_leave_nothing_are_refused(make, shape):
    with pytest.raises(ValueError, match=r"\(height, width, channels\) of at least 16x16, received"):
        make(5, shape)


def test_the_papers_regressor():
    learner = mlp(1, (1,))
    assert [variable.shape for variable in learner.variables.extractor] == [(1, 40), (40,), (40, 40), (40,)]
    assert [variable.shape for variable in learner.variables.head] == [(40, 1), (1,)]
    assert count_parameters(tuple(learner.variables)) == 1_761
    term = CoLearner(mlp_co_learner(1), Regression(1))
    term.build(learner)
    assert [variable.shape for variable in term.variables] == [(40, 40), (40,), (40, 1), (1,)]


@pytest.mark.parametrize("make", [mlp, conv4, resnet12])
@pytest.mark.parametrize("shape", [28, (0, 28, 1), None, "28"])
def test_a_shape_that_is_none_is_refused(make, shape):
    with pytest.raises(ValueError, match=rf"tuple of positive whole numbers, received {re.escape(repr(shape))}"):
        make(5, shape)


def test_mlp_flattens_images_and_needs_a_hidden_layer():
    assert mlp(3, (4, 4, 2), hidden=(5,)).variables.extractor[0].shape == (32, 5)
    with pytest.raises(ValueError, match="at least one hidden layer"):
        mlp(1, (1,), hidden=())


@pytest.mark.parametrize(
    "make",
    [
        lambda: conv4(5, (16, 16, 1), head_blocks=-1),
        lambda: conv4_co_learner(5, blocks=-1),
        lambda: resnet12_co_learner(5, blocks=-1),
    ],
)
def test_there_is_no_negative_number_of_blocks(make):
    with pytest.raises(ValueError, match="0 blocks or more, received -1"):
        make()
