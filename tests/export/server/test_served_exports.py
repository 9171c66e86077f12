"""What an export answers through the server is what it answers in process."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import tensorflow as tf

from tests.export.served import inputs_of, sizes_of, state_of, support_only


def _plain(inputs):
    return {name: array.tolist() for name, array in inputs.items()}


@pytest.mark.parametrize("model", ["waves", "images", "nodes"])
def test_both_protocols_answer_like_the_model_in_process(server, model, request: pytest.FixtureRequest):
    served = request.getfixturevalue(model)
    inputs = inputs_of(served.model, tasks=2)
    expected, over_grpc = served("serving_default", **inputs), server.predict(model, **inputs)
    assert over_grpc.keys() == expected.keys()
    columns = _plain(inputs)
    rows = [{name: column[task] for name, column in columns.items()} for task in range(2)]
    _, in_columns, _ = server.rest("POST", f"/v1/models/{model}:predict", {"inputs": columns})
    _, in_rows, _ = server.rest("POST", f"/v1/models/{model}:predict", {"instances": rows})
    for name, value in expected.items():
        assert over_grpc[name].dtype == value.dtype
        np.testing.assert_allclose(over_grpc[name], value, rtol=1e-5, atol=1e-5)
        for received in (in_columns["outputs"][name], [row[name] for row in in_rows["predictions"]]):
            assert np.array_equal(np.array(received, value.dtype), over_grpc[name])


def test_adapt_then_predict(server, images):
    inputs = inputs_of(images.model, tasks=2)
    adapted = server.predict("images", "adapt", **support_only(inputs))
    answer = server.predict("images", "predict", **state_of(adapted), query_inputs=inputs["query_inputs"])
    expected = server.predict("images", **inputs)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-5)


def test_padded_over_rest(server, waves):
    inputs = inputs_of(waves.model, tasks=2)
    inputs |= sizes_of(inputs, support_size=[6, 3], query_size=[4, 2])
    expected = waves("adapt_and_predict_padded", **inputs)
    body = {"signature_name": "adapt_and_predict_padded", "inputs": _plain(inputs)}
    _, answer, _ = server.rest("POST", "/v1/models/waves:predict", body)
    np.testing.assert_allclose(answer["outputs"]["predictions"], expected["predictions"], atol=1e-5)


def test_images_as_bytes_over_rest(server, images):
    inputs = inputs_of(images.model, tasks=2)
    levels = {name: np.round(array * 255).astype(np.uint8) for name, array in inputs.items() if "inputs" in name}
    columns = {"support_labels": inputs["support_labels"].tolist()}
    for name, tasks in levels.items():
        files = [[tf.io.encode_png(image).numpy() for image in task] for task in tasks]
        columns[f"{name}_bytes"] = [[{"b64": base64.b64encode(file).decode()} for file in task] for task in files]
    body = {"signature_name": "adapt_and_predict_bytes", "inputs": columns}
    status, answer, _ = server.rest("POST", "/v1/models/images:predict", body)
    assert status == 200, answer
    rounded = {name: array.astype(np.float32) / 255 for name, array in levels.items()}
    expected = images("serving_default", **{**inputs, **rounded})
    np.testing.assert_allclose(answer["outputs"]["probabilities"], expected["probabilities"], atol=1e-4)
