"""Normalisation mode `support`: statistics of the support set under the adapted parameters, carried by the task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.adaptation.single_queries import SingleQueries
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import Normalisation, conv4, conv4_co_learner, count_parameters
from cml_tf.learners.learner import functional_call
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_step import evaluate_losses, meta_gradient
from cml_tf.training.method import Method

PROBLEM = Classification(3)


@pytest.fixture(autouse=True)
def float64():
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(5)
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)


def make_method(mode: str, single_queries: bool = False, steps: int = 2) -> Method:
    learner = conv4(3, (16, 16, 1), 4, mode)
    rule = GradientDescent(PROBLEM, SGD(0.1), steps)
    return Method(learner, SingleQueries(rule) if single_queries else rule, [QueryLoss(PROBLEM)])


def make_episode() -> Episode:
    random = np.random.default_rng(2)

    def examples(count):
        labels = np.tile(np.repeat(np.arange(3), count), (2, 1))
        return Examples(tf.constant(random.random((2, 3 * count, 16, 16, 1))), tf.constant(labels, tf.int32))

    return Episode(examples(2), examples(3))


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


def test_company_of_other_queries_matters_under_batch_statistics_only():
    episode = make_episode()
    for mode, differs in (("batch_transductive", True), ("support", False)):
        together = evaluate_losses(make_method(mode), episode)[0]
        keras.utils.set_random_seed(5)
        method = make_method(mode)
        alone = Method(method.learner, SingleQueries(method.rule), method.terms)
        together, alone = evaluate_losses(method, episode)[0], evaluate_losses(alone, episode)[0]
        assert (np.abs(together - alone).max() > 1e-3) == differs
        if not differs:
            np.testing.assert_allclose(alone, together, rtol=1e-10)


def test_statistics_belong_to_the_adapted_parameters():
    method, episode = make_method("support"), make_episode()
    task = tf.nest.map_structure(lambda tensor: tensor[0], episode)
    adapted = method.outcome(method.rule.initial(method.learner), task).adapted
    again = method.learner.call(adapted.parameters, adapted.state, task.support.inputs, (), training=True)
    for kept, expected in zip(adapted.state.extractor, again.state.extractor, strict=True):
        np.testing.assert_allclose(kept, expected, rtol=1e-12)
    assert len(adapted.path) == 3
    first, last = adapted.path[0], adapted.path[-1]
    assert last is adapted
    assert np.abs(first.state.extractor[-1] - adapted.state.extractor[-1]).max() > 1e-6


def test_meta_gradient_passes_through_the_statistics():
    method, episode = make_method("support"), make_episode()
    variables = method.trained_variables()["learner"]
    gradients = meta_gradient(method, episode, method.weights()).gradients["learner"]
    random = np.random.default_rng(3)
    directions = [random.normal(size=variable.shape) for variable in variables]
    start = [variable.numpy() for variable in variables]
    compiled = tf.function(lambda: meta_gradient(method, episode, method.weights()).loss, autograph=False)

    def loss(step):
        for variable, value, direction in zip(variables, start, directions, strict=True):
            variable.assign(value + step * direction)
        return float(compiled())

    step = 1e-6
    expected = (loss(step) - loss(-step)) / (2 * step)
    slope = sum(float(tf.reduce_sum(g * d)) for g, d in zip(gradients, directions, strict=True))
    assert slope == pytest.approx(expected, rel=1e-6)


def test_packed_task_holds_the_statistics():
    method, episode = make_method("support"), make_episode()
    task = tf.nest.map_structure(lambda tensor: tensor[0], episode)
    initial = method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    packed = adapted.pack()
    # All parameters, and a mean and a variance for each of the 4 channels of the 4 blocks.
    assert packed.shape[0] == count_parameters(tuple(method.learner.variables)) + 4 * 8
    again = method.rule.unpack(method.learner, initial, packed, ())
    np.testing.assert_allclose(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1], atol=1e-5)


def test_co_learner_cannot_keep_statistics_of_a_support_set():
    learner = conv4(3, (16, 16, 1), 4, "support")
    term = CoLearner(conv4_co_learner(3, 4, "support"), PROBLEM)
    with pytest.raises(ValueError, match="never sees a support set"):
        Method(learner, GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM), term])
