"""What is counted in a graph, and the program that makes hours of it."""

import pytest
import tensorflow as tf

from benchmarks.graph_operations import Operations, graph_operations
from benchmarks.performance.floating_point import step_operations as operations_by_hand
from benchmarks.performance.work import Work
from benchmarks.step_cost import cells, step_operations
from cml_tf.experiments import presets
from cml_tf.experiments.configuration import load_config
from tests.helpers.programs import run_programs

LEFT, RIGHT = tf.TensorSpec((3, 4, 5)), tf.TensorSpec((3, 5, 6))


def counted(function, *specifications, trips=None):
    return graph_operations(tf.function(function, autograph=False).get_concrete_function(*specifications), trips)


def called(function, *specifications):
    """Counted in a function that is called, where what is not needed is left out."""
    inner = tf.function(function, autograph=False)
    return counted(lambda *arguments: inner(*arguments), *specifications)


def branched(left, right):
    return tf.cond(tf.reduce_sum(left) > 0, lambda: left[0] @ right[0], lambda: tf.reduce_sum(left @ right, 0))


ONE = 2 * 4 * 5 * 6
PRODUCTS = {
    "a product": (lambda left, right: left[0] @ right[0], ONE),
    "many products": (tf.matmul, 3 * ONE),
    "transposed": (lambda left, right: tf.matmul(right, left, transpose_a=True, transpose_b=True), 3 * ONE),
    "the larger branch": (branched, 3 * ONE),
    "dead": (lambda left, right: (tf.matmul(left, right), left[0] @ right[0])[1], ONE),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrix_products(name):
    function, expected = PRODUCTS[name]
    assert called(function, LEFT, RIGHT).matrix_products == expected


def test_a_convolution_and_its_derivatives_cost_the_same():
    def gradients(images, kernel):
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            result = tf.nn.conv2d(images, kernel, 1, "SAME")
        return tape.gradient(result, (images, kernel))

    one = 2 * 9 * (2 * 8 * 8) * 3 * 4
    images, kernel = tf.TensorSpec((2, 8, 8, 3)), tf.TensorSpec((3, 3, 3, 4))
    assert called(lambda *given: tf.nn.conv2d(*given, 1, "SAME"), images, kernel).convolutions == one
    assert called(gradients, images, kernel).convolutions == 2 * one, "its own value is not needed"


def test_kernels_are_no_reshapes_and_no_shapes():
    function = lambda left: tf.nn.relu(tf.reshape(left, (-1, tf.shape(left)[-1] * 2))) + 1.0  # noqa: E731
    assert called(function, LEFT) == Operations(kernels=2)


def mapped(left, right):
    return tf.map_fn(lambda parts: parts[0] @ parts[1], (left, right), fn_output_signature=tf.float32)


def loops_in_loops(left):
    return tf.map_fn(lambda rows: tf.map_fn(tf.nn.relu, rows), left)


def switched(left):
    return tf.switch_case(tf.cast(left[0, 0, 0], tf.int32), [lambda: left, lambda: -left])


def test_loops_count_once_a_trip():
    assert counted(mapped, LEFT, RIGHT, trips=3).matrix_products == 3 * ONE


@pytest.mark.parametrize(
    ("function", "specifications", "trips", "message"),
    [
        (mapped, (LEFT, RIGHT), None, "the number of iterations of the loop .* is unknown"),
        (loops_in_loops, (LEFT,), 3, "the number of iterations of the loop"),
        (tf.matmul, (tf.TensorSpec((None, 5)), tf.TensorSpec((5, 6))), None, r"must be static .* received \[-1, 6\]"),
        (switched, (LEFT,), None, "is not a call that can be counted"),
    ],
)
def test_what_cannot_be_counted_is_refused(function, specifications, trips, message):
    with pytest.raises(ValueError, match=message):
        counted(function, *specifications, trips=trips)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_configurations_step_costs_what_is_counted_by_hand(steps):
    config = presets.images("cifar_fs", "3way,2shot")
    config.learner.filters, config.adaptation.steps, config.dataset.queries = 4, steps, 2
    work = Work(size=32, channels=3, filters=4, ways=3, shots=2, queries=2, steps=steps)
    assert step_operations(config).convolutions == operations_by_hand(work)


def test_worst_points_cost_a_second_gradient():
    config = load_config("configs/glyphs.py:smoke")
    plain = step_operations(config)
    config.train.sharpness = 0.1
    assert step_operations(config).convolutions == 2 * plain.convolutions


def test_hours_follow_from_both_rates():
    config = load_config("configs/sinusoid.py:5shot")
    products, kernels, steps, _ = cells(config, 10.0, 10.0)
    operations = step_operations(config)
    assert float(products) * 1e9 == pytest.approx(operations.products, rel=1e-3)
    assert (kernels, steps) == (f"{operations.kernels:,}", "15,000")
    started = operations.kernels * 1e-3 * 15_000 / 3600
    assert float(cells(config, 1e9, 1000.0)[-1]) == pytest.approx(started, rel=0.05)
    worked = operations.products / 1e9 * 15_000 / 3600
    assert float(cells(config, 1e-3, 0.0)[-1]) == pytest.approx(worked, rel=0.05)


@pytest.mark.slow
def test_the_program_prints_a_row_and_names_what_it_cannot_count():
    sources = "sinusoid.py:maml,smoke", "cora.py:maml", "missing.py"
    good, nodes, missing = run_programs([("benchmarks.step_cost", f"--config=configs/{name}") for name in sources])
    assert good.code == 0 and good.out.splitlines()[-1].startswith("| configs/sinusoid.py:maml,smoke |")
    for failed, complaint in ((nodes, "cora.py:maml: shapes must be static"), (missing, "does not exist")):
        assert failed.code == 2 and len(failed.messages) == 1 and complaint in failed.messages[0]
