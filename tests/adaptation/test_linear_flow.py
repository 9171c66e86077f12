"""F(H), the response of a linear flow, and its derivative: where eigenvalues are equal too."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import expm

from cml_tf.adaptation.linear_flow import flow_weights, response


def matrix(values, seed=0):
    """A symmetric matrix with these eigenvalues."""
    vectors = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))[0]
    return tf.constant(vectors @ np.diag(values) @ vectors.T, tf.float64)


TIES = {
    "apart": [0.1, 0.7, 2.0, 5.0],
    "equal": [1.0, 1.0, 1.0, 3.0],
    "all equal": [2.0, 2.0, 2.0, 2.0],
    "zeros": [0.0, 0.0, 0.0, 1.0],
    "all but equal": [1.0, 1.0 + 1e-13, 1.0 + 1e-8, 1.0 + 1e-4],
    "tiny": [1e-12, 1e-9, 1e-5, 1e-3],
    "large": [1e3, 1e3, 2e3, 1e4],
    "from end to end": [0.0, 1e-6, 1.0, 1e6],
}


@pytest.mark.parametrize("horizon", [0.1, 10.0])
@pytest.mark.parametrize("values", TIES.values(), ids=TIES)
def test_the_derivative_holds_on_ties(float64, values, horizon):
    """Against a larger matrix exponential, which holds the derivative of a smaller one (Van Loan 1978)."""
    gram, direction = matrix(values), np.random.default_rng(1).standard_normal((4, 4))
    direction, upstream = (direction + direction.T) / 2, np.random.default_rng(2).standard_normal((4, 4))
    with tf.GradientTape() as tape:
        tape.watch(gram)
        made = response(gram, horizon)
    gradient = tape.gradient(made, gram, upstream).numpy()
    exact = frechet(gram.numpy(), direction, horizon)
    np.testing.assert_allclose(made, exact[0], rtol=1e-8, atol=1e-9 * horizon)
    np.testing.assert_allclose(np.sum(gradient * direction), np.sum(upstream * exact[1]), rtol=1e-7, atol=1e-9)
    assert np.isfinite(gradient).all()


def frechet(gram, direction, horizon):
    """F(H) and its derivative along a direction: blocks of expm of t [[-H, D, ...]], integrals of exp(-s H)."""
    size = len(gram)
    zero, one = np.zeros((size, size)), np.eye(size)
    # The lower right corner adds the integral of exp(-sH) over time, which is F(H).
    blocks = np.block([[-gram, -direction, zero], [zero, -gram, one], [zero, zero, zero]])
    made = expm(horizon * blocks)
    return made[size : 2 * size, 2 * size :], made[:size, 2 * size :]


@pytest.mark.parametrize("horizon", [0.5, None])
def test_a_kernel_that_is_not_finite_spoils_its_own_task_alone(float64, horizon):
    kernels = tf.stack([matrix(TIES["apart"]), tf.fill([4, 4], tf.constant(np.nan, tf.float64))])
    ones = tf.ones([4, 1], tf.float64)
    together = tf.vectorized_map(lambda kernel: flow_weights(kernel, ones, horizon), kernels)
    np.testing.assert_allclose(together[0], flow_weights(kernels[0], ones, horizon), rtol=1e-12)
    assert np.isnan(together[1]).all()


def test_the_gradient_of_a_plain_decomposition_is_wrong_there(float64):
    """At H = 1 the derivative is F'(1) times what arrives."""
    gram, ones = tf.eye(4, dtype=tf.float64), tf.ones([4, 4], tf.float64)
    for function, holds in ((lambda h: response(h, 1.0), True), (through_eigh, False)):
        with tf.GradientTape() as tape:
            tape.watch(gram)
            made = function(gram)
        error = tape.gradient(made, gram, ones) - (2 * np.exp(-1) - 1)
        assert (np.abs(error).max() < 1e-12) == holds


def through_eigh(gram):
    values, vectors = tf.linalg.eigh(gram)
    return vectors @ tf.linalg.diag((1 - tf.exp(-values)) / values) @ tf.transpose(vectors)
