"""Whether a process grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

_BLOCKS = 12
_MIB = 2**20


class Sample(NamedTuple):
    """Resident memory at a time in seconds."""

    seconds: float
    resident: int


class Slope(NamedTuple):
    """MiB a minute, with the half-width of its 95 % confidence interval."""

    mib_per_minute: float
    ci95: float

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mib_per_minute - self.ci95


def slope(samples: Sequence[Sample], skip: float = 1 / 3) -> Slope | None:
    """The line through the samples that least squares give; None for fewer than two dozen samples.

    Neighbouring samples are alike, which would make the interval too narrow: the line goes through the means of twelve
    stretches of time.

    Args:
      samples: in the order of time.
      skip: which part of the time, from the start, does not count: caches fill then.
    """
    kept = [sample for sample in samples if sample.seconds >= skip * samples[-1].seconds]
    if len(kept) < 2 * _BLOCKS:
        return None
    means = [block.mean(axis=0) for block in np.array_split(np.array(kept, np.float64), _BLOCKS)]
    minutes, mib = np.array(means).T / [[60.0], [_MIB]]
    line = scipy.stats.linregress(minutes, mib)
    return Slope(float(line.slope), float(line.stderr * scipy.stats.t.ppf(0.975, _BLOCKS - 2)))
