"""Sums of a profile, and the figures of the measurements of latency and throughput."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.op_times import OpTime, grouped, layer, operation, traced
from benchmarks.serving import answer_rates
from benchmarks.serving.paired_latency import measure, report, table

OPERATIONS = {
    "a/b/MatMul:MatMul#id=3#": ("MatMul", "a/b/MatMul"),
    **dict.fromkeys(("ThreadpoolListener::Record", "ExecutorState: Process", "no separator")),
    "a:_MklNativeConv2D": ("Conv2D", "a"),
}
LAYERS = {
    "while/extractor_1/convolution_2_1/Conv2D": "extractor/convolution",
    "gradient_tape/extractor_1/normalisation/mul": "extractor/normalisation (gradient)",
    "head_1/dense/MatMul": "head/dense",
    "map/TensorArrayV2Read": None,
}


def test_operations_and_layers_are_read_from_events_and_summed_the_longest_first():
    assert {name: operation(name) for name in OPERATIONS} == OPERATIONS
    assert {name: layer(name) for name in LAYERS} == LAYERS
    times = [OpTime("Mul", "head/dense/a", 1.0, 2), OpTime("Add", "b", 5.0, 1), OpTime("Mul", "c", 2.0, 1)]
    assert grouped(times, "op") == [("Add", 5.0, 1), ("Mul", 3.0, 3)]
    assert grouped(times, "layer") == [("elsewhere: Add", 5.0, 1), ("elsewhere: Mul", 2.0, 1), ("head/dense", 1.0, 2)]


def test_a_trace_finds_the_operations_of_a_graph():
    matrix = tf.random.stateless_uniform((64, 64), (0, 0))
    multiply = tf.function(lambda: tf.matmul(matrix, matrix), autograph=False)
    products = [time for time in traced(multiply, 4) if time.operation.endswith("MatMul")]
    assert [time.times for time in products] == [1] and products[0].seconds > 0


def test_calls_take_turns_the_first_do_not_count_and_ratios_are_those_of_the_medians():
    order = []
    times = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4)
    assert order == ["a", "b"] * (len(order) // 2) and len(order) // 2 > 4
    assert {name: seconds.shape for name, seconds in times.items()} == {"a": (4,), "b": (4,)}
    seconds = {"in process, adapt and predict": 0.1, "gRPC, adapt and predict": 0.12, "REST, adapt and predict": 0.2}
    times = {name: np.array([median, median, 9.0]) for name, median in seconds.items()}
    result = report(times | {"gRPC, predict from adapted": np.array([0.02, 0.02, 0.0])})
    assert result["milliseconds"]["gRPC, adapt and predict"]["p50"] == 120.0
    assert (result["grpc_overhead_at_p50"], result["rest_overhead_at_p50"]) == (0.2, 1.0)
    assert result["times_cheaper_from_adapted_state"] == 6.0 and "+20.0%" in table(result | {"filters": 1}).caption


def test_clients_ask_at_the_same_time_until_the_end_and_what_one_raises_is_raised():
    meeting = threading.Barrier(3, timeout=60)
    answers = []

    def call(number):
        # Nobody is answered before all have asked.
        if not answers.count(number):
            meeting.wait()
        answers.append(number)

    rate = answer_rates.rate([lambda number=number: call(number) for number in range(3)], 0.1)
    # The answer that comes after the end does not count.
    assert set(answers) == {0, 1, 2} and rate == pytest.approx((len(answers) - 3) / 0.1)
    with pytest.raises(ZeroDivisionError):
        answer_rates.rate([lambda: 1 / 0, lambda: None], 0.0)


def test_throughput_is_compared_round_by_round():
    result = answer_rates.report({"images": np.array([[10.0, 9.0], [20.0, 16.0], [30.0, 30.0]])})
    assert result["tasks_per_second"]["images"] == {"in_process": 20.0, "served": 16.0, "served_over_in_process": 0.9}
    assert answer_rates.table(result | {"clients": 3, "filters": 1}).row_count == 1 and result["rounds"] == 3
