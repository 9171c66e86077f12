"""How alike two representations of the same examples are (Kornblith et al. 2019, arXiv 1905.00414)."""

from __future__ import annotations

import numpy as np


def linear_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Linear centred kernel alignment: `|Y'X|^2 / (|X'X| |Y'Y|)` of centred X and Y, in Frobenius norms (equation 5).

    It is 1 for representations that differ by a rotation, a reflection, one scale for all directions or a shift, and
    not for those that differ by another linear map.

    Args:
      left: `[examples, ...]`; what follows the examples is flattened.
      right: of the same examples, of any width.

    Returns:
      A number in [0, 1]; NaN where all examples have one representation, which has no direction to compare.

    Raises:
      ValueError: for fewer than two examples, or different numbers of them.
    """
    if len(left) != len(right) or len(left) < 2:
        raise ValueError(
            f"both representations must be of the same two examples or more, received {len(left)} and {len(right)}."
        )
    centred = [_centred(array) for array in (left, right)]
    if any(_is_constant(array, original) for array, original in zip(centred, (left, right), strict=True)):
        return float("nan")
    if max(array.shape[1] for array in centred) > len(left):
        # The same number from Gram matrices of the examples, which are smaller.
        one, other = (array @ array.T for array in centred)
        return float(np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other)))
    one, other = centred
    cross, of_one, of_other = other.T @ one, one.T @ one, other.T @ other
    return float(np.sum(cross**2) / (np.linalg.norm(of_one) * np.linalg.norm(of_other)))


def _centred(array: np.ndarray) -> np.ndarray:
    flat = np.asarray(array, np.float64).reshape(len(array), -1)
    return flat - flat.mean(0)


def _is_constant(centred: np.ndarray, original: np.ndarray) -> bool:
    # What rounding leaves when a mean is taken away is no direction either.
    return bool(np.abs(centred).max(initial=0.0) <= 1e-12 * np.abs(original).max(initial=0.0))
