"""What is served is what the library computes, for every signature and every kind of model."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, PerStepRates, anil, boil
from cml_tf.boundary.digest import variables_digest
from cml_tf.learners import Learner, conv4, mlp
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.problems import Classification, Regression
from cml_tf.readouts import read_through
from cml_tf.training.method import Method
from export.errors import ExportError
from export.graph.buckets import read_buckets
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule, fingerprint
from export.graph.specifications import input_specifications, output_specifications
from export.requests.form import Bucket
from tests.export import served as tiny
from tests.export.served import CLOSE, NODE_WAYS, WAYS, exportable, inputs_of, state_of
from tests.helpers.models import smooth_co_learner


def _vectors(rule, steps: int = 1) -> Exportable:
    return exportable(mlp(WAYS, (2,), hidden=(4, 4)), Classification(WAYS), rule, steps)


def _maml_plus_plus() -> Exportable:
    learner = mlp(WAYS, (2,), hidden=(4,), normalisation="per_step", steps=2)
    return exportable(learner, Classification(WAYS), PerStepRates(0.1, 2), 2)


def _nodes(make, *sizes, **options) -> Exportable:
    learner = make(NODE_WAYS, tiny.FEATURES, *sizes, **options)
    return tiny.node_model(learner, normalise_features=len(options) > 1, steps=1)


# Without a function: a fixture.
MODELS = {
    **dict.fromkeys(("images", "waves", "nodes")),
    "images by support": lambda: tiny.image_model("support", steps=1),
    "vectors, no steps": lambda: _vectors(SGD(0.3), steps=0),
    "two outputs": lambda: exportable(mlp(2, (3,), hidden=(4,)), Regression(2), SGD(0.05), 1),
    # ANIL, whose partition is the other part, and CML-dagger are in gate/test_gate.py.
    "BOIL": lambda: _vectors(boil(SGD(0.3))),
    "MAML++": _maml_plus_plus,
    # What is threaded through a task, how features are propagated and normalised.
    "SGC, prototypes and matching": lambda: _nodes(sgc, 6, hops=2, head="prototypes", attribute_matching=True),
    "GCN of one layer": lambda: _nodes(gcn, (6,)),
}


@pytest.mark.parametrize("name", [*list(MODELS)[:-1], pytest.param("GCN of one layer", marks=pytest.mark.slow)])
def test_served_equals_in_process(name, request):
    served = tiny.in_process(MODELS[name]()) if MODELS[name] else request.getfixturevalue(name)
    inputs, form, output = inputs_of(served.model, tasks=2), served.model.form, served.output
    support_set, queries = tiny.support_only(inputs), tiny.query_only(inputs)
    answer, adapted = served("serving_default", **inputs), served("adapt", **support_set)
    initial = served("initial_state", **support_set)
    before, predicted = (served("predict", **state_of(state), **queries) for state in (initial, adapted))
    for given in (answer, adapted, initial, before, predicted):
        assert given["status"].tolist() == [0, 0]
    for task in range(2):
        for steps, values, state in ((None, answer, adapted), (0, before, initial)):
            expected = served.adapted(inputs, task, steps)
            np.testing.assert_allclose(values[output][task], expected.predict(inputs[form.query][task]), **CLOSE)
            np.testing.assert_allclose(state["adapted_state"][task], expected.packed(), **CLOSE)
    np.testing.assert_allclose(predicted[output], answer[output], **CLOSE)
    assert adapted["support_loss_before"] == pytest.approx(answer["support_loss_before"], abs=1e-5)
    if name == "images by support":
        alone = {**inputs, form.query: inputs[form.query][:, :1]}
        np.testing.assert_allclose(served("serving_default", **alone)[output], answer[output][:, :1], **CLOSE)


def test_losses_are_those_of_the_inner_loop(waves):
    inputs = inputs_of(waves.model)
    answer, (support, targets) = waves("serving_default", **inputs), tiny.support_only(inputs).values()
    for key, steps in (("support_loss_before", 0), ("support_loss_after", None)):
        predicted = waves.adapted(inputs, steps=steps).predict(support[0])
        assert answer[key][0] == pytest.approx(np.square(predicted - targets).mean(), rel=1e-5)
    assert answer["support_loss_after"] < answer["support_loss_before"]


def test_no_queries_are_fine(served):
    inputs = inputs_of(served.model, tasks=2)
    inputs[served.model.form.query] = inputs[served.model.form.query][:, :0]
    state = state_of(served("adapt", **tiny.support_only(inputs)))
    for signature, call in (("serving_default", inputs), ("predict", {**state, **tiny.query_only(inputs)})):
        answer = served(signature, **call)
        assert answer["status"].tolist() == [0, 0]
        assert answer[served.output].shape == (2, 0, served.model.problem.outputs)


def test_an_untidy_graph_is_its_tidy_self_and_none_is_fine(nodes):
    inputs = inputs_of(nodes.model)
    tidy = np.unique(np.sort(inputs["edges"][0], axis=1), axis=0)
    tidy = tidy[tidy[:, 0] != tidy[:, 1]][None]
    assert tidy.shape[1] < inputs["edges"].shape[1]
    expected = nodes("serving_default", **inputs)
    for edges in (tidy, tidy[:, ::-1], tidy[..., ::-1], np.concatenate([tidy, tidy[..., ::-1]], 1)):
        answer = nodes("serving_default", **{**inputs, "edges": edges})
        for key, value in expected.items():
            np.testing.assert_array_equal(answer[key], value, err_msg=key)
    inputs["edges"] = np.zeros((1, 0, 2), np.int32)
    answer, expected = nodes("serving_default", **inputs), nodes.adapted(inputs).predict(inputs["query_nodes"][0])
    np.testing.assert_allclose(answer["probabilities"][0], expected, **CLOSE)


def test_the_file_has_the_shapes_that_are_specified(served):
    """Which ones those are is recorded as metadata in server/conformance."""

    def shapes(specifications, front=()):
        return {key: ([*front, *spec.shape.as_list()], spec.dtype) for key, spec in specifications.items()}

    for name, specifications in input_specifications(served.model).items():
        function, outputs = served.functions[name], output_specifications(served.model)[name]
        assert shapes(function.structured_input_signature[1]) == shapes(specifications)
        assert shapes(function.structured_outputs) == shapes(outputs, [None])


def test_each_bucket_has_signatures_of_its_sizes():
    images, buckets = tiny.image_model(), read_buckets(["6_4", "6_9"])
    assert buckets == (Bucket(6, 4), Bucket(6, 9))
    model = dataclasses.replace(images, buckets=buckets)
    specifications = input_specifications(model)
    added = [f"adapt_and_predict{kind}_padded_6_{queries}" for kind in ("", "_bytes") for queries in (4, 9)]
    added += ["adapt_padded_6", "predict_padded_4", "predict_padded_9"]
    assert specifications.keys() - input_specifications(images).keys() == set(added)
    assert output_specifications(model).keys() >= specifications.keys()
    found = {key: spec.shape.as_list() for key, spec in specifications[added[1]].items()}
    assert found == {
        **{"support_inputs": [None, 6, 16, 16, 1], "support_labels": [None, 6], "query_inputs": [None, 9, 16, 16, 1]},
        **{"support_size": [None], "query_size": [None]},
    }
    assert specifications["predict_padded_4"]["query_inputs"].shape.as_list() == [None, 4, 16, 16, 1]
    # Only pictures from 0 to 1 come as files.
    for other in (tiny.wave_model(), Exportable(images.method, images.problem, (-1.0, 1.0))):
        names = input_specifications(dataclasses.replace(other, buckets=buckets))
        assert "adapt_padded_6" in names and not any("bytes" in name for name in names)
    for written in ("25", "25x75", "0_5", "5_-1", "5_1_2"):
        with pytest.raises(ExportError, match="SUPPORT_QUERIES"):
            read_buckets(["5_1", written])


def test_the_layout_of_the_state_names_what_moves():
    whole = tiny.image_model("support")
    assert whole.state_size(0) == sum(int(np.prod(v.shape)) for _, v in whole.named_variables)
    assert [spec.name.split("/")[0] for spec in whole.packed_spec][-2:] == ["extractor_state"] * 2
    head_only = _vectors(anil(SGD(0.1)))
    assert [spec.name.split("/")[0] for spec in head_only.packed_spec] == ["head", "head"]
    assert head_only.state_size(0) == 4 * 3 + 3
    prototypes = _nodes(gcn, (6, 6), head="prototypes").packed_spec[-1]
    assert prototypes.name.split("/")[0] == "head_state" and prototypes.shape.as_list() == [NODE_WAYS, 6]
    assert exportable(conv4(5, (84, 84, 3)), Classification(5), SGD(0.5), 1).state_size(0) == 121_093


@keras.saving.register_keras_serializable("test")
class _Shifted(keras.layers.Layer):
    """Takes a context that is no graph."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, inputs, context):
        return inputs * self.scale + context


def test_what_cannot_be_served_is_refused():
    made, problem = _vectors(SGD(0.3)), Classification(WAYS)
    method = Method.of(made.learner, made.rule, [*made.method.terms, smooth_co_learner(problem)])
    with pytest.raises(ExportError, match="CoLearner"):
        Exportable(read_through(method, problem, "co_learner_theta_adapted"), problem, (0.0, 1.0))
    learner = Learner(_Shifted(), keras.layers.Dense(WAYS), input_shape=(3,), context=tf.zeros([3]))
    with pytest.raises(ExportError, match="graph.*_Shifted"):
        exportable(learner, Classification(WAYS), SGD(0.1), 1)


def test_the_fingerprint_tells_sets_of_variables_apart():
    matrix, vector = values = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float32)]
    near = np.nextafter(matrix, np.float32(9))
    others = [[vector, matrix], *([other, vector] for other in (matrix.reshape(3, 2), matrix.astype(float), near))]
    assert len({variables_digest(each) for each in [values, *others]}) == 5
    # Whatever its layers are called.
    assert len({ServingModule(tiny.wave_model()).digest for _ in range(2)}) == 1
    # It fits a positive int32, and is never the mark of a failed task.
    read = {"ffffffff": 2**31 - 1, "80000000": 1, "00000000": 1, "00000005": 5}
    assert {digest: fingerprint(digest) for digest in read} == read
