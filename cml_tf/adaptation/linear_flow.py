"""The flow of a linear model under squared loss in closed form, with a gradient that equal eigenvalues do not break.

Residuals r of a model that is linear in its parameters follow dr/dt = -H r under the gradient flow of |r|^2 / 2, where
H = J J^T and J is the Jacobian. By the time t the parameters have moved by -J^T F(H) r(0), with

    F(s) = (1 - exp(-t s)) / s = t phi(t s),    phi(x) = (1 - exp(-x)) / x,    F(0) = t.

TensorFlow's gradient of an eigendecomposition divides by s_i - s_j: it is wrong where two eigenvalues are equal, and
huge where they nearly are. F(H) itself is smooth there (Daleckii and Krein 1965): with H = V diag(s) V^T,

    dF = V (F[s_i, s_j] o V^T dH V) V^T,    F[s_i, s_j] = (F(s_i) - F(s_j)) / (s_i - s_j),    F'(s_i) on ties.

Ours is how F[., .] is found: by a form that never divides by the difference.
"""

from __future__ import annotations

import math

import tensorflow as tf

# Of the mean of the diagonal: what is added to it before it is inverted.
JITTER = 1e-6

# Below which the closed form loses digits, and as many terms of the series as make up for it.
_SMALL = 0.5
_TERMS = 12


def flow_weights(gram: tf.Tensor, residuals: tf.Tensor, horizon: float | None) -> tf.Tensor:
    """`F(H) r`, `[numbers, columns]`: J^T times that is what the parameters have lost.

    For no end of time it is `H^-1 r`, by Cholesky's factors of H and a little on its diagonal (`JITTER`). All of it is
    NaN if H is not finite.

    Args:
      gram: H, `[numbers, numbers]`, symmetric, no eigenvalue below 0.
      residuals: r at time 0, `[numbers, columns]`.
      horizon: the time, positive; None for no end of it.
    """
    # TensorFlow fails to decompose what is not finite, and with it all tasks that are worked on at once.
    finite = tf.reduce_all(tf.math.is_finite(gram))
    gram = tf.where(finite, gram, tf.eye(tf.shape(gram)[0], dtype=gram.dtype))
    found = response(gram, horizon) @ residuals if horizon is not None else _interpolating(gram, residuals)
    return tf.where(finite, found, tf.constant(math.nan, found.dtype))


def _interpolating(gram: tf.Tensor, residuals: tf.Tensor) -> tf.Tensor:
    # In double precision: rounding can take eigenvalues below 0 by more than the jitter, and no factors are found then.
    exact = tf.cast(gram, tf.float64)
    jitter = JITTER * tf.reduce_mean(tf.linalg.diag_part(exact))
    factors = tf.linalg.cholesky(exact + jitter * tf.eye(tf.shape(exact)[0], dtype=exact.dtype))
    return tf.cast(tf.linalg.cholesky_solve(factors, tf.cast(residuals, exact.dtype)), residuals.dtype)


def response(gram: tf.Tensor, horizon: float) -> tf.Tensor:
    """`F(H)`, a symmetric matrix; it can be differentiated once.

    Args:
      gram: as of `flow_weights`.
      horizon: likewise, a number.
    """

    @tf.custom_gradient
    def run(matrix: tf.Tensor) -> tuple[tf.Tensor, object]:
        values, vectors = tf.linalg.eigh(matrix)
        # Rounding alone makes them negative.
        times = tf.maximum(horizon * values, 0)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            inside = tf.matmul(vectors, (upstream + tf.transpose(upstream)) / 2 @ vectors, transpose_a=True)
            return horizon**2 * _turned_back(vectors, inside * _divided_differences(times))

        return horizon * _turned_back(vectors, tf.linalg.diag(_phi(times))), gradient

    return run(gram)


def _turned_back(vectors: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    return tf.matmul(vectors @ inside, vectors, transpose_b=True)


def _phi(values: tf.Tensor) -> tf.Tensor:
    """`(1 - exp(-x)) / x`, and 1 at 0; of numbers that are not negative."""
    zero = values == 0
    return tf.where(zero, tf.ones_like(values), -tf.math.expm1(-values) / tf.where(zero, tf.ones_like(values), values))


def _divided_differences(values: tf.Tensor) -> tf.Tensor:
    """`phi[x_i, x_j]`, `[numbers, numbers]`, of numbers that are not negative.

    As x phi(x) = 1 - exp(-x), Leibniz' rule gives `phi[x, y] = (exp(-y) phi(x - y) - phi(y)) / x`. With x the larger
    one, digits are lost only where both are small; there the series of phi is taken,
    `phi[x, y] = sum over k from 1 of (-1)^k h_(k-1)(x, y) / (k + 1)!`, h being the complete symmetric polynomials.
    """
    large = tf.maximum(values[:, tf.newaxis], values[tf.newaxis])
    small = tf.minimum(values[:, tf.newaxis], values[tf.newaxis])
    near = large < _SMALL
    divisor = tf.where(near, tf.ones_like(large), large)
    closed = (tf.exp(-small) * _phi(large - small) - _phi(small)) / divisor
    series, polynomial, power = tf.zeros_like(large), tf.zeros_like(large), tf.ones_like(large)
    large, small = (tf.where(near, part, tf.zeros_like(part)) for part in (large, small))
    for term in range(1, _TERMS + 1):
        polynomial = large * polynomial + power
        power *= small
        series += (-1) ** term / math.factorial(term + 1) * polynomial
    return tf.where(near, series, closed)
