"""Learners of nodes equal their formulas on the whole graph, and touch only a neighbourhood of it.

Their meta-gradients are held against differences by tests/proofs, that they are trained and saved by others.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.graphs import check_graph, graph_context
from cml_tf.learners import GraphConvolutions, gcn, sgc
from cml_tf.learners.layers.graph import AttributeMatching
from tests.helpers.models import randomise
from tests.helpers.nodes import FEATURES, NODES, node_context, random_gcn, random_sgc
from tests.helpers.random_graphs import random_features, random_graph

SOME = np.array([0, 29, 7, 7, 3], np.int32)


def dense_graph():
    """S and X of the tests' graph, by the textbook."""
    graph = random_graph(NODES, FEATURES)
    adjacency = graph.adjacency.toarray().astype(np.float64) + np.eye(NODES)
    scale = 1 / np.sqrt(adjacency.sum(1))
    features = graph.features.toarray().astype(np.float64)
    features /= np.maximum(features.sum(1, keepdims=True), 1e-300)
    return scale[:, None] * adjacency * scale, features


def relu_layers(layer, alpha=0.0, beta=0.0):
    """The whole graph through a GCN, as one would write it on paper."""
    adjacency, features = dense_graph()
    hidden = np.asarray((adjacency @ features) * (1.0 + alpha) + beta)
    for number, (kernel, bias) in enumerate(zip(layer.kernels, layer.biases, strict=True)):
        below = hidden if number == 0 else adjacency @ np.maximum(hidden, 0.0)
        hidden = below @ kernel.numpy() + bias.numpy()
    return hidden


@pytest.mark.parametrize("hidden", [(4,), (6, 5, 4)], ids=len)
def test_graph_convolutions_are_the_formula(float64, hidden):
    layer = GraphConvolutions(FEATURES, hidden)
    randomise(layer.trainable_variables, 1)
    np.testing.assert_allclose(layer(SOME, context=node_context()), relu_layers(layer)[SOME], rtol=1e-12, atol=1e-13)


def test_propagated_features_are_the_formula(float64):
    learner = random_sgc()
    adjacency, features = dense_graph()
    kernel, bias = (variable.numpy() for variable in learner.variables.extractor)
    received = learner.extractor(SOME, context=node_context(hops=2))
    np.testing.assert_allclose(received, (adjacency @ adjacency @ features)[SOME] @ kernel + bias, rtol=1e-12)


def test_only_the_neighbourhood_is_touched():
    """What lies further away than the learner has layers may be anything, NaN too."""
    chain = np.stack([np.arange(9), np.arange(1, 10)], 1)
    features = random_features(10, FEATURES, 0) + 1.0
    learner = random_gcn()
    near = graph_context(check_graph(chain, features, np.zeros(10, np.int64)), 1)
    values = near.features.values.numpy().copy()
    values[near.features.row_splits[2] :] = np.nan
    poisoned = near._replace(features=near.features._replace(values=tf.constant(values)))

    def outputs(node, context):
        return learner.call(*learner.initial(), tf.constant([node]), context, False).outputs

    np.testing.assert_array_equal(outputs(0, poisoned), outputs(0, near))
    assert np.isnan(outputs(1, poisoned)).all()


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
    layer = random_gcn(matching=True).extractor
    support, query = np.array([4, 9, 17], np.int32), np.array([0, 8, 29], np.int32)
    adjacency, features = dense_graph()
    layer.matching.keep(tf.constant((adjacency @ features)[support]))
    alpha, beta = layer.matching.modulation()
    assert np.abs(alpha).max() > 1e-3 and np.abs(beta).max() > 1e-3
    expected = relu_layers(layer, alpha, beta)[query]
    np.testing.assert_allclose(layer(query, context=node_context()), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gcn(2, 5, ()), "hidden must contain at least one"),
        (lambda: gcn(2, 0), "features must be at least 1"),
        (lambda: gcn(2, 5, head="cosine"), "one of linear, prototypes"),
        (lambda: sgc(2, 5, hidden=0), "hidden must be positive"),
        (lambda: gcn(1, 5, head="prototypes"), "at least 2"),
        (lambda: gcn(5, 30, head="prototypes", initialisation="zero_head"), "zero_head"),
    ],
)
def test_what_makes_no_learner_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
