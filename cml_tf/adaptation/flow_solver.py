"""The gradient flow of a softmax layer and its exact derivatives, carried along forwards in time.

After Deleu et al. 2022, "Continuous-Time Meta-Learning with Forward Mode Differentiation" (COMLN, arXiv 2203.01443).
Take M support examples of N classes with logits Z under the initial layer, the Gram matrix G of what the layer reads of
them, targets Y and a horizon T. The flow of the mean cross-entropy moves the layer along the rows of the examples
alone; s, `[M, N]`, says how far along each of them. With P = softmax(Z - G s), from time 0 to T and all from zero:

    s'        = (P - Y) / M
    B'[i,j,l] = A_i (1(i=j) e_l - sum over n of G[i,n] B[n,j,l])        B = ds/dZ,  [M, M, N, N]
    C'[i,m,j] = A_i (-1(i=m) s_j - sum over n of G[i,n] C[n,m,j])       C = ds/dG,  [M, M, M, N]
    A_i       = (diag P_i - P_i P_i^T) / M,  applied to the last axis, the classes

The paper has the derivative with respect to the features in the place of C; here G's own derivative leads on to them.
No step of the solver is kept: what is in memory does not depend on how many there are.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cml_tf.adaptation.runge_kutta import Tensors, integrate


def flow(
    logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor, solver: str = "rk4", steps: int = 32
) -> tf.Tensor:
    """The pulls s at the horizon, `[support, classes]`; the layer is the initial one minus `rows^T s`.

    Solves for s alone. Only where a gradient is asked for does it solve again, with the derivatives. They are of first
    order; the labels get none.

    Args:
      logits: of the support examples under the initial layer, `[support, classes]`.
      gram: inner products of what the layer reads of them, `[support, support]`.
      labels: one-hot or soft, `[support, classes]`.
      horizon: how long the flow runs, a scalar.
      solver: of `runge_kutta.SOLVERS`.
      steps: how many the solver makes; those that it begins with if it chooses their length itself.
    """

    # `tf.custom_gradient` gives None to captured tensors, and searches all that led to them: all are arguments.
    @tf.custom_gradient
    def solved(logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def pulled(state: Tensors) -> Tensors:
            slope, _ = _slope(logits, gram, labels, state[0])
            return (horizon * slope,)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            _, of_logits, of_gram, of_horizon = sensitivities(logits, gram, labels, horizon, solver, steps)
            return (
                tf.einsum("ik,ijlk->jl", upstream, of_logits),
                tf.einsum("ik,imjk->mj", upstream, of_gram),
                None,
                tf.reduce_sum(upstream * of_horizon),
            )

        (pulls,) = integrate(pulled, (tf.zeros_like(logits),), solver, steps)
        return pulls, gradient

    return solved(logits, gram, labels, horizon)


def sensitivities(
    logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, horizon: tf.Tensor, solver: str, steps: int
) -> Tensors:
    """The pulls s and their derivatives with respect to logits, Gram matrix and horizon, classes of s last.

    Under a solver with steps of one length the derivatives are exactly those of what it computes; so ds/dT is solved
    for like the others, and is not the slope at T, which it approaches.

    Args:
      logits: of `flow`.
      gram: likewise.
      labels: likewise.
      horizon: likewise.
      solver: likewise.
      steps: likewise.

    Returns:
      s `[M, N]`, B `[M, M, N, N]`, C `[M, M, M, N]` and ds/dT `[M, N]`.
    """
    support, classes = tf.shape(logits)[0], tf.shape(logits)[1]
    examples, choices = tf.eye(support, dtype=logits.dtype), tf.eye(classes, dtype=logits.dtype)
    own_logits = tf.einsum("ij,lk->ijlk", examples, choices)

    def moved(state: Tensors) -> Tensors:
        pulls, of_logits, of_gram, of_horizon = state
        slope, probabilities = _slope(logits, gram, labels, pulls)

        def through(explicit: tf.Tensor | float, derivative: tf.Tensor) -> tf.Tensor:
            return horizon * _curvature(probabilities, explicit - tf.tensordot(gram, derivative, 1))

        return (
            horizon * slope,
            through(own_logits, of_logits),
            through(-tf.einsum("im,jk->imjk", examples, pulls), of_gram),
            slope + through(0.0, of_horizon),
        )

    zeros = (
        tf.zeros_like(logits),
        tf.zeros_like(own_logits),
        tf.zeros([support, support, support, classes], logits.dtype),
        tf.zeros_like(logits),
    )
    return integrate(moved, zeros, solver, steps)


def _slope(logits: tf.Tensor, gram: tf.Tensor, labels: tf.Tensor, pulls: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`(P - Y) / M` and P."""
    probabilities = tf.nn.softmax(logits - gram @ pulls)
    return (probabilities - labels) / tf.cast(tf.shape(logits)[0], logits.dtype), probabilities


def _curvature(probabilities: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """`A change` for a change `[support, ..., classes]` of the logits."""
    support = tf.shape(probabilities)[0]
    inner = [1] * (len(change.shape) - 2)
    probabilities = tf.reshape(probabilities, [support, *inner, probabilities.shape[1]])
    around = change - tf.reduce_sum(probabilities * change, -1, keepdims=True)
    return probabilities * around / tf.cast(support, probabilities.dtype)
