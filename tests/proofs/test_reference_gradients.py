"""Loss and meta-gradients of CML on the conv net against numbers of the authors' released code, in float64.

The numbers were made once by running that code in its own framework. They lie beside the checkout, not in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import conv4, conv4_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method

NUMBERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "reference_gradients" / "gradients.npz"
pytestmark = pytest.mark.skipif(not NUMBERS.exists(), reason="the authors' numbers are not beside this checkout")
WAYS, FILTERS = 5, 8
# Names of the reference in the order of our variables: kernel, bias, scale, shift of each block, then the linear layer.
BLOCK = ("0.weight", "0.bias", "1.weight", "1.bias")
LEARNER = [*(f"conv{k}.{part}" for k in range(1, 5) for part in BLOCK), "meta_learner.weight", "meta_learner.bias"]
CO_LEARNER = [
    *(f"fixed_conv{k}.{part}" for k in (1, 2) for part in BLOCK),
    "fixed_cls.weight",
    "fixed_cls.bias",
]


@pytest.fixture(scope="module")
def numbers():
    with np.load(NUMBERS, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def ours(array: np.ndarray) -> np.ndarray:
    """From outputs first to outputs last."""
    return np.transpose(array, {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim))


def episode_of(numbers) -> Episode:
    parts = []
    for inputs, labels in (("sx", "sy"), ("qx", "qy")):
        images = np.moveaxis(numbers[inputs], 2, -1)
        targets = np.tile(numbers[labels].astype("int32"), (len(images), 1))
        parts.append(Examples(tf.constant(images), tf.constant(targets)))
    return Episode(*parts)


def method_of(numbers, steps: int, gamma: float, first_order: bool) -> Method:
    problem = Classification(WAYS)
    learner = conv4(WAYS, (28, 28, 1), FILTERS)
    co_learner = CoLearner(conv4_co_learner(WAYS, FILTERS), problem, weight=gamma)
    hypergradient = make_hypergradient("first_order" if first_order else "reverse")
    rule = GradientDescent(problem, SGD(float(numbers["inner_rate"])), steps, hypergradient)
    method = Method.of(learner, rule, [QueryLoss(problem), co_learner])
    variables = [*learner.variables.extractor, *learner.variables.head, *co_learner.variables]
    names = [*(f"w/{name}" for name in LEARNER), *(f"c/{name}" for name in CO_LEARNER)]
    for variable, name in zip(variables, names, strict=True):
        variable.assign(ours(numbers[name]))
    return method


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 3])
def test_loss_and_meta_gradients_are_those_of_the_authors_code(float64, numbers, steps, gamma, first_order):
    method = method_of(numbers, steps, gamma, first_order)
    result = meta_gradient(method, episode_of(numbers), method.weights())
    case = f"g/{steps}/{gamma}/{int(first_order)}"
    np.testing.assert_allclose(result.loss, numbers[f"{case}/loss"], rtol=1e-10)
    for group, folder, names in (("learner", "m", LEARNER), ("co_learner", "c", CO_LEARNER)):
        for gradient, name in zip(result.gradients[group], names, strict=True):
            expected = ours(numbers[f"{case}/{folder}/{name}"])
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-10 * scale, err_msg=f"{folder}/{name}")
