"""The parity gate: what it asks, what it expects within what rounding explains, and what must not be in the file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from cml_tf.adaptation import SGD, GradientDescent, anil
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.readouts import read_through
from cml_tf.training.method import Method
from export import status
from export.errors import ExportError
from export.exporter import EXTRA, WARM_UP
from export.gate.expectation import expectation, probes
from export.gate.inspection import check_file, co_learner_names
from export.gate.parity import check_answers
from export.gate.query_dependence import query_dependence
from export.gate.warm_up import shape_buckets, warm_up_requests
from export.graph.exportable import Exportable
from export.graph.specifications import input_specifications
from export.requests.files import read_requests, write_requests
from export.requests.form import Bucket
from tests.export.forked_gate import forked_gate
from tests.export.served import CLOSE, WARM, WAYS, exportable, in_process
from tests.helpers.few_shot import image_trainer
from tests.helpers.models import smooth_co_learner

pytestmark = pytest.mark.slow


def _probed(served, requests) -> set[tuple[str, int]]:
    """Signature and last status of each probe, which were answered as expected."""
    told = set()
    for call, expected in probes(served.model, requests, served.reference):
        answer = served(call.signature, **call.inputs)
        assert answer.keys() == expected.values.keys()
        for key, value in expected.values.items():
            assert (np.abs(answer[key] - value) <= expected.tolerances.get(key, 0)).all(), (call.signature, key)
        told.add((call.signature, answer["status"].tolist()[-1]))
    return told


def test_warm_up_requests_are_what_the_server_parses_and_they_and_every_fault_are_answered_as_expected(served):
    path, signatures = served.directory / EXTRA / WARM_UP, set(input_specifications(served.model))
    records = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    specs = [record.predict_log.request.model_spec for record in records]
    assert {spec.name for spec in specs} == {"small"} and len(specs) == len(signatures)
    written, read = warm_up_requests(served.model, WARM, served.reference), read_requests(path)
    assert {request.signature for request in read} == signatures
    for first, request in zip(written, read, strict=True):
        assert first.signature == request.signature
        np.testing.assert_equal(dict(first.inputs), dict(request.inputs))
        answer, expected = served(request.signature, **request.inputs), served.reference.answer(request)
        assert set(answer) == set(expected) and not answer["status"].any()
        for key, value in expected.items():
            np.testing.assert_allclose(answer[key], value, **CLOSE, err_msg=f"{request[0]} {key}")
    told, graph = _probed(served, written), "edges" in written[0].inputs
    whole = {status.OK, status.SIZE, status.NON_FINITE_INPUT}
    whole |= {status.LABEL_OUT_OF_RANGE} if served.model.classification else set()
    whole |= {status.NODE_OUT_OF_RANGE} if graph else set()
    assert told >= {("adapt_and_predict_padded", code) for code in whole}
    assert told >= {("predict", status.STATE_OF_ANOTHER_MODEL)}
    depends = query_dependence(served.model, written, served.reference)["predictions_depend_on_other_queries"]
    assert depends == (served.model.classification and not graph)
    # Tolerances leave no room for mistakes.
    expected = expectation(served.model, served.reference, written[0])
    assert set(expected.tolerances) == set(expected.values) - {"status"}
    for key, tolerance in expected.tolerances.items():
        assert (tolerance >= 1e-5).all() and (tolerance < 3e-4 * (1 + np.abs(expected.values[key]))).all(), key


def test_tasks_of_fewer_classes_are_probed_too(free):
    padded = {("adapt_and_predict_padded", code) for code in (status.OK, status.LABEL_OUT_OF_RANGE)}
    told = _probed(free, warm_up_requests(free.model, WARM, free.reference))
    assert told >= {*padded, ("predict", status.STATE_OF_ANOTHER_MODEL)}


def test_a_model_that_adapts_nothing_can_be_served():
    """ANIL moves the head alone, CML-dagger all but the head."""
    problem = Classification(WAYS)
    learner = exportable(mlp(WAYS, (2,), hidden=(4, 4)), problem, SGD(0.1), 1).learner
    rule = exportable(learner, problem, anil(SGD(0.1)), 1).rule
    method = Method.of(learner, rule, [QueryLoss(problem), CoLearner(smooth_co_learner(problem).layer, problem)])
    served = in_process(Exportable(read_through(method, problem, "co_learner"), problem, (0.0, 1.0)))
    assert served.model.state_size(0) == 0
    _probed(served, warm_up_requests(served.model, WARM, served.reference))


def test_it_says_where_answers_differ_and_nothing_of_those_that_do_not(waves, bounded, tmp_path):
    file = tmp_path / "one"

    def asked(model, signature, output, by):
        """What is right, and what is off in one output."""
        read = read_requests(model.directory / EXTRA / WARM_UP)
        (request,) = (request for request in read if request.signature == signature)
        right = expectation(model.model, model.reference, request)
        return request, right, right._replace(values={**right.values, output: right.values[output] + by})

    request, right, off = asked(waves, "predict", "predictions", np.float32(0.01))
    write_requests(file, [request], "small")
    words = r"\(2 differences\): off request 0 \(signature predict\) through a plain Session: predictions.*TF2"
    with forked_gate(), pytest.raises(ExportError, match=words):
        check_answers(waves.directory, {"right": file, "off": file}, {"right": [right], "off": [off]}, loaders=2)
    with forked_gate(), pytest.raises(ExportError, match="must compare 4 answers, but compared 2"):
        check_answers(waves.directory, {"right": file}, {"right": [right] * 2}, loaders=2)
    # Nor do tolerances swallow what is off in compact states and in what is told of steps.
    outputs = {"adapt_compact": "compact_state_bytes", "adapt_bounded": "step_norms"}
    requests, _, off = zip(*(asked(bounded, *one, np.float16(0.02)) for one in outputs.items()), strict=True)
    write_requests(file, requests, "small")
    words = r"adapt_compact\) through a plain Session: compact_state_bytes.*adapt_bounded\).*Session: step_norms"
    with forked_gate(), pytest.raises(ExportError, match=words):
        check_answers(bounded.directory, {"off": file}, {"off": off}, loaders=2)


def test_buckets_are_the_shapes_that_users_ask_for():
    assert shape_buckets(5, 5, 15) == [Bucket(5, 1), Bucket(5, 75), Bucket(25, 1), Bucket(25, 75)]
    assert shape_buckets(5, 1, 15) == [Bucket(5, 1), Bucket(5, 75)]


def _named(values):
    with tf.name_scope("co_learner_1"):
        return tf.reduce_sum(values)


UNFIT = [
    (_named, "co_learner", "'co_learner'"),
    (tf.function(tf.reduce_sum, jit_compile=True), "none", "XLA"),
    (lambda values: tf.numpy_function(lambda x: x, [values], tf.float32), "none", "Python"),
]


@pytest.mark.parametrize(("body", "forbidden", "message"), UNFIT)
def test_what_must_not_be_in_the_file_is_found(tmp_path, body, forbidden, message):
    module = tf.Module()
    module.weight = tf.Variable([1.0])
    signature = [tf.TensorSpec([None], tf.float32)]
    function = tf.function(lambda values: {"sum": body(values + module.weight)}, signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=function)
    if forbidden != "none":
        check_file(tmp_path / "1", ["second_co_learner"], 1)
    with pytest.raises(ExportError, match=message):
        check_file(tmp_path / "1", [forbidden], 1)


def test_a_sound_file_passes_a_variable_too_many_is_found_and_served_co_learners_are_not_forbidden(images):
    check_file(images.directory, ["co_learner"], len(images.model.named_variables))
    with pytest.raises(ExportError, match="3 variables"):
        check_file(images.directory, [], 3)
    method, problem = image_trainer().method, Classification(WAYS)
    for readout, names in (("learner", ["co_learner"]), ("co_learner", [])):
        served = Exportable(read_through(method, problem, readout), problem, (0.0, 1.0))
        assert co_learner_names(method, served) == names


def test_a_co_learner_of_ones_own_may_be_called_as_a_part_of_the_head_is_in_the_graph():
    problem = Classification(WAYS)
    heads = [keras.layers.Dense(WAYS, name=name) for name in ("dense", "dense_1")]
    learner = Learner(keras.layers.Flatten(), heads[0], input_shape=(2, 2, 1))
    terms = [QueryLoss(problem), CoLearner(heads[1], problem)]
    method = Method.of(learner, GradientDescent(problem, SGD(0.1), steps=1), terms)
    served = Exportable(read_through(method, problem, "learner"), problem, (-1.0, 1.0))
    assert co_learner_names(method, served) == ["co_learner"]
