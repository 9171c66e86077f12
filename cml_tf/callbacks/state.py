"""State of Keras callbacks, as JSON, so that an interrupted run resumes with its patience, best value and counters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

# Set by Keras anew in every run. It turns the sign of `min_delta` at the first epoch, so that it must not be put back.
_SET_BY_KERAS = {"params", "model", "min_delta"}


# Save what `host` holds, which is neither the position in the episodes nor what adaptation meta-learned.
_HALF_A_STATE = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.OrbaxCheckpoint,
)
# Finds out anew what it needs, from its file; the state of before would make it write its header twice.
_KEEPS_NO_STATE = (keras.callbacks.CSVLogger,)


def check_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], optimizers: Sequence[keras.optimizers.Optimizer]
) -> None:
    """Raises ValueError for a callback that would bring back, or see, half of a training's state.

    Args:
      callbacks: as given to `fit`.
      optimizers: the distinct ones of the training.
    """
    if isinstance(callbacks, keras.callbacks.Callback | keras.callbacks.CallbackList):
        raise ValueError(f"callbacks must be a list of Keras callbacks, received one {type(callbacks).__name__}.")
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(f"callbacks must be Keras callbacks, received {type(callback).__name__}.")
        if isinstance(callback, _HALF_A_STATE):
            raise ValueError(
                f"{type(callback).__name__} is not supported: it would keep the weights without the step and without "
                "what adaptation learned. Train with cml_tf.train, which resumes exactly, keep Trainer.state(), or "
                "save trainer.model() in a callback of your own."
            )
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            _check_swap(callback, optimizers)
        if getattr(callback, "restore_best_weights", False):
            raise ValueError(
                f"{type(callback).__name__}(restore_best_weights=True) is not supported: its weights would not survive "
                "an interruption. The best checkpoint of the run holds them."
            )


def _check_swap(callback: keras.callbacks.Callback, optimizers: Sequence[keras.optimizers.Optimizer]) -> None:
    if callback.swap_on_epoch:
        raise ValueError(
            "SwapEMAWeights(swap_on_epoch=True) is not supported: checkpoints would hold the averages in the place of "
            "the weights. Leave swap_on_epoch out: validation then sees the averages."
        )
    if len(optimizers) > 1 or not optimizers[0].use_ema:
        raise ValueError(
            "SwapEMAWeights needs one optimiser with use_ema=True for all variable groups, received "
            f"{', '.join(f'{one.name} (use_ema={one.use_ema})' for one in optimizers)}."
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
    plain: dict[str, Any] = {}
    if isinstance(callback, _KEEPS_NO_STATE):
        return plain
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
