"""The calibration axis: what makes probabilities of logits that are as sure as they are right.

A calibrator has a few numbers, which lower the cross-entropy of validation queries (Guo et al. 2017, arXiv 1706.04599,
section 4.2). After a few inner steps a model may be too sure or, as was measured (docs/CONFIDENCE.md), not sure enough.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod

import numpy as np
import scipy.optimize
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.registry import Given, register


class Calibrator(ABC):
    """A function of logits with a few numbers of its own.

    Example:
      >>> Temperature().identity(ways=5)
      array([0.])
    """

    @abstractmethod
    def identity(self, ways: int) -> np.ndarray:
        """The numbers under which logits stay as they are, float64 `[numbers]`."""

    @abstractmethod
    def apply(self, logits: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Calibrated logits `[..., ways]`, for numbers `[numbers]` of the same dtype."""

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The numbers that make the mean cross-entropy least, float64 `[numbers]`.

        Example:
          >>> sure = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [9.0, 0.0]])
          >>> numbers = Temperature().fit(sure, np.array([0, 0, 0, 1]))  # three of four are right
          >>> round(float(np.exp(numbers[0])), 2)  # 9 / log(3)
          8.19

        Args:
          logits: `[queries, ways]`.
          labels: integers `[queries]` in `[0, ways)`.

        Raises:
          UserError: if logits are not finite.
        """
        if not len(logits) or not np.isfinite(logits).all():
            raise UserError(
                f"logits must be finite and of at least one query to be calibrated, received {logits.shape}: "
                "adaptation diverged. Use fewer inner steps."
            )
        points, truth = tf.constant(logits, tf.float64), tf.constant(labels, tf.int32)

        def differentiated(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(numbers)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, self.apply(points, numbers))
                loss = tf.reduce_mean(losses)
            return loss, tape.gradient(loss, numbers)

        # A partial is a function of its own to TensorFlow, which else would warn of one that is traced too often.
        loss_and_slope = tf.function(functools.partial(differentiated), autograph=False)

        def objective(numbers: np.ndarray) -> tuple[float, np.ndarray]:
            loss, slope = loss_and_slope(tf.constant(numbers, tf.float64))
            return float(loss), slope.numpy()

        # What is right every time would be ever surer; a factor of e^7 is sure enough.
        start = self.identity(logits.shape[1])
        bounds = [(centre - 7, centre + 7) for centre in start]
        options = {"ftol": 1e-12, "gtol": 1e-8}
        found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return found.x


class Temperature(Calibrator):
    """logits / T: one number, log T. The most probable class stays the same."""

    def identity(self, ways: int) -> np.ndarray:
        """T = 1."""
        return np.zeros(1)

    def apply(self, logits: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Divides by the temperature."""
        return logits * tf.exp(-numbers[0])


class Vector(Calibrator):
    """w * logits + b by class number, with w = exp(a): `[a, b]`, 2 x ways numbers.

    Which class has which number is chance in a few-shot task; so this can only mend what the head does to its places.
    """

    def identity(self, ways: int) -> np.ndarray:
        """Factors 1, offsets 0."""
        return np.zeros(2 * ways)

    def apply(self, logits: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Scales and shifts each class."""
        factors, offsets = tf.split(numbers, 2)
        return logits * tf.exp(factors) + offsets


@register("calibration", "temperature")
def _temperature(options: object, given: Given) -> Calibrator:
    """One temperature for all classes (Guo et al. 2017)."""
    return Temperature()


@register("calibration", "vector")
def _vector(options: object, given: Given) -> Calibrator:
    """A factor and an offset for each class number (Guo et al. 2017)."""
    return Vector()
