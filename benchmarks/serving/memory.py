"""Whether a process grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats

_BLOCKS = 12
_MIB = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_DRAWN = 240


class Sample(NamedTuple):
    """Resident memory at a time in seconds."""

    seconds: float
    resident: int


def resident_bytes(process: int) -> int:
    """Memory that a process holds, given by its number on this machine."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE


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


def figures(samples: Sequence[Sample], tolerated: float) -> dict:
    """What is reported of the memory of a process, samples to draw among it.

    Args:
      samples: in the order of time.
      tolerated: MiB a minute; a process whose slope is surely more than that grows.
    """
    line = slope(samples)
    resident = [round(sample.resident / _MIB, 1) for sample in samples]
    drawn = range(0, len(samples), max(1, len(samples) // _DRAWN))
    return {
        "memory_mib": {"first": resident[0], "last": resident[-1], "most": max(resident)},
        "memory_slope_mib_per_minute": None if line is None else round(line.mib_per_minute, 3),
        "memory_slope_ci95": None if line is None else round(line.ci95, 3),
        "memory_grows": line is not None and line.low > tolerated,
        "memory_over_time": [[round(samples[n].seconds, 1), resident[n]] for n in drawn],
    }
