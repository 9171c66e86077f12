"""The page that Prometheus reads is TensorFlow Serving's: its names, labels and buckets; health, and other origins."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from export.server.metrics import Metrics

LATENCY = ":tensorflow:serving:request_latency"
COUNT = ":tensorflow:serving:request_count"


def test_names_labels_and_buckets_are_tensorflow_servings():
    metrics, strange = Metrics(), 'Modèle "n\\1"\n'
    names = [family.name for family in text_string_to_metric_families(metrics.page().decode())]
    assert names == [COUNT, LATENCY], "also before the first request"
    for seconds in (18e-6, 19e-6):
        metrics.record("m", "predict", "GRPC", "OK", seconds)
    metrics.record(strange, "", "", "OK", 1e6)
    text = metrics.page().decode()
    lines = text.splitlines()
    assert {f"# TYPE {COUNT} counter", f"# TYPE {LATENCY} histogram"} <= set(lines)
    assert f'{COUNT}{{model_name="m",status="OK"}} 2.0' in lines and "_total" not in text and "_created" not in text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.labels["model_name"] for sample in samples} == {"m", strange}
    series = [sample for sample in samples if sample.labels.get("entrypoint") == "GRPC"]
    buckets = {sample.labels["le"]: sample.value for sample in series if sample.name == f"{LATENCY}_bucket"}
    # Labels of bounds are compared as text where series of several servers are added up.
    assert list(buckets)[:4] == ["10", "18", "32.4", "58.32"] and list(buckets)[-2:] == ["1.47476e+09", "+Inf"]
    assert [buckets[bound] for bound in ("10", "18", "32.4", "+Inf")] == [0, 1, 2, 2]
    sums = {sample.name: sample.value for sample in series if "bucket" not in sample.name}
    assert sums == {f"{LATENCY}_sum": 37, f"{LATENCY}_count": 2}


def test_the_server_counts_requests_and_no_invented_names_and_tells_other_origins_nothing(server):
    path, origin = "/v1/models/halver:predict", {"Origin": "http://example.com"}
    _, _, headers = server.rest("POST", path, {"instances": [1]}, origin)
    assert not [name for name in headers if name.startswith("access-control-")]
    server.rest("POST", "/v1/models/invented:predict", "{}")
    status, text, headers = server.rest("GET", "/monitoring/prometheus/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    for labels in ('model_name="halver",status="OK"', 'model_name="",status="NOT_FOUND"'):
        assert f"{COUNT}{{{labels}}}" in text
    assert 'API="predict"' in text and 'entrypoint="REST"' in text and "invented" not in text


def test_health(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="x"))
    assert (caught.value.code().name, caught.value.details()) == ("NOT_FOUND", "service name unknown")
