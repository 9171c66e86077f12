"""What is served for nodes of a graph is what the library computes, for every signature and every kind of learner."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD
from cml_tf.learners import Learner
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.problems import Classification
from export.errors import ExportError
from export.graph.exportable import Exportable
from export.graph.specifications import input_specifications, output_specifications
from tests.export.served import exportable, in_process, state_of
from tests.export.served_nodes import (
    FEATURES,
    WAYS,
    counts,
    node_model,
    node_request,
    part,
    reference_context,
    support_part,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def _gcn(head: str = "linear", matching: bool = False, normalise_features: bool = False) -> Exportable:
    return node_model(gcn(WAYS, FEATURES, (6, 6), head=head, matching=matching), normalise_features)


def _sgc() -> Exportable:
    learner = sgc(WAYS, FEATURES, 6, hops=2, head="prototypes", matching=True)
    return node_model(learner, normalise_features=True)


# What is threaded through a task, how features are propagated. The one that was saved, a plain GCN, is beside them.
LEARNERS = {
    "SGC, prototypes and matching, features normalised": _sgc,
    "plain SGC": lambda: node_model(sgc(WAYS, FEATURES, 6, hops=3)),
    "one layer": lambda: node_model(gcn(WAYS, FEATURES, (6,))),
    "GCN, prototypes": lambda: _gcn("prototypes"),
    "GCN, matching, features normalised": lambda: _gcn(matching=True, normalise_features=True),
}
DEFAULT = "SGC, prototypes and matching, features normalised"


@pytest.mark.parametrize(
    "name", [None, *(pytest.param(name, marks=[pytest.mark.slow] * (name != DEFAULT)) for name in LEARNERS)]
)
def test_served_equals_in_process(name, request):
    served = in_process(LEARNERS[name]()) if name else request.getfixturevalue("nodes")
    inputs = node_request(tasks=2)
    answer = served("serving_default", **inputs)
    adapted = served("adapt", **support_part(inputs))
    initial = served("initial_state", **support_part(inputs))
    assert answer["status"].tolist() == adapted["status"].tolist() == initial["status"].tolist() == [0, 0]
    queries = part(inputs, "query_nodes")
    predicted = served("predict", **state_of(adapted), **queries)
    before = served("predict", **state_of(initial), **queries)
    for task in range(2):
        context = reference_context(served.model, inputs, task)
        support, labels, query = (inputs[key][task] for key in ("support_nodes", "support_labels", "query_nodes"))
        expected = served.in_process.adapt(support, labels, context=context)
        unadapted = served.in_process.adapt(support, labels, context=context, steps=0)
        np.testing.assert_allclose(answer["probabilities"][task], expected.predict(query), **CLOSE)
        np.testing.assert_allclose(predicted["probabilities"][task], expected.predict(query), **CLOSE)
        np.testing.assert_allclose(before["probabilities"][task], unadapted.predict(query), **CLOSE)
        np.testing.assert_allclose(adapted["adapted_state"][task], expected.packed(), **CLOSE)
    whole = served("adapt_and_predict_padded", **inputs, **counts(inputs))
    for key, value in answer.items():
        np.testing.assert_allclose(whole[key], value, **CLOSE, err_msg=key)
    assert (answer["support_loss_after"] < answer["support_loss_before"]).all()


def test_names_dtypes_and_shapes(nodes):
    graph, support = ["node_features", "edges"], ["support_nodes", "support_labels"]
    sizes = ["node_count", "edge_count", "support_size", "query_size"]
    assert {name: list(inputs) for name, inputs in input_specifications(nodes.model).items()} == {
        "serving_default": [*graph, *support, "query_nodes"],
        "adapt_and_predict_padded": [*graph, *support, "query_nodes", *sizes],
        "adapt": [*graph, *support],
        "initial_state": [*graph, *support],
        "predict": ["adapted_state", "model_fingerprint", *graph, "query_nodes"],
    }
    expected = {
        "node_features": ([None, None, FEATURES], tf.float32),
        "edges": ([None, None, 2], tf.int32),
        **dict.fromkeys(("support_nodes", "support_labels", "query_nodes"), ([None, None], tf.int32)),
        **dict.fromkeys([*sizes, "model_fingerprint"], ([None], tf.int32)),
        "adapted_state": ([None, None], tf.float32),
    }
    for name, specifications in input_specifications(nodes.model).items():
        function = nodes.functions[name]
        held = {key: (spec.shape.as_list(), spec.dtype) for key, spec in function.structured_input_signature[1].items()}
        assert held == {key: expected[key] for key in specifications}
        outputs = {key: (spec.shape.as_list(), spec.dtype) for key, spec in function.structured_outputs.items()}
        assert outputs == {
            key: ([None, *spec.shape.as_list()], spec.dtype)
            for key, spec in output_specifications(nodes.model)[name].items()
        }
    assert output_specifications(nodes.model)["predict"]["probabilities"].shape.as_list() == [None, WAYS]


def test_prototypes_travel_in_the_state():
    model = node_model(gcn(WAYS, FEATURES, (6, 6), head="prototypes"))
    assert model.packed_spec[-1].name.split("/")[0] == "head_state"
    assert model.packed_spec[-1].shape.as_list() == [WAYS, 6]


def test_an_untidy_graph_is_its_tidy_self(nodes):
    inputs = node_request()
    tidy = np.unique(np.sort(inputs["edges"][0], axis=1), axis=0)
    tidy = tidy[tidy[:, 0] != tidy[:, 1]][None]
    assert tidy.shape[1] < inputs["edges"].shape[1]
    expected = nodes("serving_default", **inputs)
    for edges in (tidy, tidy[:, ::-1], tidy[..., ::-1], np.concatenate([tidy, tidy[..., ::-1]], 1)):
        answer = nodes("serving_default", **{**inputs, "edges": edges})
        for key, value in expected.items():
            np.testing.assert_array_equal(answer[key], value, err_msg=key)


def test_no_edges_and_no_queries_are_fine(nodes):
    inputs = {**node_request(), "edges": np.zeros((1, 0, 2), np.int32)}
    answer = nodes("serving_default", **inputs)
    assert answer["status"].tolist() == [0]
    context = reference_context(nodes.model, inputs)
    expected = nodes.in_process.adapt(inputs["support_nodes"][0], inputs["support_labels"][0], context=context)
    np.testing.assert_allclose(answer["probabilities"][0], expected.predict(inputs["query_nodes"][0]), **CLOSE)
    empty = nodes("serving_default", **{**inputs, "query_nodes": np.zeros((1, 0), np.int32)})
    assert empty["status"].tolist() == [0] and empty["probabilities"].shape == (1, 0, WAYS)


def test_a_plain_session_answers_the_same(nodes):
    inputs = node_request(tasks=2)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(nodes.directory))
    definition = loaded.signature_def["serving_default"]
    feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
    answer = session.run({name: tensor.name for name, tensor in definition.outputs.items()}, feeds)
    for key, value in nodes("serving_default", **inputs).items():
        np.testing.assert_array_equal(answer[key], value, err_msg=key)


@keras.saving.register_keras_serializable("test")
class _Shifted(keras.layers.Layer):
    """Takes a context that is no graph."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, inputs, context):
        return inputs * self.scale + context


def test_another_context_is_refused():
    learner = Learner(_Shifted(), keras.layers.Dense(WAYS), input_shape=(3,), context=tf.zeros([3]))
    with pytest.raises(ExportError, match="only those on nodes of a graph can be exported.* extractor _Shifted"):
        exportable(learner, Classification(WAYS), SGD(0.1), 1)
