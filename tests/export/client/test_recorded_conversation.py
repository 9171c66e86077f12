"""The client of 0.1 speaks with an export of today: all that it reads is there, and says what it said.

`conversation_of_0_1.jsonl` is what that client sent about the wave model, over both protocols, and what it got. It is
sent again to the same model, exported with all that exports have learned since.
"""

import base64
import http.client
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.export.served import CLOSE

LINES = Path(__file__).with_name("conversation_of_0_1.jsonl").read_text().splitlines()
RECORDS = [json.loads(line) for line in LINES]
# What that client knows; of other outputs it could not even read the metadata.
DTYPES = {"DT_FLOAT", "DT_INT32", "DT_STRING"}
MODEL, NOW = "waves", "bounded"


def of(protocol, metadata):
    return [r for r in RECORDS if r["protocol"] == protocol and metadata == ("etadata" in r.get("path", r["method"]))]


def assert_alike(expected, found):
    assert expected.keys() <= found.keys()
    for name, value in expected.items():
        value, now = np.asarray(value), np.asarray(found[name])
        assert now.shape == value.shape and now.dtype == value.dtype
        np.testing.assert_allclose(now, value, **CLOSE, err_msg=name)


def asked(server, record):
    """Over REST, the same request about today's model."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    path = record["path"].replace(f"/{MODEL}", f"/{NOW}", 1)
    connection.request(record["method"], path, record["request"] or None)
    response = connection.getresponse()
    document = json.loads(response.read())
    connection.close()
    assert response.status == 200, document
    return document


def grpc_messages(record, kind):
    pair = [getattr(kind, name) for name in (f"{record['method']}Request", f"{record['method']}Response")]
    request, reply = (
        one.FromString(base64.b64decode(record[key])) for one, key in zip(pair, ("request", "reply"), strict=True)
    )
    request.model_spec.name = NOW
    return request, reply


def test_both_protocols_were_recorded_whole():
    signatures = ("adapt", "predict", "serving_default")
    for protocol in ("grpc", "rest"):
        assert len(of(protocol, metadata=False)) == 3 and len(of(protocol, metadata=True)) == 2
    assert [json.loads(record["request"])["signature_name"] for record in of("rest", False)] == list(signatures)


@pytest.mark.parametrize("position", range(3))
def test_requests_over_rest_are_answered_as_then(server, position):
    record = of("rest", metadata=False)[position]
    assert_alike(record["reply"]["outputs"], asked(server, record)["outputs"])


@pytest.mark.parametrize("position", range(3))
def test_requests_over_grpc_are_answered_as_then(server, position):
    request, reply = grpc_messages(of("grpc", metadata=False)[position], predict_pb2)
    found = prediction_service_pb2_grpc.PredictionServiceStub(server.channel).Predict(request, timeout=60)
    arrays = [{name: tf.make_ndarray(one) for name, one in answer.outputs.items()} for answer in (reply, found)]
    assert_alike(*arrays)


def assert_signatures_go_on(before, now):
    """Signatures of that time have the same inputs, and at least the same outputs."""
    ours = [name for name in before if not name.startswith("__")]
    assert ours and set(ours) <= set(now)
    for name in ours:
        assert before[name]["inputs"].keys() == now[name]["inputs"].keys()
        assert before[name]["outputs"].keys() <= now[name]["outputs"].keys()
        for side in ("inputs", "outputs"):
            for key, tensor in before[name][side].items():
                same = [(one["dtype"], _sizes(one)) for one in (tensor, now[name][side][key])]
                assert same[0] == same[1], (name, key)
    assert {one["dtype"] for its in now.values() for one in its["outputs"].values() if one["dtype"]} <= DTYPES | {
        "DT_INVALID"
    }


def _sizes(tensor):
    shape = tensor.get("tensor_shape", {})
    return [int(axis["size"]) for axis in shape.get("dim", [])]


def test_metadata_over_rest_name_all_that_they_named(server):
    record = of("rest", metadata=True)[0]
    both = [reply["metadata"]["signature_def"]["signature_def"] for reply in (record["reply"], asked(server, record))]
    assert_signatures_go_on(*both)
    assert {"adapt_bounded", "adapt_compact"} <= both[1].keys() - both[0].keys()


def test_metadata_over_grpc_are_those_over_rest(server):
    request, reply = grpc_messages(of("grpc", metadata=True)[0], get_model_metadata_pb2)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(server.channel)
    names = []
    for answer in (reply, stub.GetModelMetadata(request, timeout=60)):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(signatures)
        names.append(set(signatures.signature_def))
    assert names[0] < names[1]
