"""Normalisation mode `support`: statistics of the support set under the adapted parameters, carried by the task."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.adaptation.single_queries import SingleQueries
from cml_tf.learners import Normalisation, conv4, conv4_co_learner, count_parameters
from cml_tf.learners.learner import functional_call
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_step import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.seeded_episodes import classification_episode, one_task

PROBLEM = Classification(3)


pytestmark = pytest.mark.usefixtures("float64")


def make_method(mode: str) -> Method:
    keras.utils.set_random_seed(5)
    return Method(conv4(3, (16, 16, 1), 4, mode), GradientDescent(PROBLEM, SGD(0.1), 2), [QueryLoss(PROBLEM)])


EPISODE = functools.partial(classification_episode, seed=2, queries=3, shape=(16, 16, 1))


def test_layer_keeps_the_statistics_of_a_support_set_and_predicts_with_them():
    layer = Normalisation("support", epsilon=1e-3)
    random = np.random.default_rng(0)
    support, query = random.normal(2.0, 3.0, (7, 4, 4, 5)), random.normal(size=(1, 4, 4, 5))
    layer(support)
    state = [layer.mean, layer.variance]
    values = [layer.scale.value + 0.5, layer.shift.value + 0.25, layer.mean.value, layer.variance.value]
    variables = [layer.scale, layer.shift, *state]
    _, kept = functional_call(layer, variables, values, state, support, training=True)
    np.testing.assert_allclose(kept[0], support.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(kept[1], support.var((0, 1, 2)), rtol=1e-12)
    answer, after = functional_call(layer, variables, [*values[:2], *kept], state, query, training=False)
    expected = (query - kept[0].numpy()) / np.sqrt(kept[1].numpy() + 1e-3) * 1.5 + 0.25
    np.testing.assert_allclose(answer, expected, rtol=1e-10)
    np.testing.assert_array_equal(after[0], kept[0])
    np.testing.assert_array_equal(layer.mean, np.zeros(5))


@pytest.mark.parametrize(("mode", "differs"), [("batch_transductive", True), ("support", False)])
def test_company_of_other_queries_matters_under_batch_statistics_only(mode, differs):
    method = make_method(mode)
    single = Method(method.learner, SingleQueries(method.rule), method.terms)
    together, alone = (evaluate_losses(one, EPISODE())[0] for one in (method, single))
    assert (np.abs(together - alone).max() > 1e-3) == differs
    if not differs:
        np.testing.assert_allclose(alone, together, rtol=1e-10)


@pytest.fixture
def outcome():
    """A method, its task, and what adaptation learned."""
    method, task = make_method("support"), one_task(EPISODE(), 0)
    return method, task, method.outcome(method.rule.initial(method.learner), task).adapted


def test_statistics_belong_to_the_adapted_parameters(outcome):
    method, task, adapted = outcome
    again = method.learner.call(adapted.parameters, adapted.state, task.support.inputs, (), training=True)
    for kept, expected in zip(adapted.state.extractor, again.state.extractor, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-12)
    assert len(adapted.path) == 3 and adapted.path[-1] is adapted
    assert np.abs(adapted.path[0].state.extractor[-1] - adapted.state.extractor[-1]).max() > 1e-6


def test_meta_gradient_passes_through_the_statistics():
    assert_matches_central_differences(make_method("support"), EPISODE(), seed=3)


def test_packed_task_holds_the_statistics(outcome):
    method, task, adapted = outcome
    packed = adapted.pack()
    # All parameters, and a mean and a variance for each of the 4 channels of the 4 blocks.
    assert packed.shape[0] == count_parameters(tuple(method.learner.variables)) + 4 * 8
    again = method.rule.unpack(method.learner, method.rule.initial(method.learner), packed, ())
    np.testing.assert_allclose(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1], atol=1e-5)


def test_co_learner_cannot_keep_statistics_of_a_support_set():
    learner = conv4(3, (16, 16, 1), 4, "support")
    term = CoLearner(conv4_co_learner(3, 4, "support"), PROBLEM)
    with pytest.raises(ValueError, match="never sees a support set"):
        Method(learner, GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM), term])
