"""The notebook's model on nodes of a graph: adapted, asked, saved, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import cml_tf
from cml_tf import Classification, FewShotModel
from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.graphs import graph_context
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.objectives import QueryLoss
from cml_tf.training.method import Method
from tests.helpers.models import randomise
from tests.helpers.random_graphs import random_graph
from tests.helpers.small_tasks import pictures

GRAPH = random_graph()
NODES, NAMES = np.array([1, 4, 9, 16]), ["a", "b", "a", "b"]


def _model(learner=None) -> FewShotModel:
    learner = learner or gcn(2, 7, (4,))
    randomise(learner, seed=0)
    problem = Classification(2)
    # Numbers of nodes have a range too, which is nothing to hold inputs against.
    method = Method.of(learner, GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)])
    return FewShotModel(method, problem, (0.0, 2.0))


@pytest.fixture(scope="module")
def model():
    return _model()


@pytest.fixture(scope="module")
def context():
    return graph_context(GRAPH, hops=1)


def test_any_whole_numbers_are_nodes(model, context):
    expected = model.adapt(NODES.astype(np.int32), NAMES, context=context).predict([2, 3, 29])
    assert expected.shape == (3, 2)
    for dtype in (np.int64, np.uint16):
        task = model.adapt(NODES.astype(dtype), NAMES, context=context)
        np.testing.assert_array_equal(task.predict(np.array([2, 3, 29], dtype)), expected)


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([1.0, 2.5], "whole numbers .int32., received float64 from 1.0 to 2.5"),
        ([True, False], "whole numbers .int32., received bool"),
        ([1, 2**32 + 1], "received int64 from 1 to 4294967297"),
        ([1, 30], r"node numbers in \[0, 30\), the nodes of the graph in this context, received 30"),
        ([-1, 2], r"received -1"),
        ([[1], [2]], r"shape \[\], received"),
    ],
)
def test_what_are_no_nodes(model, context, nodes, message):
    with pytest.raises(ValueError, match=message):
        model.adapt(nodes, ["a", "b"], context=context)
    with pytest.raises(ValueError, match=message):
        model.adapt(NODES, NAMES, context=context).predict(nodes)


def test_a_graph_must_be_there_where_one_is_needed_and_nowhere_else(model, context, classifier):
    with pytest.raises(ValueError, match=r"takes a context of type GraphContext, received tuple: give context="):
        model.adapt(NODES, NAMES)
    with pytest.raises(ValueError, match=r"takes no context, received GraphContext\."):
        classifier.adapt(pictures(4), NAMES, context=context)


@pytest.mark.parametrize(
    "make",
    [lambda: gcn(2, 7, (4, 3), head="prototypes", attribute_matching=True), lambda: sgc(2, 7, 4, hops=3)],
    ids=["gcn", "sgc"],
)
def test_loaded_equals_saved_bit_for_bit(make, tmp_path):
    model = _model(make())
    model.save(tmp_path / "model")
    loaded = cml_tf.load(tmp_path / "model")
    assert loaded.method.learner.extractor.hops == model.method.learner.extractor.hops
    context = graph_context(GRAPH, model.method.learner.extractor.hops)
    answers = [m.adapt(NODES, NAMES, context=context).predict(np.arange(30)) for m in (model, loaded)]
    np.testing.assert_array_equal(*answers)
