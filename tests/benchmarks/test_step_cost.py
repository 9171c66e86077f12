"""What is counted in a graph, and the program that makes hours of it."""

import copy

import pytest
import tensorflow as tf

from benchmarks import step_cost
from benchmarks.graph_operations import Operations, graph_operations
from benchmarks.performance.floating_point import step_operations as operations_by_hand
from benchmarks.performance.work import Work
from benchmarks.step_cost import cells, step_operations
from cml_tf.experiments import presets
from cml_tf.experiments.configuration import load_config
from tests.helpers.programs import run_programs

LEFT, RIGHT = tf.TensorSpec((3, 4, 5)), tf.TensorSpec((3, 5, 6))
IMAGES, KERNEL = tf.TensorSpec((2, 8, 8, 3)), tf.TensorSpec((3, 3, 3, 4))


def _counted(function, *specifications, trips=None):
    return graph_operations(tf.function(function, autograph=False).get_concrete_function(*specifications), trips)


def _branched(left, right):
    return tf.cond(tf.reduce_sum(left) > 0, lambda: left[0] @ right[0], lambda: tf.reduce_sum(left @ right, 0))


def _mapped(left, right):
    return tf.map_fn(lambda parts: parts[0] @ parts[1], (left, right), fn_output_signature=tf.float32)


def _loops_in_loops(left):
    return tf.map_fn(lambda rows: tf.map_fn(tf.nn.relu, rows), left)


def _switched(left):
    return tf.switch_case(tf.cast(left[0, 0, 0], tf.int32), [lambda: left, lambda: -left])


def _convolved(images, kernel):
    return tf.nn.conv2d(images, kernel, 1, "SAME")


def _convolution_gradients(images, kernel):
    with tf.GradientTape() as tape:
        tape.watch((images, kernel))
        result = _convolved(images, kernel)
    return tape.gradient(result, (images, kernel))


ONE, CONVOLUTION = 2 * 4 * 5 * 6, 2 * 9 * (2 * 8 * 8) * 3 * 4
# A function that is called, where what is not needed is left out, and what it costs.
COUNTS = [
    (lambda left, right: left[0] @ right[0], (LEFT, RIGHT), "matrix_products", ONE),
    (tf.matmul, (LEFT, RIGHT), "matrix_products", 3 * ONE),
    (lambda *t: tf.matmul(*t[::-1], transpose_a=True, transpose_b=True), (LEFT, RIGHT), "matrix_products", 3 * ONE),
    (_branched, (LEFT, RIGHT), "matrix_products", 3 * ONE),
    (lambda left, right: (tf.matmul(left, right), left[0] @ right[0])[1], (LEFT, RIGHT), "matrix_products", ONE),
    (_convolved, (IMAGES, KERNEL), "convolutions", CONVOLUTION),
    (_convolution_gradients, (IMAGES, KERNEL), "convolutions", 2 * CONVOLUTION),  # Its own value is not needed.
]
# With the number of trips of its loops, and what the refusal names.
REFUSED = [
    (_mapped, (LEFT, RIGHT), None, "loop"),
    (_loops_in_loops, (LEFT,), 3, "loop"),
    (tf.matmul, (tf.TensorSpec((None, 5)), tf.TensorSpec((5, 6))), None, r"static .* \[-1, 6\]"),
    (_switched, (LEFT,), None, "not a call"),
]


def test_products_and_convolutions_are_counted_and_what_cannot_be_is_refused():
    for function, specifications, kind, expected in COUNTS:
        inner = tf.function(function, autograph=False)
        assert getattr(_counted(lambda *given, f=inner: f(*given), *specifications), kind) == expected
    assert _counted(_mapped, LEFT, RIGHT, trips=3).matrix_products == 3 * ONE, "loops count once a trip"
    kernels = tf.function(
        lambda left: tf.nn.relu(tf.reshape(left, (-1, tf.shape(left)[-1] * 2))) + 1.0, autograph=False
    )
    assert _counted(lambda left: kernels(left), LEFT) == Operations(kernels=2), "reshapes and shapes are none"
    for function, specifications, trips, message in REFUSED:
        with pytest.raises(ValueError, match=message):
            _counted(function, *specifications, trips=trips)


@pytest.fixture(scope="module")
def waves():
    """A configuration, and what its step costs."""
    config = load_config("configs/sinusoid.py:maml,5shot")
    config.adaptation.steps, config.learner.hidden = 1, (4,)
    return config, step_operations(config)


@pytest.mark.slow
def test_a_configurations_step_costs_what_is_counted_by_hand():
    config = presets.images("cifar_fs", "3way,2shot")
    config.learner.filters, config.adaptation.steps, config.dataset.queries = 4, 1, 2
    work = Work(size=32, channels=3, filters=4, ways=3, shots=2, queries=2, steps=1)
    assert step_operations(config).convolutions == operations_by_hand(work)


@pytest.mark.slow
def test_worst_points_cost_a_second_gradient(waves):
    config, operations = waves
    sharp = copy.deepcopy(config)
    sharp.train.sharpness = 0.1
    assert step_operations(sharp).matrix_products == 2 * operations.matrix_products


def test_hours_follow_from_both_rates(waves, monkeypatch):
    config, operations = waves
    monkeypatch.setattr(step_cost, "step_operations", lambda _: operations)
    products, kernels, steps, _ = cells(config, 10.0, 10.0)
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
    for failed, words in ((nodes, ("cora.py:maml", "static")), (missing, ("missing.py",))):
        assert failed.code == 2 and len(failed.messages) == 1 and all(word in failed.messages[0] for word in words)
