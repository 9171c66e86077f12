"""Conjugate gradients, with which implicit hypergradients are solved for: numbers known by hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.hypergradients.implicit import conjugate_gradients


def test_conjugate_gradients_take_as_many_turns_as_allowed_and_needed():
    matrix, target = (
        tf.constant(np.diag([1.0, 2.0, 4.0])),
        [tf.constant([1.0, 1.0], tf.float64), tf.constant([[1.0]], tf.float64)],
    )
    products = []

    def times(vector):
        products.append(0)
        flat = tf.linalg.matvec(matrix, tf.concat([vector[0], vector[1][0]], 0))
        return [flat[:2], flat[2:][None]]

    x, left = conjugate_gradients(times, target, 10, 1e-12)
    assert len(products) == 3, "as many as there are different curvatures"
    np.testing.assert_allclose(np.concatenate([x[0], x[1][0]]), [1.0, 0.5, 0.25], rtol=1e-12)
    assert max(np.abs(part).max() for part in left) < 1e-12
    x, left = conjugate_gradients(times, target, 1, 1e-12)
    assert len(products) == 4
    # One turn: downhill as far as it pays, (b'b / b'Ab) b.
    np.testing.assert_allclose(np.concatenate([x[0], x[1][0]]), 3 / 7, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([left[0], left[1][0]]), [4 / 7, 1 / 7, -5 / 7], rtol=1e-12)
    for nothing in (conjugate_gradients(times, target, 0, 0.0), conjugate_gradients(times, target, 5, 1.0)):
        assert len(products) == 4 and not np.any(nothing[0][0])
    zero = [tf.zeros_like(part) for part in target]
    assert not np.any(conjugate_gradients(times, zero, 5, 0.0)[0][0]), "nothing arrives, nothing is divided by"


def test_conjugate_gradients_stop_before_a_direction_that_curves_down():
    matrix, target = tf.constant(np.diag([3.0, -1.0])), [tf.constant([1.0, 1.0], tf.float64)]
    x, left = conjugate_gradients(lambda v: [tf.linalg.matvec(matrix, v[0])], target, 10, 1e-12)
    # The first direction is (1, 1), of curvature 2; the next one curves down.
    np.testing.assert_allclose(x[0], [1.0, 1.0], rtol=1e-12)
    np.testing.assert_allclose(left[0], [-2.0, 2.0], rtol=1e-12)
