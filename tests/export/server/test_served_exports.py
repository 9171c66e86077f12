"""What an export answers through the server is what it answers in process."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.export.served import request, sizes, state_of, support_only
from tests.export.served_nodes import node_request


def plain(inputs):
    return {name: array.tolist() for name, array in inputs.items()}


@pytest.mark.parametrize("model", ["waves", "images"])
def test_grpc_answers_like_the_model_in_process(server, model, request: pytest.FixtureRequest):
    served = request.getfixturevalue(model)
    inputs = _inputs(served)
    expected = served("serving_default", **inputs)
    answer = server.predict(model, **inputs)
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype
        np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_rest_digits_are_those_of_grpc(server, waves, form):
    inputs = _inputs(waves)
    expected = server.predict("waves", **inputs)
    columns = plain(inputs)
    rows = [{name: column[task] for name, column in columns.items()} for task in range(2)]
    status, body, _ = server.rest("POST", "/v1/models/waves:predict", {form: columns if form == "inputs" else rows})
    assert status == 200, body
    for name, value in expected.items():
        received = body["outputs"][name] if form == "inputs" else [row[name] for row in body["predictions"]]
        assert np.array_equal(np.array(received, value.dtype), value)


def test_adapt_then_predict(server, images):
    inputs = _inputs(images)
    adapted = server.predict("images", "adapt", **support_only(inputs))
    answer = server.predict("images", "predict", **state_of(adapted), query_inputs=inputs["query_inputs"])
    expected = server.predict("images", **inputs)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-5)


def test_padded_over_rest(server, waves):
    inputs = {**_inputs(waves), **sizes([6, 3], [4, 2])}
    expected = waves("adapt_and_predict_padded", **inputs)
    body = {"signature_name": "adapt_and_predict_padded", "inputs": plain(inputs)}
    _, answer, _ = server.rest("POST", "/v1/models/waves:predict", body)
    np.testing.assert_allclose(answer["outputs"]["predictions"], expected["predictions"], atol=1e-5)


def test_images_as_bytes_over_rest(server, images):
    inputs = _inputs(images)

    def files(name):
        pixels = np.round(inputs[name] * 255).astype(np.uint8)
        return [
            [{"b64": base64.b64encode(tf.io.encode_png(image).numpy()).decode()} for image in task] for task in pixels
        ]

    columns = {
        "support_inputs_bytes": files("support_inputs"),
        "query_inputs_bytes": files("query_inputs"),
        "support_labels": inputs["support_labels"].tolist(),
    }
    body = {"signature_name": "adapt_and_predict_bytes", "inputs": columns}
    status, answer, _ = server.rest("POST", "/v1/models/images:predict", body)
    assert status == 200, answer
    rounded = {
        name: np.round(array * 255).astype(np.float32) / 255 for name, array in inputs.items() if "inputs" in name
    }
    expected = images("serving_default", **{**inputs, **rounded})
    np.testing.assert_allclose(answer["outputs"]["probabilities"], expected["probabilities"], atol=1e-4)


def test_a_wrong_rank_is_an_error_and_the_server_lives(server, images):
    inputs = _inputs(images)
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("images", **{**inputs, "query_inputs": inputs["query_inputs"][0, 0]})
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "is not compatible with expected shape [?,?,16,16,1]" in caught.value.details()
    body = {"inputs": {**plain(inputs), "support_inputs": []}}
    status, answer, _ = server.rest("POST", "/v1/models/images:predict", body)
    assert status == 400 and "[0] is not compatible with expected shape [?,?,16,16,1]" in answer["error"]
    assert server.predict("images", **inputs)["status"].tolist() == [0, 0]


def test_every_one_of_many_clients_gets_its_own_answer(server, waves):
    tasks = [request(waves.model, seed=seed) for seed in range(40)]
    alone = [server.predict("waves", **inputs) for inputs in tasks]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda inputs: server.predict("waves", **inputs), tasks))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def _inputs(served):
    return request(served.model, tasks=2)


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_a_graph_in_json_and_over_grpc(server, nodes, form):
    inputs = node_request(tasks=2)
    expected = nodes("serving_default", **inputs)
    over_grpc = server.predict("nodes", **inputs)
    columns = plain(inputs)
    rows = [{name: column[task] for name, column in columns.items()} for task in range(2)]
    status, body, _ = server.rest("POST", "/v1/models/nodes:predict", {form: columns if form == "inputs" else rows})
    assert status == 200, body
    for name, value in expected.items():
        received = body["outputs"][name] if form == "inputs" else [row[name] for row in body["predictions"]]
        assert np.array_equal(np.array(received, value.dtype), over_grpc[name])
        np.testing.assert_allclose(over_grpc[name], value, rtol=1e-5, atol=1e-6)
