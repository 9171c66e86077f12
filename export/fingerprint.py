"""What tells one set of served variables from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def variables_digest(values: Iterable[np.ndarray]) -> str:
    """SHA-256 (hexadecimal) of dtypes, shapes and values, in order; names are Keras' affair and left out."""
    digest = hashlib.sha256()
    for value in values:
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype.name}{list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def fingerprint(digest: str) -> int:
    """31 bits of a digest, which fit a positive int32; never 0, the mark of a failed task."""
    return int(digest[:8], 16) & 0x7FFFFFFF or 1
