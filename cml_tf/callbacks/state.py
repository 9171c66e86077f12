"""State of Keras callbacks, as JSON, so that an interrupted run resumes with its patience, best value and counters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

# Set by Keras anew in every run. It turns the sign of `min_delta` at the first epoch, so that it must not be put back.
_SET_BY_KERAS = {"params", "model", "min_delta"}


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Raises ValueError for a callback whose state cannot be kept."""
    for callback in callbacks:
        if getattr(callback, "restore_best_weights", False):
            raise ValueError(
                f"{type(callback).__name__}(restore_best_weights=True) is not supported: its weights would not survive "
                "an interruption. The best checkpoint of the run holds them."
            )


def callback_states(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
    """The public plain attributes of every callback, by position and class.

    A callback that keeps its state elsewhere offers `get_state()` and `set_state(state)` with a JSON object instead.
    """
    return {f"{position}:{type(callback).__name__}": _state(callback) for position, callback in enumerate(callbacks)}


def restore_callback_states(callbacks: Sequence[keras.callbacks.Callback], states: Mapping[str, Any]) -> None:
    """Puts states back. Callbacks that have none (new in this run) begin afresh."""
    for position, callback in enumerate(callbacks):
        state = states.get(f"{position}:{type(callback).__name__}")
        if state is None:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(state)
            continue
        for name, value in state.items():
            setattr(callback, name, value)


def _state(callback: keras.callbacks.Callback) -> Any:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    plain = {}
    for name, value in vars(callback).items():
        value = value.item() if isinstance(value, np.generic) else value
        if not name.startswith("_") and name not in _SET_BY_KERAS and _is_json(value):
            plain[name] = value
    return plain


def _is_json(value: Any) -> bool:
    # A NaN is not equal to itself, but comes back as one.
    if isinstance(value, float):
        return True
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False
