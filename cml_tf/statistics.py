"""Means with 95 % confidence intervals."""

from __future__ import annotations

import numpy as np
import scipy.stats


def confidence_interval(samples: np.ndarray, level: float = 0.95) -> float:
    """Half-width of Student's confidence interval of the mean of independent samples `[n]`.

    Raises:
      ValueError: for fewer than two samples, which have no interval.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 1 or samples.size < 2:
        raise ValueError(f"a confidence interval needs at least two samples, received shape {samples.shape}.")
    quantile = scipy.stats.t.ppf(0.5 + level / 2, samples.size - 1)
    return float(quantile * samples.std(ddof=1) / np.sqrt(samples.size))
