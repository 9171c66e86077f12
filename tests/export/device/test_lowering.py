"""What is written otherwise for LiteRT's converter keeps its value, and is converted to that value."""

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation.elimination import eliminate
from export.device.lowering import lower

CONSTANT = tf.constant(np.arange(12.0, dtype=np.float32).reshape(4, 3))


def relu_gradient(values):
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(tf.square(tf.nn.relu(values)))
    return tape.gradient(total, values)


def in_a_loop(values):
    return tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v - 0.1 * relu_gradient(v)), (0, values))[1]


BODIES = {
    "relu": relu_gradient,
    "relu in a loop": in_a_loop,
    "constant less transposed": lambda values: CONSTANT - tf.transpose(values),
}


def saved(body, directory):
    """A SavedModel of it, lowered."""
    module, spec = tf.Module(), tf.TensorSpec([3, 4], tf.float32, "values")
    function = tf.function(lambda values: {"answer": body(values)}, autograph=False).get_concrete_function(values=spec)
    tf.saved_model.save(module, str(directory), signatures={"ask": function})
    lower(directory)


@pytest.mark.parametrize("name", BODIES)
def test_values_are_the_same_in_tensorflow_and_in_the_interpreter(name, tmp_path):
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    expected = BODIES[name](tf.constant(values)).numpy()
    saved(BODIES[name], tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model")).signatures["ask"]
    np.testing.assert_allclose(loaded(values=tf.constant(values))["answer"], expected, rtol=1e-6, atol=1e-6)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "model"), signature_keys=["ask"])
    runner = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner("ask")
    np.testing.assert_allclose(runner(values=values)["answer"], expected, rtol=1e-6, atol=1e-6)


def test_elimination_solves_as_numpy_does():
    generator = np.random.default_rng(0)
    root, right = generator.standard_normal((9, 9)), generator.standard_normal((9, 2))
    matrix = root @ root.T + 0.1 * np.eye(9)
    solved = eliminate(tf.constant(matrix), tf.constant(right)).numpy()
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, right), rtol=1e-9, atol=1e-9)
