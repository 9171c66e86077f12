"""The page that Prometheus reads is TensorFlow Serving's: its names, labels and buckets."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from export.server.metrics import Metrics

LATENCY = ":tensorflow:serving:request_latency"


def page(*requests):
    metrics = Metrics()
    for request in requests:
        metrics.record(*request)
    return metrics.page().decode()


def test_a_counter_is_called_as_tensorflow_serving_calls_it():
    lines = page(("m", "predict", "REST", "OK", 1.0), ("m", "predict", "REST", "OK", 1.0)).splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2.0' in lines
    assert not [line for line in lines if "_total" in line or "_created" in line]


def test_a_request_is_in_every_bucket_from_its_own_upwards():
    text = page(("m", "predict", "GRPC", "OK", 18e-6), ("m", "predict", "GRPC", "OK", 19e-6), ("m", "", "", "OK", 1e6))
    assert f"# TYPE {LATENCY} histogram" in text
    [family] = [family for family in text_string_to_metric_families(text) if family.name == LATENCY]
    series = [sample for sample in family.samples if sample.labels["API"] == "predict"]
    assert all(sample.labels["entrypoint"] == "GRPC" and sample.labels["model_name"] == "m" for sample in series)
    buckets = {sample.labels["le"]: sample.value for sample in series if sample.name == f"{LATENCY}_bucket"}
    # Labels of bounds are compared as text where series of several servers are added up.
    assert list(buckets)[:4] == ["10", "18", "32.4", "58.32"] and list(buckets)[-2:] == ["1.47476e+09", "+Inf"]
    assert [buckets[bound] for bound in ("10", "18", "32.4", "+Inf")] == [0, 1, 2, 2]
    assert {sample.name: sample.value for sample in series if "bucket" not in sample.name} == {
        f"{LATENCY}_sum": 37,
        f"{LATENCY}_count": 2,
    }


def test_any_name_is_read_back_and_a_page_without_requests_names_what_is_counted():
    name = 'Modèle "n\\1"\n'
    families = text_string_to_metric_families(page((name, "predict", "REST", "OK", 1.0)))
    assert {sample.labels["model_name"] for family in families for sample in family.samples} == {name}
    names = [family.name for family in text_string_to_metric_families(page())]
    assert names == [":tensorflow:serving:request_count", LATENCY]
