"""Toy learners through the real Method and MetaStep: a graph as context, and a layer whose state follows the task."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, make_hypergradient
from cml_tf.episodes import Episode
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import randomise, smooth_co_learner
from tests.helpers.seeded_episodes import classification_episode, one_task, tasks_of
from tests.helpers.stepping import steps_and_compiles_once
from tests.helpers.toy_rules import GraphConvolution, PassCounter

CLASSES = Classification(3)
EXACT = ["reverse", "reverse_rematerialised"]

# ---- a learner whose forward pass needs a graph

ADJACENCY = np.array(
    [[0.5, 0.5, 0, 0, 0], [0.3, 0.4, 0.3, 0, 0], [0, 0.2, 0.6, 0.2, 0], [0, 0, 0.5, 0, 0.5], [1, 0, 0, 0, 1]]
)


def graph_case(sparse: bool, hypergradient: str = "reverse") -> tuple[Method, Episode]:
    adjacency = tf.constant(ADJACENCY, keras.config.floatx())
    context = {
        "features": tf.constant(np.random.default_rng(0).standard_normal((5, 3)), keras.config.floatx()),
        "adjacency": tf.sparse.from_dense(adjacency) if sparse else adjacency,
    }
    learner = Learner(GraphConvolution(4), keras.layers.Dense(3), example_inputs=np.zeros(2, np.int32), context=context)
    randomise(learner, 0)
    rule = GradientDescent(CLASSES, MetaSGD(0.5), 2, make_hypergradient(hypergradient))
    method = Method.of(learner, rule, [QueryLoss(CLASSES), smooth_co_learner(CLASSES)])
    randomise(method.terms[1].variables, 1)
    nodes = classification_episode(shape=())
    generator = np.random.default_rng(1)
    support, query = (
        part._replace(inputs=tf.constant(generator.integers(0, 5, part.inputs.shape), tf.int32)) for part in nodes[:2]
    )
    return method, Episode(support, query, context)


@pytest.mark.parametrize("hypergradient", EXACT)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_a_learner_with_a_graph(float64, sparse, hypergradient):
    method, episode = graph_case(sparse, hypergradient)
    assert_matches_central_differences(method, episode)
    if hypergradient == "reverse":
        steps_and_compiles_once(method, episode)


def test_sparse_and_dense_graphs_agree(float64):
    (dense, dense_episode), (sparse, sparse_episode) = graph_case(False), graph_case(True)
    assert_same_gradients(gradients_of(sparse, sparse_episode), gradients_of(dense, dense_episode))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_a_graph_is_shared_by_a_number_of_tasks_that_is_not_known(float64, sparse):
    method, episode = graph_case(sparse)
    expected, _ = evaluate_losses(method, episode)
    losses = tf.function(
        lambda parts, context: evaluate_losses(method, Episode(*parts, context))[0],
        autograph=False,
        input_signature=[
            tf.nest.map_structure(lambda t: tf.TensorSpec([None, t.shape[1]], t.dtype), tuple(episode)[:2]),
            tf.nest.map_structure(tf.type_spec_from_value, episode.context),
        ],
    )
    np.testing.assert_allclose(losses(tuple(episode)[:2], episode.context), expected, rtol=1e-12)


# ---- a layer whose state belongs to one task


def counting_method(steps: int = 2) -> Method:
    extractor = keras.Sequential([keras.layers.Dense(3, activation="tanh"), PassCounter()])
    learner = Learner(extractor, keras.layers.Dense(3), input_shape=(2,))
    randomise(learner, 0)
    return Method.of(learner, GradientDescent(CLASSES, SGD(0.3), steps), [QueryLoss(CLASSES)])


def test_threaded_state_follows_the_task_and_starts_anew(float64):
    method, episode = counting_method(), classification_episode()
    initial = method.rule.initial(method.learner)
    for position in range(2):
        adapted = method.outcome(initial, one_task(episode, position)).adapted
        # Two steps, and the pass that leaves the state of the parameters which predict.
        assert [float(value) for value in adapted.state.extractor] == [3.0]
    assert [float(iterate.state.extractor[0]) for iterate in adapted.path] == [1.0, 2.0, 3.0]
    assert float(method.learner.state_variables.extractor[0]) == 0.0
    assert_matches_central_differences(method, episode)
    reverse = gradients_of(method, episode)
    method.rule.hypergradient = make_hypergradient("reverse_rematerialised")
    assert_same_gradients(gradients_of(method, episode), reverse)


def test_threaded_state_is_packed():
    method, task = counting_method(), one_task(classification_episode(), 0)
    initial = method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    packed = adapted.pack()
    assert float(packed[-1]) == 3.0
    again = method.rule.unpack(method.learner, initial, packed, ())
    np.testing.assert_array_equal(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1])


def test_threaded_state_does_not_pass_from_task_to_task(float64):
    method, episode = counting_method(), classification_episode(tasks=3)
    together, _ = evaluate_losses(method, episode)
    for position in range(3):
        alone, _ = evaluate_losses(method, tasks_of(episode, [position]))
        np.testing.assert_allclose(alone[0], together[position], rtol=1e-12)
