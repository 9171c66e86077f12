"""What is served is what the library computes, for every signature and every kind of model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, MetaSGD, PerStepRates, anil, boil
from cml_tf.learners import Learner, conv4, mlp
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.problems import Classification, Regression
from cml_tf.readouts import read_through
from export.errors import ExportError
from export.graph.exportable import Exportable
from export.graph.specifications import answer_name, input_specifications, output_specifications, target_name
from tests.export.served import (
    FEATURES,
    IMAGE_SHAPE,
    NODE_WAYS,
    WAYS,
    exportable,
    image_model,
    in_process,
    inputs_of,
    node_model,
    query_only,
    reference_context,
    sizes_of,
    state_of,
    support_only,
    wave_model,
)
from tests.helpers.few_shot import image_trainer

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _dagger(readout: str = "co_learner") -> Exportable:
    method = image_trainer().method
    return Exportable(read_through(method, Classification(WAYS), readout), Classification(WAYS), (0.0, 1.0))


def _vectors(rule, steps: int = 3) -> Exportable:
    return exportable(mlp(WAYS, (2,), hidden=(4, 4)), Classification(WAYS), rule, steps)


def _maml_plus_plus(steps: int = 2) -> Exportable:
    learner = conv4(WAYS, IMAGE_SHAPE, 4, "per_step", steps=steps)
    return exportable(learner, Classification(WAYS), PerStepRates(0.1, steps), steps)


def _nodes(make, *sizes, **options) -> Exportable:
    return node_model(make(NODE_WAYS, FEATURES, *sizes, **options), normalise_features=len(options) > 1)


# Without a function: a fixture.
MODELS = {
    "images": None,
    "images_by_support": None,
    "waves": None,
    "nodes": None,
    "waves of Meta-SGD": lambda: wave_model(MetaSGD(0.01)),
    "vectors, no steps": lambda: _vectors(SGD(0.3), steps=0),
    "two outputs": lambda: exportable(mlp(2, (3,), hidden=(4,)), Regression(2), SGD(0.05), 2),
    "ANIL": lambda: _vectors(anil(SGD(0.3))),
    "BOIL": lambda: _vectors(boil(SGD(0.3))),
    "MAML++": _maml_plus_plus,
    "CML-dagger": _dagger,
    # What is threaded through a task, how features are propagated and normalised.
    "SGC, prototypes and matching": lambda: _nodes(sgc, 6, hops=2, head="prototypes", attribute_matching=True),
    "GCN of one layer": lambda: _nodes(gcn, (6,)),
    "GCN, prototypes and matching": lambda: _nodes(gcn, (6, 6), head="prototypes", attribute_matching=True),
}
SLOW = ("GCN of one layer", "GCN, prototypes and matching")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_served_equals_in_process(name, request):
    make = MODELS[name]
    served = in_process(make()) if make else request.getfixturevalue(name)
    inputs = inputs_of(served.model, tasks=2)
    queries, form = query_only(inputs), served.model.form
    answer = served("serving_default", **inputs)
    adapted = served("adapt", **support_only(inputs))
    initial = served("initial_state", **support_only(inputs))
    before = served("predict", **state_of(initial), **queries)
    predicted = served("predict", **state_of(adapted), **queries)
    output = answer_name(served.model)
    for given in (answer, adapted, initial, before, predicted):
        assert given["status"].tolist() == [0, 0]
    for task in range(2):
        more = {"context": reference_context(served.model, inputs, task)} if "edges" in inputs else {}
        support, targets, query = (inputs[key][task] for key in (form.support, target_name(served.model), form.query))
        expected = served.in_process.adapt(support, targets, **more)
        np.testing.assert_allclose(answer[output][task], expected.predict(query), **CLOSE)
        np.testing.assert_allclose(adapted["adapted_state"][task], expected.packed(), **CLOSE)
        unadapted = served.in_process.adapt(support, targets, **more, steps=0)
        np.testing.assert_allclose(initial["adapted_state"][task], unadapted.packed(), **CLOSE)
        np.testing.assert_allclose(before[output][task], unadapted.predict(query), **CLOSE)
    np.testing.assert_allclose(predicted[output], answer[output], **CLOSE)
    whole = served("adapt_and_predict_padded", **inputs, **sizes_of(inputs))
    for key, value in answer.items():
        np.testing.assert_allclose(whole[key], value, **CLOSE, err_msg=key)
    assert adapted["support_loss_before"] == pytest.approx(answer["support_loss_before"], abs=1e-5)


def test_losses_are_those_of_the_inner_loop(waves):
    inputs = inputs_of(waves.model)
    answer = waves("serving_default", **inputs)
    support, targets = inputs["support_inputs"][0], inputs["support_targets"][0]
    for key, steps in (("support_loss_before", 0), ("support_loss_after", None)):
        predicted = waves.in_process.adapt(support, targets, steps=steps).predict(support)
        assert answer[key][0] == pytest.approx(np.square(predicted - targets).mean(), rel=1e-5)
    assert answer["support_loss_after"] < answer["support_loss_before"]


def test_no_queries_and_no_edges_are_fine(images, waves, nodes):
    for served in (images, waves, nodes):
        inputs = inputs_of(served.model, tasks=2)
        inputs[served.model.form.query] = inputs[served.model.form.query][:, :0]
        state = state_of(served("adapt", **support_only(inputs)))
        for signature, call in (("serving_default", inputs), ("predict", {**state, **query_only(inputs)})):
            answer = served(signature, **call)
            assert answer["status"].tolist() == [0, 0]
            assert answer[answer_name(served.model)].shape == (2, 0, served.model.problem.outputs)
    inputs = {**inputs_of(nodes.model), "edges": np.zeros((1, 0, 2), np.int32)}
    answer = nodes("serving_default", **inputs)
    assert answer["status"].tolist() == [0]
    context = reference_context(nodes.model, inputs)
    expected = nodes.in_process.adapt(inputs["support_nodes"][0], inputs["support_labels"][0], context=context)
    np.testing.assert_allclose(answer["probabilities"][0], expected.predict(inputs["query_nodes"][0]), **CLOSE)


def test_an_untidy_graph_is_its_tidy_self(nodes):
    inputs = inputs_of(nodes.model)
    tidy = np.unique(np.sort(inputs["edges"][0], axis=1), axis=0)
    tidy = tidy[tidy[:, 0] != tidy[:, 1]][None]
    assert tidy.shape[1] < inputs["edges"].shape[1]
    expected = nodes("serving_default", **inputs)
    for edges in (tidy, tidy[:, ::-1], tidy[..., ::-1], np.concatenate([tidy, tidy[..., ::-1]], 1)):
        answer = nodes("serving_default", **{**inputs, "edges": edges})
        for key, value in expected.items():
            np.testing.assert_array_equal(answer[key], value, err_msg=key)


def test_support_statistics_judge_a_query_by_itself(images_by_support):
    served = images_by_support
    inputs = inputs_of(served.model)
    together = served("serving_default", **inputs)["probabilities"]
    alone = served("serving_default", **{**inputs, "query_inputs": inputs["query_inputs"][:, :1]})["probabilities"]
    np.testing.assert_allclose(together[:, :1], alone, **CLOSE)


GRAPH, STATE = ["node_features", "edges"], ["adapted_state", "model_fingerprint"]
SUPPORT, SUPPORT_NODES = ["support_inputs", "support_labels"], ["support_nodes", "support_labels"]
SIZES, GRAPH_SIZES = ["support_size", "query_size"], ["node_count", "edge_count"]
NAMES = {
    "images": {
        "serving_default": [*SUPPORT, "query_inputs"],
        "adapt_and_predict_padded": [*SUPPORT, "query_inputs", *SIZES],
        "adapt": SUPPORT,
        "initial_state": SUPPORT,
        "predict": [*STATE, "query_inputs"],
        "adapt_and_predict_bytes": ["support_inputs_bytes", "support_labels", "query_inputs_bytes"],
    },
    "nodes": {
        "serving_default": [*GRAPH, *SUPPORT_NODES, "query_nodes"],
        "adapt_and_predict_padded": [*GRAPH, *SUPPORT_NODES, "query_nodes", *GRAPH_SIZES, *SIZES],
        "adapt": [*GRAPH, *SUPPORT_NODES],
        "initial_state": [*GRAPH, *SUPPORT_NODES],
        "predict": [*STATE, *GRAPH, "query_nodes"],
    },
}
SHAPES = {
    **dict.fromkeys(("support_inputs", "query_inputs"), ([None, None, *IMAGE_SHAPE], tf.float32)),
    **dict.fromkeys(("support_inputs_bytes", "query_inputs_bytes"), ([None, None], tf.string)),
    **dict.fromkeys(("support_nodes", "support_labels", "query_nodes"), ([None, None], tf.int32)),
    **dict.fromkeys([*SIZES, *GRAPH_SIZES, "model_fingerprint"], ([None], tf.int32)),
    "node_features": ([None, None, FEATURES], tf.float32),
    "edges": ([None, None, 2], tf.int32),
    "adapted_state": ([None, None], tf.float32),
}


@pytest.mark.parametrize("model", NAMES)
def test_names_dtypes_and_shapes_are_those_of_the_design(model, request):
    def shapes(specifications, front=()):
        return {key: ([*front, *spec.shape.as_list()], spec.dtype) for key, spec in specifications.items()}

    served = request.getfixturevalue(model)
    specified = input_specifications(served.model)
    assert {name: list(inputs) for name, inputs in specified.items()} == NAMES[model]
    for name, specifications in specified.items():
        function, outputs = served.functions[name], output_specifications(served.model)[name]
        assert shapes(specifications) == {key: SHAPES[key] for key in specifications}
        assert shapes(function.structured_input_signature[1]) == shapes(specifications)
        assert shapes(function.structured_outputs) == shapes(outputs, [None])


def test_only_images_have_a_signature_for_files():
    images = image_model()
    for model in (wave_model(), Exportable(images.method, images.problem, (-1.0, 1.0))):
        assert "adapt_and_predict_bytes" not in input_specifications(model)


def test_the_layout_of_the_state_names_what_moves():
    whole = image_model("support")
    assert whole.state_size(0) == sum(int(np.prod(v.shape)) for _, v in whole.named_variables)
    assert [spec.name.split("/")[0] for spec in whole.packed_spec][-8:] == ["extractor_state"] * 8
    head_only = _vectors(anil(SGD(0.1)))
    assert [spec.name.split("/")[0] for spec in head_only.packed_spec] == ["head", "head"]
    assert head_only.state_size(0) == 4 * 3 + 3
    prototypes = _nodes(gcn, (6, 6), head="prototypes").packed_spec[-1]
    assert prototypes.name.split("/")[0] == "head_state" and prototypes.shape.as_list() == [NODE_WAYS, 6]
    paper = exportable(conv4(5, (84, 84, 3)), Classification(5), SGD(0.5), 1)
    assert paper.state_size(0) == 121_093


@keras.saving.register_keras_serializable("test")
class _Shifted(keras.layers.Layer):
    """Takes a context that is no graph."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, inputs, context):
        return inputs * self.scale + context


def test_what_cannot_be_served_is_refused():
    with pytest.raises(ExportError, match="answers through CoLearner"):
        _dagger("co_learner_theta_adapted")
    learner = Learner(_Shifted(), keras.layers.Dense(WAYS), input_shape=(3,), context=tf.zeros([3]))
    with pytest.raises(ExportError, match="can only be exported if they read nodes of a graph.* extractor _Shifted"):
        exportable(learner, Classification(WAYS), SGD(0.1), 1)
