"""What tells the variables of one trained model from those of another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def variables_digest(variables: Iterable[Any]) -> str:
    """SHA-256 (hexadecimal) of dtypes, shapes and values, in order; names are Keras' affair and left out.

    Example:
      >>> variables_digest([np.zeros(2)]) == variables_digest([np.zeros(2)])
      True
      >>> variables_digest([np.zeros(2)]) == variables_digest([np.ones(2)])
      False

    Args:
      variables: arrays, or tensors and variables of TensorFlow.
    """
    digest = hashlib.sha256()
    for variable in variables:
        array = np.ascontiguousarray(_plain(variable))
        digest.update(f"{array.dtype.name}{list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(variable: Any) -> np.ndarray:
    value = variable if isinstance(variable, np.ndarray) else variable.numpy()
    # bfloat16 is not of NumPy's own; widening loses nothing.
    return value if value.dtype.isbuiltin == 1 else value.astype(np.float32)
