"""What the steps of FIML minimise, over one vector of weights a class, and where they start.

For support rows x_i (length 1), query rows q_j, and weights w_c of class c, with sign = 1 for an example's own class
and -1 for the others, and the label p or n, the weight v and the slope a of that sign:

    m      = sign (label - x_i . w_c)
    r      = v ((1 - a) / 2 |m| + (1 + a) / 2 m)                  v m above 0, v a m below
    loss   = 1/2 sum r^2 + 1/2 penalty^2 |w|^2  +  kappa / (number of queries) sum_j H(softmax(temperature w q_j))

At a = 1 the first two are ridge regression on p and n; at a = 0 whoever is beyond the label counts for nothing. The
entropy H is there in transductive episodes alone. Its curvature is not its second derivative, which is negative where
the classes are about equally likely, but the softmax's Fisher form, which never is. All derivatives are written out:
the outer loop differentiates them without a tape inside.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# The least that the determinant of a class's two means counts for: they may point in one direction.
_DETERMINANT = 1e-6


class LearnedNumbers(NamedTuple):
    """What is meta-learned of the objective; scalars, or what they are where nothing learns them.

    Attributes:
      positive, negative: the label, by sign.
      positive_weight, negative_weight: the weight v, likewise.
      positive_slope, negative_slope: the slope a, likewise.
      penalty: factor of the weights, counted as a residual.
      kappa: factor of the queries' entropy.
      temperature: factor of the scores in the entropy.
    """

    positive: tf.Tensor | float = 5.0
    negative: tf.Tensor | float = -5.0
    positive_weight: tf.Tensor | float = 1.0
    negative_weight: tf.Tensor | float = 1.0
    positive_slope: tf.Tensor | float = 1.0
    negative_slope: tf.Tensor | float = 1.0
    penalty: tf.Tensor | float = 0.0
    kappa: tf.Tensor | float = 0.0
    temperature: tf.Tensor | float = 1.0


class ClassObjective:
    """A function of class weights `[ways, features]`: its value, its gradient, and its curvature along a direction.

    Args:
      rows: of the support examples, `[support, features]`.
      labels: of them, one-hot, `[support, ways]`.
      numbers: what is learned of it.
      queries: `[queries, features]`; None in inductive episodes.
    """

    def __init__(
        self, rows: tf.Tensor, labels: tf.Tensor, numbers: LearnedNumbers, queries: tf.Tensor | None = None
    ) -> None:
        def by_sign(own: tf.Tensor | float, other: tf.Tensor | float) -> tf.Tensor:
            return own * labels + other * (1 - labels)

        self.rows, self.queries = rows, queries
        self.signs = 2 * labels - 1
        self.labels = by_sign(numbers.positive, numbers.negative)
        self.weights = by_sign(numbers.positive_weight, numbers.negative_weight)
        self.slopes = by_sign(numbers.positive_slope, numbers.negative_slope)
        self.penalty = numbers.penalty
        self.temperature = numbers.temperature
        self.kappa = numbers.kappa
        if queries is not None:
            self.kappa = numbers.kappa / tf.cast(tf.maximum(tf.shape(queries)[0], 1), rows.dtype)

    def loss(self, weights: tf.Tensor) -> tf.Tensor:
        """The value, a scalar."""
        residuals, _ = self._residuals(weights)
        fit = 0.5 * (tf.reduce_sum(tf.square(residuals)) + self.penalty**2 * tf.reduce_sum(tf.square(weights)))
        return fit if self.queries is None else fit + self.kappa * tf.reduce_sum(entropy(self._scores(weights)))

    def gradient(self, weights: tf.Tensor) -> tf.Tensor:
        """`[ways, features]`."""
        residuals, slopes = self._residuals(weights)
        gradient = tf.matmul(slopes * residuals, self.rows, transpose_a=True) + self.penalty**2 * weights
        if self.queries is None:
            return gradient
        of_scores = self.kappa * self.temperature * entropy_gradient(self._scores(weights))
        return gradient + tf.matmul(of_scores, self.queries, transpose_a=True)

    def curvature(self, weights: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
        """Of the Gauss-Newton kind, along a direction `[ways, features]`: a scalar, 0 or more."""
        _, slopes = self._residuals(weights)
        moved = slopes * tf.matmul(self.rows, direction, transpose_b=True)
        curvature = tf.reduce_sum(tf.square(moved)) + self.penalty**2 * tf.reduce_sum(tf.square(direction))
        if self.queries is None:
            return curvature
        moved = self.temperature * tf.matmul(self.queries, direction, transpose_b=True)
        return curvature + self.kappa * tf.reduce_sum(fisher(self._scores(weights), moved))

    def _residuals(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The residuals, and their derivatives in the scores; `[support, ways]` both."""
        margins = self.signs * (self.labels - tf.matmul(self.rows, weights, transpose_b=True))
        bent, straight = self.weights * (1 - self.slopes) / 2, self.weights * (1 + self.slopes) / 2
        residuals = bent * tf.abs(margins) + straight * margins
        return residuals, -self.signs * (bent * tf.sign(margins) + straight)

    def _scores(self, weights: tf.Tensor) -> tf.Tensor:
        return self.temperature * tf.matmul(self.queries, weights, transpose_b=True)


def class_weights(
    rows: tf.Tensor, labels: tf.Tensor, positive: tf.Tensor | float, negative: tf.Tensor | float
) -> tf.Tensor:
    """The weights `[ways, features]`, of the plane of a class's mean and that of all others, that score them so.

    Without an example of a class, or without one of any other, its weights are zeros.

    Args:
      rows: of the support examples, `[support, features]`.
      labels: of them, one-hot, `[support, ways]`.
      positive: the score of the class's mean.
      negative: the score of the others' mean.
    """

    def means(shares: tf.Tensor) -> tf.Tensor:
        sums = tf.matmul(shares, rows, transpose_a=True)
        return tf.math.divide_no_nan(sums, tf.reduce_sum(shares, 0)[:, tf.newaxis])

    def products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(left * right, -1, keepdims=True)

    own, others = means(labels), means(1 - labels)
    square, cross, square_of_others = products(own, own), products(own, others), products(others, others)
    determinant = tf.maximum(square * square_of_others - cross**2, tf.constant(_DETERMINANT, rows.dtype))
    of_own = positive * square_of_others - negative * cross
    of_others = positive * cross - negative * square
    return (of_own * own - of_others * others) / determinant


def entropy(scores: tf.Tensor) -> tf.Tensor:
    """Of `softmax(scores)`, in nats, `[examples]`."""
    return tf.reduce_logsumexp(scores, -1) - tf.reduce_sum(scores * tf.nn.softmax(scores), -1)


def entropy_gradient(scores: tf.Tensor) -> tf.Tensor:
    """The derivative of `entropy` in the scores, `[examples, ways]`."""
    shares = tf.nn.softmax(scores)
    return shares * (tf.reduce_sum(shares * scores, -1, keepdims=True) - scores)


def fisher(scores: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
    """The softmax's Fisher form `d^T (diag q - q q^T) d` along a direction `[examples, ways]`, one an example."""
    shares = tf.nn.softmax(scores)
    mean = tf.reduce_sum(shares * direction, -1, keepdims=True)
    # As a variance, which rounding cannot make negative.
    return tf.reduce_sum(shares * tf.square(direction - mean), -1)
