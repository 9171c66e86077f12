"""Confidence intervals against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.training.evaluator import confidence_interval


def test_two_and_three_samples_have_closed_forms():
    """One degree of freedom is the Cauchy distribution; two have the quantile l sqrt(2 / (1 - l^2)) at level l."""
    half_width = np.tan(0.475 * np.pi) * abs(3.0 - 1.0) / 2
    assert confidence_interval(np.array([1.0, 3.0])) == pytest.approx(half_width, rel=1e-12)
    samples = np.array([0.2, 0.5, 1.4])
    for level in (0.5, 0.9, 0.95):
        quantile = level * np.sqrt(2 / (1 - level**2))
        expected = quantile * np.sqrt(np.sum((samples - samples.mean()) ** 2) / 2) / np.sqrt(3)
        assert confidence_interval(samples, level) == pytest.approx(expected, rel=1e-12)


def test_float32_samples_lose_nothing():
    samples = np.full(1000, 1e8, np.float32)
    samples[::2] += 64
    assert confidence_interval(samples) == pytest.approx(confidence_interval(samples.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize("samples", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0])
def test_too_few_samples_are_refused(samples):
    with pytest.raises(ValueError, match="at least two samples"):
        confidence_interval(np.array(samples))
