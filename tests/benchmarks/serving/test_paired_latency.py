"""The figures of the latency measurement."""

import numpy as np

from benchmarks.serving.paired_latency import measure, report, table


def test_the_calls_take_turns_and_the_first_turns_do_not_count():
    order = []
    times = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4)
    assert order == ["a", "b"] * (len(order) // 2) and len(order) // 2 > 4
    assert {name: seconds.shape for name, seconds in times.items()} == {"a": (4,), "b": (4,)}


def test_ratios_are_those_of_the_medians():
    kinds = ("in process, adapt and predict", "gRPC, adapt and predict", "REST, adapt and predict")
    times = {name: np.array([seconds, seconds, 9.0]) for name, seconds in zip(kinds, (0.1, 0.12, 0.2), strict=True)}
    result = report(times | {"gRPC, predict from adapted": np.array([0.02, 0.02, 0.0])})
    assert result["milliseconds"]["gRPC, adapt and predict"]["p50"] == 120.0
    assert (result["grpc_overhead_at_p50"], result["rest_overhead_at_p50"]) == (0.2, 1.0)
    assert result["times_cheaper_from_adapted_state"] == 6.0
    assert "+20.0%" in table(result | {"filters": 1}).caption
