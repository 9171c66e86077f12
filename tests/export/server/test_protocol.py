"""What no single recorded exchange shows: health, metrics, other origins."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

PREDICT = "/v1/models/halver:predict"


def test_health(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="x"))
    assert (caught.value.code().name, caught.value.details()) == ("NOT_FOUND", "service name unknown")


def test_metrics_count_requests_and_not_invented_names(server):
    server.rest("POST", PREDICT, '{"instances": [1]}')
    server.rest("POST", "/v1/models/invented:predict", "{}")
    status, text, headers = server.rest("GET", "/monitoring/prometheus/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    for labels in ('model_name="halver",status="OK"', 'model_name="",status="NOT_FOUND"'):
        assert f":tensorflow:serving:request_count{{{labels}}}" in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    served = {"model_name": "halver", "API": "predict", "entrypoint": "REST", "le": "+Inf"}
    assert served in [sample.labels for sample in families[":tensorflow:serving:request_latency"].samples]
    assert "invented" not in text


def test_other_origins_are_told_nothing_by_default(server):
    _, _, headers = server.rest("POST", PREDICT, {"instances": [1]}, {"Origin": "http://example.com"})
    assert not [name for name in headers if name.startswith("access-control-")]
