"""Whole numbers that went through a program which knows floats only, as tables with gaps do."""

from __future__ import annotations

import numpy as np

# Floats beyond this may have been rounded from another whole number.
_EXACT = 2**53


def as_whole(given: np.ndarray, missing: int | None = None) -> np.ndarray:
    """The array as int64 if it holds floats that are all whole; anything else as it is.

    Args:
      given: of any dtype and shape.
      missing: what NaN becomes; by default NaN is not whole.
    """
    if given.dtype.kind != "f":
        return given
    filled = given if missing is None else np.where(np.isnan(given), missing, given)
    whole = np.isfinite(filled) & (filled == np.floor(filled)) & (np.abs(filled) < _EXACT)
    return filled.astype(np.int64) if whole.all() else given
