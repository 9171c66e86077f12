"""Ours beside an independent solution in JAX; skipped where `make oracles` has not made its environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import GradientFlow, Initial, TangentKernel
from cml_tf.episodes import Examples
from cml_tf.learners.learner import Parameters
from cml_tf.problems import Classification, Regression
from tests.helpers.models import smooth_mlp
from tests.helpers.programs import ROOT

PYTHON = ROOT / "build" / "oracle-venv" / "bin" / "python"
INDEPENDENT = Path(__file__).with_name("independent.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.is_file(), reason="build/oracle-venv is absent: `make oracles` makes it."),
]


@pytest.fixture
def oracle(tmp_path):
    """What a function of the oracle gives for arrays."""

    def ask(name: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        source, target = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
        np.savez(source, allow_pickle=False, **{key: np.asarray(value) for key, value in arrays.items()})
        command = [str(PYTHON), str(INDEPENDENT), name, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(target, allow_pickle=False) as made:
            return dict(made)

    return ask


@pytest.mark.parametrize(("horizon", "seed"), [(0.5, 0), (3.0, 1)])
def test_the_flow_of_the_head_and_its_gradients(float64, oracle, horizon, seed):
    generator = np.random.default_rng(seed)
    labels = np.int32([0, 1, 2, 0, 1, 2])
    given = {"rows": (6, 4), "kernel": (4, 3), "bias": (3,), "of_kernel": (4, 3), "of_bias": (3,)}
    arrays = {name: generator.standard_normal(shape) for name, shape in given.items()}
    expected = oracle("gradient_flow", **arrays, labels=np.eye(3)[labels], horizon=np.float64(horizon))
    rule = GradientFlow(Classification(3), solver_steps=1000)
    rows, kernel, bias = (tf.constant(arrays[name]) for name in ("rows", "kernel", "bias"))
    log_horizon = tf.constant(np.log(horizon))
    with tf.GradientTape() as tape:
        tape.watch((rows, kernel, bias, log_horizon))
        initial = Initial((), (), (log_horizon,))
        moved = rule.fit(rows, Examples(rows, tf.constant(labels)), kernel, bias, initial)
        measured = tf.reduce_sum(arrays["of_kernel"] * moved[0]) + tf.reduce_sum(arrays["of_bias"] * moved[1])
    found = tape.gradient(measured, (rows, kernel, bias, log_horizon))
    names = ("rows", "kernel", "bias", "horizon")
    ours = {f"of_{name}": gradient for name, gradient in zip(names, found, strict=True)}
    ours |= {"moved_kernel": moved[0], "moved_bias": moved[1], "of_horizon": ours["of_horizon"] / horizon}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("horizon", "outputs"), [(0.3, 2), (5.0, 1)])
def test_the_tangent_kernel_and_its_gradients(float64, oracle, horizon, outputs):
    generator = np.random.default_rng(outputs)
    given = {"inputs": (5, 2), "targets": (5, outputs), "queries": (4, 2), "of_answers": (4, outputs)}
    arrays = {name: generator.standard_normal(shape) for name, shape in given.items()}
    learner, rule = smooth_mlp(outputs), TangentKernel(Regression(outputs), horizon)
    rule.build(learner)
    flat = [tf.convert_to_tensor(variable) for variable in tf.nest.flatten(tuple(learner.variables))]
    names = [f"{kind}_{number}" for number in range(len(flat) // 2) for kind in ("kernel", "bias")]
    layers = dict(zip(names, flat, strict=True))
    expected = oracle("tangent_kernel", **arrays, horizon=np.float64(horizon), **layers)
    inputs, targets, queries, of_answers = map(tf.constant, arrays.values())
    with tf.GradientTape() as tape:
        tape.watch(flat)
        parameters = Parameters(*tf.nest.pack_sequence_as(tuple(learner.variables), flat))
        initial = rule.initial(learner)._replace(parameters=parameters)
        answers = rule.adapt(learner, initial, Examples(inputs, targets), ()).predict(queries)[1]
        measured = tf.reduce_sum(of_answers * answers)
    found = dict(zip(names, tape.gradient(measured, flat), strict=True))
    ours = {"answers": answers} | {f"of_{name}": gradient for name, gradient in found.items()}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-7, atol=1e-8, err_msg=name)
