"""Learners of nodes equal their formulas on the whole graph, and touch only a neighbourhood of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.graphs import check_graph, graph_context
from cml_tf.learners import GraphConvolutions, gcn, mlp_co_learner, sgc
from cml_tf.learners.layers.graph import AttributeMatching
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.differences import assert_same_gradients
from tests.helpers.models import randomise
from tests.helpers.nodes import FEATURES, NODES, WAYS, node_context, node_episode, random_gcn, random_sgc
from tests.helpers.random_graphs import random_features, random_graph

PROBLEM = Classification(WAYS)


def dense_graph():
    """S and X of the tests' graph, by the textbook."""
    graph = random_graph(NODES, FEATURES)
    adjacency = graph.adjacency.toarray().astype(np.float64) + np.eye(NODES)
    scale = 1 / np.sqrt(adjacency.sum(1))
    features = graph.features.toarray().astype(np.float64)
    features /= np.maximum(features.sum(1, keepdims=True), 1e-300)
    return scale[:, None] * adjacency * scale, features


def relu_layers(kernels, biases, alpha=0.0, beta=0.0):
    """The whole graph through a GCN, as one would write it on paper; differentiable."""
    adjacency, features = dense_graph()
    hidden = tf.constant(adjacency @ features) * (1.0 + alpha) + beta
    for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        below = hidden if number == 0 else tf.constant(adjacency) @ tf.nn.relu(hidden)
        hidden = below @ kernel + bias
    return hidden


def values_of(layer):
    return [[tf.convert_to_tensor(variable) for variable in group] for group in (layer.kernels, layer.biases)]


SOME = np.array([0, 29, 7, 7, 3], np.int32)


@pytest.mark.parametrize("hidden", [(4,), (5, 4), (6, 5, 4)], ids=len)
def test_graph_convolutions_are_the_formula(float64, hidden):
    layer = GraphConvolutions(FEATURES, hidden)
    randomise(layer.trainable_variables, 1)
    expected = relu_layers(*values_of(layer)).numpy()[SOME]
    np.testing.assert_allclose(layer(SOME, context=node_context()), expected, rtol=1e-12, atol=1e-13)


def test_propagated_features_are_the_formula(float64):
    learner = random_sgc()
    adjacency, features = dense_graph()
    kernel, bias = (variable.numpy() for variable in learner.variables.extractor)
    received = learner.extractor(SOME, context=node_context(hops=2))
    np.testing.assert_allclose(received, (adjacency @ adjacency @ features)[SOME] @ kernel + bias, rtol=1e-12)


def test_meta_gradient_equals_that_of_the_whole_graph_written_plainly(float64):
    """Two inner steps, second order, with a co-learner: against dense matrices and nested tapes."""
    learner = random_gcn()
    co_learner = CoLearner(mlp_co_learner(WAYS, 3, "tanh"), PROBLEM, weight=0.7)
    rule = GradientDescent(PROBLEM, SGD(0.3), 2)
    method, episode = Method.of(learner, rule, [QueryLoss(PROBLEM), co_learner]), node_episode()
    received = tf.function(lambda: meta_gradient(method, episode, method.weights()))()
    start = [tf.convert_to_tensor(v) for v in (*learner.variables.extractor, *learner.variables.head)]
    phi = [tf.convert_to_tensor(v) for v in co_learner.variables]

    def cross_entropy(logits, labels):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def features_of(values, nodes):
        return tf.gather(relu_layers([values[0], values[2]], [values[1], values[3]]), nodes)

    def task_loss(number):
        values = start
        for _ in range(2):
            with tf.GradientTape() as tape:
                tape.watch(values)
                features = features_of(values, episode.support.inputs[number])
                loss = cross_entropy(features @ values[4] + values[5], episode.support.targets[number])
            values = [v - 0.3 * g for v, g in zip(values, tape.gradient(loss, values), strict=True)]
        features, labels = features_of(values, episode.query.inputs[number]), episode.query.targets[number]
        co_outputs = tf.tanh(features @ phi[0] + phi[1]) @ phi[2] + phi[3]
        return cross_entropy(features @ values[4] + values[5], labels) + 0.7 * cross_entropy(co_outputs, labels)

    with tf.GradientTape() as outer:
        outer.watch([start, phi])
        expected_loss = (task_loss(0) + task_loss(1)) / 2.0
    of_learner, of_phi = outer.gradient(expected_loss, [start, phi])
    np.testing.assert_allclose(received.loss, expected_loss, rtol=1e-10)
    assert_same_gradients(
        {group: received.gradients[group] for group in ("learner", "co_learner")},
        {"learner": [tf.convert_to_tensor(part) for part in of_learner], "co_learner": of_phi},
        1e-9,
    )


def test_only_the_neighbourhood_is_touched():
    """What lies further away than the learner has layers may be anything, NaN too."""
    chain = np.stack([np.arange(9), np.arange(1, 10)], 1)
    features = random_features(10, FEATURES, 0) + 1.0
    learner = random_gcn()
    graph = check_graph(chain, features, np.zeros(10, np.int64))
    near = graph_context(graph, 1)
    values = near.features.values.numpy().copy()
    values[near.features.row_splits[2] :] = np.nan
    poisoned = near._replace(features=near.features._replace(values=tf.constant(values)))
    parameters, state = learner.initial()

    def outputs(node, context):
        return learner.call(parameters, state, tf.constant([node]), context, False).outputs

    np.testing.assert_array_equal(outputs(0, poisoned), outputs(0, near))
    assert np.isnan(outputs(1, poisoned)).all()


@pytest.mark.parametrize("make", [random_sgc, lambda: random_gcn("prototypes", matching=True)], ids=["sgc", "gcn"])
def test_a_second_step_is_not_traced_and_training_learns(make):
    method = Method.of(make(), GradientDescent(PROBLEM, SGD(0.1), 3), [QueryLoss(PROBLEM)])
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.Adam(0.01)))
    losses = [float(step(node_episode(seed % 3)).term_losses.numpy().mean()) for seed in range(30)]
    assert step.traces == 1 and np.isfinite(losses).all() and np.mean(losses[-6:]) < np.mean(losses[:6])


def test_attribute_matching_starts_as_the_identity_and_is_blind_to_order():
    layer = AttributeMatching(FEATURES)
    attributes = tf.constant(random_features(6, FEATURES, 3), tf.float32)
    np.testing.assert_array_equal(layer(attributes, training=True), attributes)
    randomise(layer.trainable_variables, 4)
    once = layer(attributes, training=True).numpy()
    shuffled = layer(tf.gather(attributes, [5, 2, 0, 1, 4, 3]), training=True).numpy()
    np.testing.assert_allclose(shuffled[[2, 3, 1, 5, 4, 0]], once, rtol=1e-5)
    assert np.abs(once - attributes).max() > 0.05
    # Other nodes of the task are seen through what the support set had.
    np.testing.assert_allclose(layer(attributes[:2]), once[:2], rtol=1e-5)


def test_matching_in_the_first_kernel_equals_matching_the_attributes(float64):
    learner = random_gcn(matching=True)
    layer, context = learner.extractor, node_context()
    support, query = np.array([4, 9, 17], np.int32), np.array([0, 8, 29], np.int32)
    adjacency, features = dense_graph()
    layer.matching.keep(tf.constant((adjacency @ features)[support]))
    alpha, beta = layer.matching.modulation()
    assert np.abs(alpha).max() > 1e-3 and np.abs(beta).max() > 1e-3
    expected = relu_layers(*values_of(layer), alpha, beta)
    np.testing.assert_allclose(layer(query, context=context), expected.numpy()[query], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gcn(2, 5, ()), "hidden must contain at least one positive width"),
        (lambda: gcn(2, 0), "features must be at least 1"),
        (lambda: gcn(2, 5, head="cosine"), "the head of a node learner must be one of linear, prototypes"),
        (lambda: sgc(2, 5, hidden=0), "hidden must be positive"),
        (lambda: gcn(1, 5, head="prototypes"), "ways must be at least 2"),
    ],
)
def test_what_makes_no_learner_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_made_again_from_their_configuration():
    for learner in (random_gcn(matching=True), random_gcn("prototypes"), random_sgc()):
        for layer in (learner.extractor, learner.head):
            again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
            assert type(again) is type(layer) and again.get_config() == layer.get_config()
