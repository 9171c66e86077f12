"""Keras' global number formats, changed for a while and always put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def precision(floatx: str | None = None, policy: str | None = None) -> Iterator[None]:
    """Sets `floatx` and the dtype policy inside a `with` block.

    Args:
      floatx: "float32" or "float64"; the policy follows it unless it is given.
      policy: a dtype policy such as "mixed_bfloat16".
    """
    before = keras.config.floatx(), keras.config.dtype_policy()
    try:
        if floatx is not None:
            keras.config.set_floatx(floatx)
        if policy is not None or floatx is not None:
            keras.config.set_dtype_policy(policy or floatx)
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
