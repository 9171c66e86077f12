"""Exchanges with the server, in the form of a table: what TensorFlow Serving answers to the like."""

from __future__ import annotations

import gzip
import json

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

PREDICT = "/v1/models/halver:predict"
ANSWERS = [
    ("row", PREDICT, '{"instances": [1, 2.5]}', {"predictions": [2.5, 3.25]}),
    ("row with names", PREDICT, '{"instances": [{"x": 1}, {"x": 2.5}]}', {"predictions": [2.5, 3.25]}),
    ("column", PREDICT, '{"inputs": [1, 2.5]}', {"outputs": [2.5, 3.25]}),
    ("column with name", PREDICT, '{"inputs": {"x": [1]}}', {"outputs": [2.5]}),
    ("default signature by empty name", PREDICT, '{"signature_name": "", "inputs": [1]}', {"outputs": [2.5]}),
    ("a path in upper case", "/V1/MODELS/halver/VERSIONS/1:predict", '{"inputs": [1]}', {"outputs": [1.5]}),
    (
        "infinity by its short form, and a text like it",
        PREDICT,
        '{"signature_name": "shout", "instances": ["Inf, -Inf"], "more": [-Inf, Inf, Infinity]}',
        {"predictions": [{"plain": "Inf, -Inf!", "same_bytes": {"b64": "SW5mLCAtSW5m"}}]},
    ),
    ("nothing in it", PREDICT, '{"inputs": []}', {"outputs": []}),
    ("version", "/v1/models/halver/versions/1:predict", '{"instances": [1]}', {"predictions": [1.5]}),
    ("label", "/v1/models/halver/labels/first:predict", '{"instances": [1]}', {"predictions": [1.5]}),
    (
        "several outputs in columns",
        PREDICT,
        '{"signature_name": "both", "inputs": {"a": [-1, 2], "b": [1, 2]}}',
        {"outputs": {"sum": [0.0, 4.0], "negative": [True, False]}},
    ),
    (
        "several outputs in rows",
        PREDICT,
        '{"signature_name": "both", "instances": [{"a": -1, "b": 1}]}',
        {"predictions": [{"sum": 0.0, "negative": True}]},
    ),
    (
        "bytes",
        PREDICT,
        '{"signature_name": "shout", "instances": ["caf\u00e9", {"b64": "YWJj"}]}',
        {
            "predictions": [
                {"plain": "caf\u00e9!", "same_bytes": {"b64": "Y2Fmw6k="}},
                {"plain": "abc!", "same_bytes": {"b64": "YWJj"}},
            ]
        },
    ),
    ("the first of equal keys", PREDICT, '{"inputs": [1], "inputs": [5]} and more', {"outputs": [2.5]}),
]
REFUSALS = [
    ("unknown model", "/v1/models/nope:predict", "{}", 404, "Servable not found for request: Latest(nope)"),
    (
        "unknown version",
        "/v1/models/halver/versions/9:predict",
        "{}",
        404,
        "Servable not found for request: Specific(halver, 9)",
    ),
    ("unknown label", "/v1/models/halver/labels/no:predict", "{}", 400, "Unrecognized servable version label: no"),
    ("unknown verb", "/v1/models/halver:learn", "{}", 400, "Malformed request: POST /v1/models/halver:learn"),
    (
        "a verb in upper case",
        "/v1/models/halver:PREDICT",
        '{"instances": [1]}',
        400,
        "Malformed request: POST /v1/models/halver:PREDICT",
    ),
    ("an unclosed list after an infinity", PREDICT, '{"inputs": [Inf, -Inf, }', 400, "Invalid value. at offset: 23"),
    ("infinity with a tail", PREDICT, '{"inputs": [Infx]}', 400, "Missing a comma or ']' after an array element."),
    ("query", PREDICT + "?a=b", "{}", 400, f"Malformed request: POST {PREDICT}?a=b"),
    ("empty", PREDICT, "", 400, "JSON Parse error: The document is empty"),
    ("no JSON", PREDICT, '{"inputs": [1, }', 400, "JSON Parse error: Invalid value. at offset: 15"),
    ("no object", PREDICT, "[1]", 400, "JSON Value: [1] Is not object"),
    ("no inputs", PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key"),
    (
        "unknown signature",
        PREDICT,
        '{"signature_name": "nope", "inputs": [1]}',
        400,
        'Serving signature name: "nope" not found in signature def',
    ),
    ("missing input", PREDICT, '{"inputs": {"z": [1]}}', 400, "Missing named input: x in 'inputs' object."),
    (
        "fraction for an integer",
        PREDICT,
        '{"signature_name": "both", "inputs": {"a": [1], "b": [1.0]}}',
        400,
        "JSON Value: 1.0 Type: Number is not of expected type: int32",
    ),
    (
        "text for a number",
        PREDICT,
        '{"inputs": ["1"]}',
        400,
        'JSON Value: "1" Type: String is not of expected type: float',
    ),
    (
        "ragged",
        PREDICT,
        '{"inputs": [[1, 2], [3]]}',
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    ("too large a number", PREDICT, '{"inputs": [1e999]}', 400, "Number too big to be stored in double. at offset: 12"),
    ("half a character", PREDICT, '{"inputs": ["\\ud800"]}', 400, "surrogate pair in string is invalid. at offset: 13"),
    ("deep", PREDICT, '{"inputs": ' + "[" * 200000, 400, "nested too deeply"),
]


@pytest.mark.parametrize(("path", "body", "expected"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_answers(server, path, body, expected):
    status, answer, headers = server.rest("POST", path, body.encode())
    assert (status, answer) == (200, expected)
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refusals(server, path, body, status, message):
    received, answer, headers = server.rest("POST", path, body.encode())
    assert received == status and message in answer["error"], answer
    assert headers["content-type"] == "application/json"


def test_tokens_that_are_not_finite(server):
    _, answer, _ = server.rest("POST", PREDICT, b'{"instances": [NaN, Infinity, -Infinity, 1e39]}')
    values = answer["predictions"]
    assert np.isnan(values[0]) and values[1:] == [np.inf, -np.inf, np.inf]
    _, answer, _ = server.rest("POST", PREDICT, b'{"instances": [Inf, -Inf, Infinity, 1]}')
    assert answer["predictions"] == [np.inf, -np.inf, np.inf, 2.5]


def test_gzip(server):
    packed = gzip.compress(b'{"instances": [1]}')
    headers = {"Content-Encoding": "gzip"}
    assert server.rest("POST", PREDICT, packed, headers)[1] == {"predictions": [2.5]}
    status, answer, _ = server.rest("POST", PREDICT, packed[:-4], headers)
    assert (status, answer) == (400, {"error": "JSON Parse error: The document is empty"})


def test_sizes_beyond_the_limit(server):
    long = b" " * 4_000_001
    status, answer, _ = server.rest("POST", PREDICT, long)
    assert status == 413 and "at most 4000000 bytes" in answer["error"]
    status, answer, _ = server.rest("POST", PREDICT, gzip.compress(long), {"Content-Encoding": "gzip"})
    assert status == 413 and "inflated too" in answer["error"]
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("halver", x=np.zeros(1_100_000, np.float32))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_few_bytes_that_declare_a_huge_tensor(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "halver"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=10**12)
    request.inputs["x"].float_val.append(1)
    assert _error(server.prediction.Predict, request) == (
        "RESOURCE_EXHAUSTED",
        "input x declares the shape [1000000000000], which takes more than the 4000000 bytes that a message may have. "
        "Send fewer examples at a time, or start the server with a larger --max_message_bytes.",
    )


@pytest.mark.parametrize(
    ("signature", "inputs", "expected"),
    [
        ("nope", {}, ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')),
        (
            "both",
            {"a": np.float32([1])},
            (
                "INVALID_ARGUMENT",
                "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but "
                "required: {b}.",
            ),
        ),
        ("", {"x": np.array([1.0])}, ("INVALID_ARGUMENT", "Expects arg[0] to be float but double is provided")),
    ],
)
def test_grpc_refusals(server, signature, inputs, expected):
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("halver", signature, **inputs)
    assert (caught.value.code().name, caught.value.details()) == expected


def test_the_answer_over_grpc_names_what_was_used(server):
    request = predict_pb2.PredictRequest(output_filter=["negative"])
    request.model_spec.name, request.model_spec.signature_name = "halver", "both"
    request.model_spec.version_label = "first"
    for name, dtype in (("a", 1), ("b", 3)):
        request.inputs[name].dtype = dtype
        request.inputs[name].tensor_shape.dim.add(size=1)
    response = server.prediction.Predict(request)
    assert list(response.outputs) == ["negative"]
    assert (response.model_spec.name, response.model_spec.version.value) == ("halver", 1)
    assert response.model_spec.signature_name == "both"


def test_no_time_left(server):
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("halver", "count", timeout=0.2, n=np.int32([2**31 - 1]))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_status(server):
    ok = {"error_code": "OK", "error_message": ""}
    entries = [{"version": version, "state": "AVAILABLE", "status": ok} for version in ("2", "1")]
    assert server.rest("GET", "/v1/models/halver")[:2] == (200, {"model_version_status": entries})
    assert server.rest("GET", "/v1/models/halver/versions/1")[:2] == (200, {"model_version_status": entries[1:]})
    missing = {"error": "Could not find version 9 of model halver"}
    assert server.rest("GET", "/v1/models/halver/versions/9")[:2] == (404, missing)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "halver"
    response = server.models.GetModelStatus(request)
    assert [(entry.version, entry.state) for entry in response.model_version_status] == [(2, 30), (1, 30)]


def test_metadata(server):
    status, answer, _ = server.rest("GET", "/v1/models/halver/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "halver", "version": "2", "signature_name": ""}
    signature = answer["metadata"]["signature_def"]["signature_def"]["both"]
    assert signature["inputs"]["b"]["dtype"] == "DT_INT32"
    assert signature["method_name"] == "tensorflow/serving/predict"
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "halver"
    response = server.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["both"].inputs["b"].dtype == 3
    assert response.model_spec.version.value == 2


def test_a_reload_that_asks_for_too_much_changes_nothing(server):
    before = server.rest("GET", "/v1/models/halver")
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="halver", base_path="relative")
    code, details = _error(server.models.HandleReloadConfigRequest, request)
    assert code == "INVALID_ARGUMENT" and "nor ModelServerConfig::model_platform" in details
    config.model_platform = "tensorflow"
    code, details = _error(server.models.HandleReloadConfigRequest, request)
    assert code == "INVALID_ARGUMENT" and "absolute path" in details
    config.base_path = "/nowhere"
    config.version_labels["stable"] = 7
    code, details = _error(server.models.HandleReloadConfigRequest, request)
    assert code == "FAILED_PRECONDITION" and "assign label to version 7 of model halver" in details
    assert server.rest("GET", "/v1/models/halver")[:2] == before[:2]
    assert server.rest("POST", "/v1/models/halver/labels/first:predict", '{"instances": [1]}')[0] == 200


def test_health(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert _error(stub.Check, health_pb2.HealthCheckRequest(service="x")) == ("NOT_FOUND", "service name unknown")


def test_metrics_count_requests_and_not_invented_names(server):
    server.rest("POST", PREDICT, '{"instances": [1]}')
    server.rest("POST", "/v1/models/invented:predict", "{}")
    status, text, headers = server.rest("GET", "/monitoring/prometheus/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert ':tensorflow:serving:request_count{model_name="halver",status="OK"}' in text
    assert ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"}' in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    served = {"model_name": "halver", "API": "predict", "entrypoint": "REST", "le": "+Inf"}
    assert served in [sample.labels for sample in families[":tensorflow:serving:request_latency"].samples]
    assert "invented" not in text


def test_other_origins_are_told_nothing_by_default(server):
    _, _, headers = server.rest("POST", PREDICT, json.dumps({"instances": [1]}), {"Origin": "http://example.com"})
    assert not [name for name in headers if name.startswith("access-control-")]


def _error(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()
