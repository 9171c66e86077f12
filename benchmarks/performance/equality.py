"""Whether two frameworks compute the same: no step is timed before its meta-gradients have been compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.performance.contestant import Contestant

TOLERANCE = 1e-4
# Below this share of the largest gradient of all a gradient is zero but for rounding (a bias in front of a
# normalisation); it is measured on that largest one.
_ROUNDING = 1e-5
_SIDES = ("ours", "peer")


class UnequalError(Exception):
    """The peer computes something else."""


def largest_difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """The tensor that differs most, and by how much, relative to its own largest entry.

    Raises:
      UnequalError: if the two do not hold tensors of the same names and shapes, or not finite ones.
    """
    shapes = [{name: np.shape(value) for name, value in side.items()} for side in (ours, theirs)]
    if shapes[0] != shapes[1]:
        odd = sorted(name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name))
        raise UnequalError(f"ours and the peer's tensors differ in name or shape: {', '.join(odd)}.")
    if not all(np.isfinite(value).all() for side in (ours, theirs) for value in side.values()):
        raise UnequalError("loss or gradients are not finite.")
    largest = {name: float(np.abs(value).max()) for name, value in ours.items()}
    whole = max(value for name, value in largest.items() if name != "loss")
    scales = {name: value if value > _ROUNDING * whole else whole for name, value in largest.items()}
    differences = {name: float(np.abs(value - theirs[name]).max()) / scales[name] for name, value in ours.items()}
    return max(differences.items(), key=lambda item: item[1])


def check_equal(ours: Contestant, *peers: Contestant) -> float:
    """Gives all the same initial values and episode; returns the largest relative difference of loss and gradients.

    In double precision and on few examples (`benchmarks.performance.child` says why).

    Raises:
      UnequalError: if it is larger than `TOLERANCE`.
    """
    largest = 0.0
    with tempfile.TemporaryDirectory() as directory:
        ours.ask(f"write {directory}")
        for peer in peers:
            peer.ask(f"read {directory}")
            name, difference = largest_difference(*(_arrays(Path(directory) / f"{side}.npz") for side in _SIDES))
            if difference > TOLERANCE:
                raise UnequalError(
                    f"{peer.name}: {name} differs from ours by {difference:.1e} of its largest entry, more than "
                    f"{TOLERANCE:.0e}: computations that differ are not timed."
                )
            largest = max(largest, difference)
    return largest


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
