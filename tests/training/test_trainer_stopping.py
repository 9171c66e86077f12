"""How the outer loop stops, and what its callbacks know when it goes on."""

from __future__ import annotations

import keras
import pytest

from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import Recorder, assert_same_values, waves


def stop_at(trainer, step):
    def stop(batch, logs):
        trainer.host.stop_training |= trainer.step == step

    return keras.callbacks.LambdaCallback(on_train_batch_end=stop)


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(6, marks=pytest.mark.slow)])
def test_a_pause_at_any_step_changes_nothing_in_the_end(step):
    """Also at the last step of an epoch, whose validation must not be lost, and at the very last step."""

    def fit(trainer, callbacks=()):
        recorder = Recorder()
        callbacks = [*callbacks, recorder]
        trainer.fit(waves(), 6, callbacks, Validation(waves("validation"), 4), 3, meta_batch=1, verbose=0)
        return [call for call in recorder.calls if call[0] == "epoch end"]

    keras.backend.clear_session()
    whole = tiny_trainer()
    expected = fit(whole)
    keras.backend.clear_session()
    paused = tiny_trainer()
    ends = fit(paused, [stop_at(paused, step)])
    assert paused.step == step
    assert not paused.stopped
    if step < 6:
        ends += fit(paused)
    assert paused.step == 6
    assert ends == expected
    assert_same_values(variable_values(paused), variable_values(whole))
    assert paused.state()[1]["means"] == whole.state()[1]["means"] == {}


def plateau(patience, min_delta=0.0):
    """Validation can never get better than this, so that patience runs out."""
    return keras.callbacks.EarlyStopping("val_mse", patience=patience, mode="min", min_delta=min_delta)


def frozen_trainer():
    return tiny_trainer(optimizer=keras.optimizers.SGD(0.0))


def fit_with(trainer, callback, steps=40):
    validation = Validation(waves("validation"), 4)
    return trainer.fit(waves(), steps, [callback], validation, validate_every=2, meta_batch=1, verbose=0)


def test_early_stopping_ends_training_for_good():
    trainer = frozen_trainer()
    fit_with(trainer, plateau(patience=3))
    assert trainer.step == 8 and trainer.stopped
    assert fit_with(trainer, plateau(patience=3)) == {} and trainer.step == 8
    trainer.stopped = False
    fit_with(trainer, plateau(patience=1))
    assert trainer.step == 12


@pytest.mark.parametrize("interruption", [1, 4, 7])
def test_patience_survives_an_interruption(interruption):
    first = frozen_trainer()
    callback = plateau(patience=3)
    validation = Validation(waves("validation"), 4)
    first.fit(waves(), 40, [callback, stop_at(first, interruption)], validation, 2, meta_batch=1, verbose=0)
    assert first.step == interruption
    second = frozen_trainer()
    second.restore(*first.state())
    resumed = plateau(patience=3)
    fit_with(second, resumed)
    assert second.step == 8 and second.stopped
    assert resumed.best > 0 and (interruption < 2 or resumed.best == callback.best)


def test_a_state_taken_at_the_end_of_the_last_epoch_knows_that_training_ended():
    """A kill may come between the last epoch's checkpoint and the one of the end of training."""
    trainer, states = frozen_trainer(), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(trainer.state()[1]))
    trainer.fit(
        waves(), 40, [plateau(patience=2), keep], Validation(waves("validation"), 4), validate_every=2, verbose=0
    )
    assert [state["stopped"] for state in states] == [False, False, True]


def test_the_smallest_improvement_keeps_its_sign():
    """Keras turns the sign of min_delta at the first epoch of every run."""
    trainer, callback = frozen_trainer(), plateau(patience=50, min_delta=0.5)
    fit_with(trainer, callback, steps=4)
    again, restored = frozen_trainer(), plateau(patience=50, min_delta=0.5)
    again.restore(*trainer.state())
    fit_with(again, restored, steps=8)
    assert restored.min_delta == callback.min_delta == -0.5
    assert restored.wait == 3


def test_a_restored_state_is_put_back_once():
    trainer = frozen_trainer()
    fit_with(trainer, plateau(patience=50), steps=4)
    again, callback = frozen_trainer(), plateau(patience=50)
    again.restore(*trainer.state())
    fit_with(again, callback, steps=10)
    assert callback.wait == 4
    fit_with(again, callback, steps=12)
    # Keras begins anew with every call of fit: the first epoch is an improvement.
    assert callback.wait == 0


def test_reduced_rates_survive_an_interruption():
    def make():
        return frozen_trainer(), keras.callbacks.ReduceLROnPlateau(
            "val_mse", 0.5, patience=2, mode="min", min_delta=0.0
        )

    whole, callback = make()
    whole.host.optimizer.learning_rate = 1e-12
    fit_with(whole, callback, steps=12)
    first, callback = make()
    first.host.optimizer.learning_rate = 1e-12
    fit_with(first, callback, steps=6)
    second, callback = make()
    second.restore(*first.state())
    history = fit_with(second, callback, steps=12)
    assert float(second.host.optimizer.learning_rate) == float(whole.host.optimizer.learning_rate)
    assert float(whole.host.optimizer.learning_rate) == pytest.approx(0.25e-12)
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

    first, second, counter = tiny_trainer(), tiny_trainer(), Counter()
    first.fit(waves(), 3, [Counter()], verbose=0)
    second.restore(*first.state())
    second.fit(waves(), 5, [counter], verbose=0)
    assert counter._steps == 5


def test_weights_that_a_callback_would_lose_are_refused_at_once():
    trainer = sinusoid_trainer()
    callback = keras.callbacks.EarlyStopping("val_mse", mode="min", restore_best_weights=True)
    with pytest.raises(ValueError, match=r"EarlyStopping\(restore_best_weights=True\) is not supported"):
        trainer.fit(waves(), 2, [callback], verbose=0)
    assert trainer.step == 0
