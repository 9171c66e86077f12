"""Sums of a profile."""

import pytest
import tensorflow as tf

from benchmarks.op_times import OpTime, grouped, layer, operation, traced


def test_operations_are_told_from_other_events():
    assert operation("a/b/MatMul:MatMul#id=3#") == ("MatMul", "a/b/MatMul")
    assert operation("ThreadpoolListener::Record") is None
    assert operation("ExecutorState: Process") is None
    assert operation("no separator") is None
    assert operation("a:_MklNativeConv2D") == ("Conv2D", "a")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("while/extractor_1/convolution_2_1/Conv2D", "extractor/convolution"),
        ("gradient_tape/extractor_1/normalisation/mul", "extractor/normalisation (gradient)"),
        ("head_1/dense/MatMul", "head/dense"),
        ("map/TensorArrayV2Read", None),
    ],
)
def test_layers_are_read_from_scopes(name, expected):
    assert layer(name) == expected


def test_groups_are_sums_the_longest_first():
    times = [OpTime("Mul", "head/dense/a", 1.0, 2), OpTime("Add", "b", 5.0, 1), OpTime("Mul", "c", 2.0, 1)]
    assert grouped(times, "op") == [("Add", 5.0, 1), ("Mul", 3.0, 3)]
    assert grouped(times, "layer") == [("elsewhere: Add", 5.0, 1), ("elsewhere: Mul", 2.0, 1), ("head/dense", 1.0, 2)]


def test_a_trace_finds_the_operations_of_a_graph():
    matrix = tf.random.stateless_uniform((64, 64), (0, 0))
    multiply = tf.function(lambda: tf.matmul(matrix, matrix), autograph=False)
    products = [time for time in traced(multiply, 4) if time.operation.endswith("MatMul")]
    assert [time.times for time in products] == [1] and products[0].seconds > 0
