"""Gradients of one task's losses with respect to the extractor, and how they compare a layer.

Two gradients are told apart. The *outer* gradient of a loss is that with respect to the initial extractor psi, through
the inner loop, as the outer loop takes it. The *gradient after adaptation* is that with respect to the adapted
extractor psi', at which the inner loop has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.dense_gradients import dense_gradients
from cml_tf.adaptation.gradient_descent import AdaptedLearner
from cml_tf.analyses.layers import LayerParameters
from cml_tf.episodes import Episode, Examples
from cml_tf.learners.derivative_order import outer_gradient
from cml_tf.learners.learner import Learner, Parameters
from cml_tf.method import Method
from cml_tf.problems import Problem

Gradient = Sequence[tf.Tensor]


def outer_gradients(method: Method, weightings: Sequence[Sequence[float]], task: Episode) -> tuple[Gradient, ...]:
    """Gradients of several outer losses of one task with respect to the initial extractor psi.

    Each goes through the method's inner loop: with its number of steps, its update rule and that rule's current rates,
    and of the order of its hypergradient (`Method.of_first_order` makes inner gradients constants).

    Args:
      method: gives the terms and the inner loop.
      weightings: for each loss, the weight of each of the method's terms.
      task: without task axis.

    Returns:
      For each weighting a gradient: one tensor for each of `Parameters.extractor`. A parameter that the loss does not
      depend on has gradient zero.
    """
    with outer_gradient():
        initial = method.rule.initial(method.learner)
        extractor = list(initial.parameters.extractor)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(extractor)
            losses = [result.loss for result in method.losses(initial, method.term_values(), task)]
            sums = [
                tf.add_n([weight * loss for weight, loss in zip(weights, losses, strict=True) if weight])
                for weights in weightings
            ]
        return tuple(
            tuple(dense_gradients(tape, loss, extractor, unconnected_gradients=tf.UnconnectedGradients.ZERO))
            for loss in sums
        )


def query_gradient(learner: Learner, problem: Problem, place: AdaptedLearner, query: Examples) -> Gradient:
    """Gradient of the query loss `L(theta'(psi'(x)), y)` of the first head with respect to psi', at psi'.

    The learner's state (statistics of a support set, where a normalisation keeps them) is a constant in it.

    Args:
      learner: of the adapted task.
      problem: gives the loss.
      place: where the gradient is taken: an iterate of the inner loop.
      query: examples of one task.
    """
    head, state = place.parameters.head, tf.nest.map_structure(tf.stop_gradient, place.state)
    extractor = [tf.stop_gradient(parameter) for parameter in place.parameters.extractor]
    with outer_gradient(), tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(extractor)
        parameters = Parameters(tuple(extractor), head)
        forward = learner.call(parameters, state, query.inputs, place.context, training=False)
        loss = tf.reduce_mean(problem.losses(tf.nest.flatten(forward.outputs)[0], query.targets))
    return tuple(dense_gradients(tape, loss, extractor, unconnected_gradients=tf.UnconnectedGradients.ZERO))


def inner_products(left: Gradient, right: Gradient, layers: Sequence[LayerParameters]) -> tf.Tensor:
    """Inner products of two gradients a layer, and of all layers together in the last row, float64 `[layers + 1]`."""
    products = [
        tf.reduce_sum(tf.cast(one, tf.float64) * tf.cast(other, tf.float64))
        for one, other in zip(left, right, strict=True)
    ]
    of_layers = [tf.add_n([products[position] for position in layer.positions]) for layer in layers]
    return tf.stack([*of_layers, tf.add_n(products)])


def comparison(left: Gradient, right: Gradient, layers: Sequence[LayerParameters]) -> tf.Tensor:
    """`<l, r>`, `<l, l>` and `<r, r>` a layer and for all, float64 `[layers + 1, 3]`: what `cosine` takes."""
    pairs = (left, right), (left, left), (right, right)
    return tf.stack([inner_products(one, other, layers) for one, other in pairs], -1)


def cosine(products: np.ndarray) -> np.ndarray:
    """Cosine similarity `<l, r> / (|l| |r|)` in [-1, 1] of `comparison`'s numbers; NaN where a gradient is zero.

    Args:
      products: `[..., 3]`.

    Returns:
      `[...]`.
    """
    inner, left, right = np.moveaxis(np.asarray(products, np.float64), -1, 0)
    lengths = np.sqrt(left) * np.sqrt(right)
    defined = lengths > 0
    return np.where(defined, np.clip(inner / np.where(defined, lengths, 1.0), -1.0, 1.0), np.nan)
