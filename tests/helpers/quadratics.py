"""An inner loop on a quadratic, whose meta-gradients have a closed form."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.hypergradients import InnerLoop, Iterate
from cml_tf.adaptation.updates import Gradients, RuleState
from cml_tf.learners import Parameters

RATE, TARGET = 0.1, 0.4


def quadratic(curvature, steps, start, at):
    """`L = (y - x - m)' H (y - x - m) / 2`: y adapts and is the head, x is the extractor, m a meta-variable."""
    curvature = tf.constant(curvature, tf.float64)

    def field(iterate, meta, support, context, second_order):
        (x,), (y,) = iterate.parameters
        return Gradients(Parameters((), (tf.linalg.matvec(curvature, y - x - meta[0]),)), ()), iterate.state

    def follow(iterate, gradients, state, meta):
        (y,), (gradient,) = iterate.parameters.head, gradients.parameters.head
        parameters = iterate.parameters._replace(head=(y - RATE * gradient,))
        return Iterate(parameters, state, RuleState(carried=iterate.rule_state.carried + 1))

    def loss(iterate, meta, support, context, second_order, shift=None):
        (x,), (y,) = iterate.parameters
        y = y if shift is None else y + shift.parameters.head[0]
        return tf.tensordot(y - x - meta[0], tf.linalg.matvec(curvature, y - x - meta[0]), 1) / 2

    y, x, m = start, at, tf.zeros_like(at)
    counted = Iterate(Parameters((x,), (y,)), (), RuleState(carried=tf.constant(0)))
    moved = lambda parameters: parameters._replace(extractor=())  # noqa: E731
    return InnerLoop(field, follow, loss, moved, counted, (m,), (), (), steps)


def gradients_of_quadratic(order, curvature=((2.0,),), steps=10, size=1, x=1.5, y=0.0):
    """d (y_T - c)^2 / 2 by y_0, x and m, and y_T - c itself."""
    start, at = (tf.fill([size], tf.constant(value, tf.float64)) for value in (y, x))
    with tf.GradientTape() as tape:
        loop = quadratic(curvature, steps, start, at)
        sources = (start, at, loop.meta[0])
        tape.watch(sources)
        final = order.solve(loop).final
        (end,) = final.parameters.head
        loss = tf.reduce_sum(tf.square(end - TARGET)) / 2
    assert int(final.rule_state.carried) == steps
    of_start, of_x, of_meta = tape.gradient(loss, sources, unconnected_gradients="zero")
    np.testing.assert_allclose(of_x, of_meta, rtol=1e-14)
    return of_start.numpy(), of_x.numpy(), (end - TARGET).numpy()
