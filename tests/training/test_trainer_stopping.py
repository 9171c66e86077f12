"""How the outer loop stops, and what its callbacks know when it goes on."""

from __future__ import annotations

import keras
import pytest

from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import tiny_trainer, variable_values
from tests.helpers.wave_training import Recorder, assert_same_values, resumed, stop_at, waves


def fit_with(trainer, *callbacks, steps=40, validate_every=2):
    validation = Validation(waves("validation"), 4)
    return trainer.fit(waves(), steps, callbacks, validation, validate_every=validate_every, meta_batch=1, verbose=0)


@pytest.fixture(scope="module")
def uninterrupted():
    keras.backend.clear_session()
    trainer, recorder = tiny_trainer(), Recorder()
    fit_with(trainer, recorder, steps=6, validate_every=3)
    return trainer, recorder.calls


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(6, marks=pytest.mark.slow)])
def test_a_pause_at_any_step_changes_nothing_in_the_end(uninterrupted, step):
    """Also at the last step of an epoch, whose validation must not be lost, and at the very last step."""
    whole, expected = uninterrupted
    keras.backend.clear_session()
    paused, recorder = tiny_trainer(), Recorder()
    fit_with(paused, stop_at(paused, step), recorder, steps=6, validate_every=3)
    assert paused.step == step and not paused.stopped
    if step < 6:
        fit_with(paused, recorder, steps=6, validate_every=3)
    assert paused.step == 6
    ends, expected = ([call for call in calls if call[0] == "epoch end"] for calls in (recorder.calls, expected))
    assert ends == expected
    assert_same_values(variable_values(paused), variable_values(whole))
    assert paused.state()[1]["means"] == whole.state()[1]["means"] == {}


def plateau(patience, min_delta=0.0):
    """Validation can never get better than this, so that patience runs out."""
    return keras.callbacks.EarlyStopping("val_mse", patience=patience, mode="min", min_delta=min_delta)


def frozen_trainer():
    return tiny_trainer(optimizer=keras.optimizers.SGD(0.0))


def test_early_stopping_ends_training_for_good():
    trainer, states = frozen_trainer(), []
    # A kill may come between the last epoch's checkpoint and the one of the end of training.
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(trainer.state()[1]))
    fit_with(trainer, plateau(patience=3), keep)
    assert trainer.step == 8 and trainer.stopped
    assert [state["stopped"] for state in states] == [False, False, False, True]
    assert fit_with(trainer, plateau(patience=3)) == {} and trainer.step == 8
    trainer.stopped = False
    fit_with(trainer, plateau(patience=1))
    assert trainer.step == 12


@pytest.mark.parametrize("interruption", [4, 7])
def test_patience_survives_an_interruption(interruption):
    first, callback = frozen_trainer(), plateau(patience=3)
    fit_with(first, callback, stop_at(first, interruption))
    assert first.step == interruption
    second, again = resumed(first, frozen_trainer), plateau(patience=3)
    fit_with(second, again)
    assert second.step == 8 and second.stopped
    assert again.best == callback.best > 0


def test_a_restored_state_is_put_back_once_and_the_smallest_improvement_keeps_its_sign():
    """Keras turns the sign of min_delta at the first epoch of every run."""
    trainer, callback = frozen_trainer(), plateau(patience=50, min_delta=0.5)
    fit_with(trainer, callback, steps=4)
    again, restored = resumed(trainer, frozen_trainer), plateau(patience=50, min_delta=0.5)
    fit_with(again, restored, steps=10)
    assert restored.min_delta == callback.min_delta == -0.5 and restored.wait == 4
    fit_with(again, restored, steps=12)
    # Keras begins anew with every call of fit: the first epoch is an improvement.
    assert restored.wait == 0


def test_reduced_rates_survive_an_interruption():
    def reducing():
        return keras.callbacks.ReduceLROnPlateau("val_mse", 0.5, patience=2, mode="min", min_delta=0.0)

    first = frozen_trainer()
    first.host.optimizer.learning_rate = 1e-12
    fit_with(first, reducing(), steps=6)
    second = resumed(first, frozen_trainer)
    history = fit_with(second, reducing(), steps=12)
    # Of six epochs the first is an improvement; each two of the others halve the rate.
    assert float(second.host.optimizer.learning_rate) == pytest.approx(0.25e-12)
    assert len(history["learning_rate"]) == 3


def test_a_callback_may_keep_its_own_state():
    class Counter(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self._steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self._steps += 1

        def get_state(self):
            return {"steps": self._steps}

        def set_state(self, state):
            self._steps = state["steps"]

    first, counter = tiny_trainer(), Counter()
    first.fit(waves(), 3, [Counter()], verbose=0)
    resumed(first).fit(waves(), 5, [counter], verbose=0)
    assert counter._steps == 5
