"""Confidence intervals against closed forms and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.training.evaluator import confidence_interval


def test_two_samples_have_a_closed_form():
    """One degree of freedom is the Cauchy distribution: its quantile at 0.975 is tan(0.475 pi)."""
    half_width = np.tan(0.475 * np.pi) * abs(3.0 - 1.0) / 2
    assert confidence_interval(np.array([1.0, 3.0])) == pytest.approx(half_width, rel=1e-12)


def test_three_samples_have_a_closed_form():
    """With two degrees of freedom the quantile at p is (2p - 1) sqrt(2 / (1 - (2p - 1)^2)), at level 2p - 1."""
    samples = np.array([0.2, 0.5, 1.4])
    for level in (0.5, 0.9, 0.95):
        quantile = level * np.sqrt(2 / (1 - level**2))
        expected = quantile * np.sqrt(np.sum((samples - samples.mean()) ** 2) / 2) / np.sqrt(3)
        assert confidence_interval(samples, level) == pytest.approx(expected, rel=1e-12)


def test_many_samples_approach_the_normal_quantile():
    samples = np.tile([0.0, 1.0], 50_000)
    assert confidence_interval(samples) == pytest.approx(1.959964 * 0.5 / np.sqrt(100_000), rel=1e-4)


def test_it_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = [
        abs(samples.mean() - 2.0) <= confidence_interval(samples) for samples in generator.normal(2.0, 3.0, (4000, 5))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_float32_samples_lose_nothing():
    samples = np.full(1000, 1e8, np.float32)
    samples[::2] += 64
    assert confidence_interval(samples) == pytest.approx(confidence_interval(samples.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize("samples", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], 1.0])
def test_too_few_samples_are_refused(samples):
    with pytest.raises(ValueError, match="at least two samples"):
        confidence_interval(np.array(samples))
