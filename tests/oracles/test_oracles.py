"""Ours beside an independent solution in JAX; skipped where `make oracles` has not made its environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import (
    AdjointBacksolve,
    AdjointHeun,
    GradientDescent,
    GradientFlow,
    Hypergradient,
    Initial,
    MetaSGD,
    TangentKernel,
)
from cml_tf.bilevel import BilevelProblem, hypergradient, make_solver
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


def layers_of(learner) -> dict[str, tf.Tensor]:
    """The variables of a perceptron, as the oracle names them."""
    flat = [tf.convert_to_tensor(variable) for variable in tf.nest.flatten(tuple(learner.variables))]
    names = [f"{kind}_{number}" for number in range(len(flat) // 2) for kind in ("kernel", "bias")]
    return dict(zip(names, flat, strict=True))


def flowed(order: Hypergradient, steps: int, arrays: dict, times: dict) -> dict[str, np.ndarray]:
    """What a hypergradient makes of the task in so many steps, under the oracle's names."""
    learner, problem = smooth_mlp(2), Regression(2)
    rule, layers = GradientDescent(problem, MetaSGD(1.0), steps, order), layers_of(learner)
    rule.build(learner)
    inputs, targets, queries, answers = map(tf.constant, arrays.values())

    @tf.function(autograph=False)
    def made(flat, rates):
        with tf.GradientTape() as tape:
            tape.watch((flat, rates))
            parameters = Parameters(*tf.nest.pack_sequence_as(tuple(learner.variables), flat))
            initial = rule.initial(learner)._replace(parameters=parameters, meta=tuple(rates))
            task = rule.adapt(learner, initial, Examples(inputs, targets), ())
            error = tf.reduce_mean(problem.losses(task.predict(queries)[1], answers))
        return tf.nest.flatten(tuple(task.parameters)), *tape.gradient(error, (flat, rates))

    moved, of_layers, of_rates = made([*layers.values()], [tf.constant(times[name] / steps) for name in layers])
    found = {f"moved_{name}": one.numpy() for name, one in zip(layers, moved, strict=True)}
    found |= {f"of_{name}": one.numpy() for name, one in zip(layers, of_layers, strict=True)}
    return found | {f"of_times_{name}": one.numpy() / steps for name, one in zip(layers, of_rates, strict=True)}


def test_the_adjoints_of_a_flow(float64, oracle):
    """Backsolve's error is of fourth order in the step. Heun's is of second: twice the steps leave a quarter."""
    generator = np.random.default_rng(5)
    given = {"inputs": (6, 2), "targets": (6, 2), "queries": (5, 2), "answers": (5, 2)}
    arrays = {name: generator.standard_normal(shape) for name, shape in given.items()}
    layers = layers_of(smooth_mlp(2))
    times = {name: generator.uniform(0.5, 2.0, one.shape) for name, one in layers.items()}
    expected = oracle("adjoint_flow", **arrays, **layers, **{f"times_{name}": one for name, one in times.items()})
    solved_back = flowed(AdjointBacksolve(), 200, arrays, times)
    coarse, fine = (flowed(AdjointHeun(stored_every=10), steps, arrays, times) for steps in (100, 200))
    assert solved_back.keys() == fine.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(solved_back[name], value, rtol=1e-8, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(fine[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose((4 * fine[name] - coarse[name]) / 3, value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("proximity", [0.0, 0.7])
def test_the_gradients_of_a_minimum(float64, oracle, proximity):
    """With proximity the steps start at the minimum without: so it is the minimum near itself too."""
    generator = np.random.default_rng(6)
    shapes = {"inputs": (8, 3), "queries": (6, 3), "weights": (8,)}
    arrays = {name: generator.standard_normal(shape) for name, shape in shapes.items()}
    labels, answers = np.eye(3)[np.arange(8) % 3], np.eye(3)[np.arange(6) % 3]
    inputs, queries, weights = map(tf.constant, arrays.values())

    def losses(y, points, wanted):
        return tf.nn.softmax_cross_entropy_with_logits(wanted, points @ y[0] + y[1])

    def lower(y, x):
        lengths = tf.add_n([tf.reduce_sum(tf.square(part)) for part in y])
        return tf.reduce_mean(tf.sigmoid(x[0]) * losses(y, inputs, labels)) + tf.exp(x[1]) * lengths / 2

    problem = BilevelProblem(lower, lambda y, x: tf.reduce_mean(losses(y, queries, answers)))
    x, start = [weights, tf.constant(-2.0, tf.float64)], [tf.zeros([3, 3], tf.float64), tf.zeros([3], tf.float64)]

    @tf.function(autograph=False)
    def found(start):
        start = hypergradient(problem, x, start, tf.constant(1000), 0.5, make_solver("first_order")).final
        solver = make_solver("implicit", proximity=proximity, iterations=100, tolerance=1e-13)
        return start, hypergradient(problem, x, start, tf.constant(10), 0.5, solver)

    start, ours = found(start)
    given = {"labels": labels, "answers": answers, "decay": x[1], "kernel": start[0], "bias": start[1]}
    expected = oracle("minimum", **arrays, **given, proximity=np.float64(proximity))
    names = ("moved_kernel", "moved_bias", "of_weights", "of_decay", "of_kernel", "of_bias")
    values = (*ours.final, *ours.of_x, *ours.of_start)
    assert set(names) == expected.keys()
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-11, err_msg=name)
    assert (np.abs(expected["of_kernel"]).max() > 1e-2) == (proximity > 0)


@pytest.mark.parametrize(("horizon", "outputs"), [(0.3, 2), (5.0, 1)])
def test_the_tangent_kernel_and_its_gradients(float64, oracle, horizon, outputs):
    generator = np.random.default_rng(outputs)
    given = {"inputs": (5, 2), "targets": (5, outputs), "queries": (4, 2), "of_answers": (4, outputs)}
    arrays = {name: generator.standard_normal(shape) for name, shape in given.items()}
    learner, rule = smooth_mlp(outputs), TangentKernel(Regression(outputs), horizon)
    rule.build(learner)
    layers = layers_of(learner)
    flat = [*layers.values()]
    expected = oracle("tangent_kernel", **arrays, horizon=np.float64(horizon), **layers)
    inputs, targets, queries, of_answers = map(tf.constant, arrays.values())
    with tf.GradientTape() as tape:
        tape.watch(flat)
        parameters = Parameters(*tf.nest.pack_sequence_as(tuple(learner.variables), flat))
        initial = rule.initial(learner)._replace(parameters=parameters)
        answers = rule.adapt(learner, initial, Examples(inputs, targets), ()).predict(queries)[1]
        measured = tf.reduce_sum(of_answers * answers)
    found = dict(zip(layers, tape.gradient(measured, flat), strict=True))
    ours = {"answers": answers} | {f"of_{name}": gradient for name, gradient in found.items()}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-7, atol=1e-8, err_msg=name)
