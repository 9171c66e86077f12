"""The open-set axis: scores that are high for queries of the task's classes and low for those of none of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import tensorflow as tf

from cml_tf.registry import Given, register


class Reading(NamedTuple):
    """What the queries of one task gave.

    Example:
      >>> logits = tf.constant([[2.0, 0.0]])
      >>> reading = Reading(logits, logits, tf.zeros((1, 0)), tf.zeros((2, 0)), tf.constant([True, True]))
      >>> Energy()(reading).numpy().round(2)
      array([2.13], dtype=float32)

    Attributes:
      logits: `[queries, ways]`; minus infinity for classes without a support example.
      calibrated: the same, calibrated.
      features: flat, `[queries, width]`.
      means: of the support examples' features by class, `[ways, width]`; zeros for classes without.
      present: which classes have a support example, booleans `[ways]`.
    """

    logits: tf.Tensor
    calibrated: tf.Tensor
    features: tf.Tensor
    means: tf.Tensor
    present: tf.Tensor


class Score(ABC):
    """One number a query.

    Example: in that of `Reading`.

    Attributes:
      reads_features: whether it needs features and class means, which an adapted state then carries.
    """

    reads_features = False

    @abstractmethod
    def __call__(self, reading: Reading) -> tf.Tensor:
        """The scores `[queries]`: the higher, the more a query is like the task's classes."""


class Energy(Score):
    """log sum exp(logits): the negative free energy (Liu et al. 2020, arXiv 2010.03759, equation 4 with T = 1)."""

    def __call__(self, reading: Reading) -> tf.Tensor:
        """Reads the logits as they are."""
        return tf.reduce_logsumexp(reading.logits, -1)


class LargestProbability(Score):
    """The largest calibrated probability (Hendrycks and Gimpel 2017, arXiv 1610.02136)."""

    def __call__(self, reading: Reading) -> tf.Tensor:
        """Reads the calibrated logits."""
        return tf.reduce_max(tf.nn.softmax(reading.calibrated), -1)


class FeatureDistance(Score):
    """Minus the distance to the nearest class mean, in mean distances between the means of two classes.

    A task with one class has no such distance; its own is not divided.
    """

    reads_features = True

    def __call__(self, reading: Reading) -> tf.Tensor:
        """Reads features and class means."""
        own = _distances(reading.features, reading.means)
        nearest = tf.reduce_min(tf.where(reading.present, own, tf.constant(float("inf"), own.dtype)), -1)
        pairs = tf.cast(reading.present[:, None] & reading.present[None], own.dtype)
        pairs = tf.linalg.set_diag(pairs, tf.zeros(tf.shape(pairs)[0], own.dtype))
        count = tf.reduce_sum(pairs)
        between = tf.math.divide_no_nan(tf.reduce_sum(pairs * _distances(reading.means, reading.means)), count)
        return -nearest / tf.where(between > 0, between, tf.ones_like(between))


def _distances(points: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
    """Euclidean distances `[points, means]`."""
    return tf.norm(points[:, None] - means[None], axis=-1)


@register("open_set", "energy")
def _energy(options: object, given: Given) -> Score:
    """The logarithm of the sum of the exponential logits (Liu et al. 2020)."""
    return Energy()


@register("open_set", "largest_probability")
def _largest_probability(options: object, given: Given) -> Score:
    """The largest calibrated probability (Hendrycks and Gimpel 2017)."""
    return LargestProbability()


@register("open_set", "feature_distance")
def _feature_distance(options: object, given: Given) -> Score:
    """The distance of the features from the nearest class mean."""
    return FeatureDistance()
