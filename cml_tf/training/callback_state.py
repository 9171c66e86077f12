"""State of Keras callbacks, as JSON, so that an interrupted run resumes with its patience, best value and counters.

Callbacks are given a model that carries what they read and set, and is never called.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from cml_tf.errors import UserError
from cml_tf.training.method import Method

# Set by Keras anew in every run. It turns the sign of `min_delta` at the first epoch, so that it must not be put back.
_SET_BY_KERAS = {"params", "model", "min_delta"}


# Save what `host` holds, which is neither the position in the episodes nor what adaptation meta-learned.
_HALF_A_STATE = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.OrbaxCheckpoint,
)
_SETS_RATES = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


def check_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], optimizers: Sequence[keras.optimizers.Optimizer]
) -> None:
    """Raises UserError for a callback that would bring back, or see, half of a training's state.

    Args:
      callbacks: as given to `fit`.
      optimizers: the distinct ones of the training.
    """
    if isinstance(callbacks, keras.callbacks.Callback | keras.callbacks.CallbackList):
        raise UserError(f"callbacks must be a list of Keras callbacks, received a single {type(callbacks).__name__}.")
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback) or isinstance(callback, keras.callbacks.CallbackList):
            raise UserError(f"callbacks must be Keras callbacks, received {type(callback).__name__}.")
        if isinstance(callback, _HALF_A_STATE):
            raise UserError(
                f"{type(callback).__name__} is not supported, since it would save the weights without the step and "
                "without the variables of adaptation. Train with cml_tf.train, which resumes exactly, save "
                "Trainer.state(), or save cml_tf.FewShotModel.of(trainer) in a callback of your own."
            )
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            _check_swap(callback, optimizers)
        if isinstance(callback, _SETS_RATES) and isinstance(optimizers[0]._learning_rate, _SCHEDULE):
            raise UserError(
                f"{type(callback).__name__} sets the learning rate, which {optimizers[0].name} takes from a schedule: "
                "use only one of them."
            )
        if getattr(callback, "restore_best_weights", False):
            raise UserError(
                f"{type(callback).__name__}(restore_best_weights=True) is not supported, since its weights would not "
                "survive an interruption. Use the best checkpoint of the run instead."
            )


def _check_swap(callback: keras.callbacks.Callback, optimizers: Sequence[keras.optimizers.Optimizer]) -> None:
    if callback.swap_on_epoch:
        raise UserError(
            "SwapEMAWeights(swap_on_epoch=True) is not supported, since checkpoints would contain averages instead of "
            "weights. Leave out swap_on_epoch: validation then sees the averages."
        )
    if len(optimizers) > 1 or not optimizers[0].use_ema:
        raise UserError(
            "SwapEMAWeights needs one optimiser with use_ema=True for all variable groups, received "
            f"{', '.join(f'{one.name} (use_ema={one.use_ema})' for one in optimizers)}."
        )


def settle_modes(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Says of callbacks with mode "auto" what is better: Keras would ask compiled metrics, of which there are none."""
    for callback in callbacks:
        if getattr(callback, "mode", None) == "auto" and isinstance(getattr(callback, "monitor", None), str):
            callback.mode = "max" if callback.monitor.endswith("accuracy") else "min"


class CallbackStates:
    """What callbacks have become since a training first saw them: their counters, and not their settings.

    A callback that keeps its state elsewhere than in plain public attributes offers `get_state()` and
    `set_state(state)` with a JSON object instead.
    """

    def __init__(self) -> None:
        self._began: dict[int, tuple[keras.callbacks.Callback, dict[str, Any]]] = {}

    def begin(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Notes what callbacks that were not seen before are like."""
        for callback in callbacks:
            # The callback is kept along: another one could get its number otherwise.
            self._began.setdefault(id(callback), (callback, _plain(callback)))

    def read(self, callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
        """What changed, by class and its occurrence: JSON."""
        return {name: self._changed(callback) for name, callback in _named(callbacks).items()}

    def _changed(self, callback: keras.callbacks.Callback) -> Any:
        if hasattr(callback, "get_state"):
            return callback.get_state()
        _, began = self._began[id(callback)]
        return {name: value for name, value in _plain(callback).items() if name not in began or began[name] != value}


def restore_callback_states(callbacks: Sequence[keras.callbacks.Callback], states: Mapping[str, Any]) -> None:
    """Puts states back. Callbacks that have none (new in this run) begin afresh; settings stay as they are given."""
    states = _by_occurrence(states)
    for name, callback in _named(callbacks).items():
        state = states.get(name)
        if state is None:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(state)
            continue
        for attribute, value in state.items():
            setattr(callback, attribute, copy.deepcopy(value))


def _named(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """Callbacks by class and occurrence: others may come and go in front of one."""
    named: dict[str, keras.callbacks.Callback] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        number = next(number for number in itertools.count() if f"{kind}:{number}" not in named)
        named[f"{kind}:{number}"] = callback
    return named


def _by_occurrence(states: Mapping[str, Any]) -> dict[str, Any]:
    """States of before are called `position:class`."""
    found: dict[str, Any] = {}
    for key, state in states.items():
        first, second = key.split(":")
        kind = second if first.isdigit() else first
        number = next(number for number in itertools.count() if f"{kind}:{number}" not in found)
        found[f"{kind}:{number}"] = state
    return found


def _plain(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """The public attributes that JSON can hold, as copies: a list that grows later on is the callback's."""
    plain: dict[str, Any] = {}
    for name, value in vars(callback).items():
        value = value.item() if isinstance(value, np.generic) else value
        if not name.startswith("_") and name not in _SET_BY_KERAS and _is_json(value):
            plain[name] = copy.deepcopy(value)
    return plain


def _is_json(value: Any) -> bool:
    # A NaN is not equal to itself, but comes back as one.
    if isinstance(value, float):
        return True
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


class MetaTraining(keras.Model):
    """The layers and the optimiser of a training, and its `stop_training`."""

    def call(self, inputs: Any) -> Any:
        """Never reached: a learner is called through `Learner.call`, with its parameters."""
        raise NotImplementedError

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """As `call`, before Keras wraps it up."""
        raise UserError("this model only carries state for callbacks: call cml_tf.FewShotModel.of(trainer) instead.")

    predict = evaluate = __call__

    def save(self, *arguments: Any, **keywords: Any) -> None:
        """Refuses: what it would write could be neither called nor loaded."""
        raise UserError(
            "callbacks cannot save this model, which only carries state: save cml_tf.FewShotModel.of(trainer) instead."
        )


def callback_host(method: Method, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """The model for a method's callbacks; rates that they set are the optimiser's."""
    host = MetaTraining(name="meta_training")
    host.extractor, host.head = method.learner.extractor, method.learner.head
    # What adaptation meta-learned (rates) belongs to the weights that a callback reads and sets.
    host.adaptation = list(method.rule.meta_variables)
    host.term_layers = [term.layer for term in method.terms if term.layer is not None]
    host.built = True
    host.compile(optimizer=optimizer)
    return host
