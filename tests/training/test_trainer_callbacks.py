"""What the outer loop reports, how it stops, and what its callbacks know when it goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import FirstOrder
from cml_tf.training.callback_state import CallbackStates, restore_callback_states
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.replicas import Replicas
from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import Recorder, assert_same_values, meta_batches, resumed, stop_at, waves

pytestmark = pytest.mark.slow

METRICS = {"loss", "mse", "co_loss", "co_mse", "tasks_per_second"}
VALIDATED = METRICS | {f"val_{name}" for name in METRICS - {"tasks_per_second"}}
VALIDATION = Validation(waves("validation"), 4)


def test_history_and_callbacks_have_each_epoch_s_means_and_nothing_is_traced_again():
    trainer, recorder = sinusoid_trainer(optimizer=keras.optimizers.SGD(0.0)), Recorder()
    trainer.method.rule.hypergradient = FirstOrder()
    history = trainer.fit(waves(), 3, [recorder], VALIDATION, validate_every=2, verbose=0)
    assert set(history) == VALIDATED and {len(values) for values in history.values()} == {2}
    losses = [evaluate_losses(trainer.method, batch)[0].numpy() for batch in meta_batches(3)]
    expected = np.array([np.mean(losses[:2], (0, 1)), losses[2].mean(0)])
    assert history["loss"] == pytest.approx(expected[:, 0], rel=1e-5)
    assert history["co_mse"] == pytest.approx(expected[:, 1], rel=1e-5)
    step = [("step begin", 0), ("step end", 0, METRICS)]
    first = [("epoch begin", 0), *step, ("step begin", 1), ("step end", 1, METRICS), ("epoch end", 0, VALIDATED)]
    second = [("epoch begin", 1), *step, ("epoch end", 1, VALIDATED)]
    assert recorder.model is trainer.host
    assert recorder.calls == [("train begin",), *first, *second, ("train end",)]
    trainer.method.terms[1].weight = 0.5
    trainer.fit(waves(), 6, (), VALIDATION, validate_every=2, verbose=0)
    (evaluator,) = trainer._evaluators.values()
    assert trainer.meta_step.traces == evaluator._compiled.experimental_get_tracing_count() == 1
    assert trainer.fit(waves(), 6, verbose=0) == {}


def test_verbosity_and_curves(capfd, tmp_path):
    trainer, board = tiny_trainer(), keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    trainer.fit(waves(), 4, [board], validation=VALIDATION, validate_every=2, verbose=0)
    assert capfd.readouterr() == ("", "")
    trainer.fit(waves(), 6, validate_every=2, verbose=1)
    bar = capfd.readouterr().out
    assert all(word in bar for word in ("2/2", "loss:", "mse:", "tasks_per_second:"))
    trainer.fit(waves(), 8, validate_every=2, verbose=2)
    assert capfd.readouterr().out.count("2/2") == 1
    train, validation = (
        {
            (value.tag, event.step)
            for path in (tmp_path / split).iterdir()
            for event in tf.compat.v1.train.summary_iterator(str(path))
            for value in event.summary.value
        }
        for split in ("train", "validation")
    )
    assert {("epoch_loss", 0), ("epoch_loss", 1), ("epoch_mse", 1), ("epoch_learning_rate", 1)} <= train
    assert {("epoch_loss", 0), ("epoch_mse", 1)} <= validation


def fit_with(trainer, *callbacks, steps=40, validate_every=2, inner_steps=None):
    validation = Validation(waves("validation"), 4, inner_steps)
    return trainer.fit(waves(), steps, callbacks, validation, validate_every=validate_every, meta_batch=1, verbose=0)


def frozen_trainer():
    return tiny_trainer(optimizer=keras.optimizers.SGD(0.0))


@pytest.fixture(scope="module")
def begun():
    """A trainer that is traced once, and its state before the first step."""
    trainer = frozen_trainer()
    return trainer, trainer.state()


@pytest.fixture
def frozen(begun):
    """That trainer before the first step."""
    trainer, start = begun
    trainer.restore(*start)
    return trainer


def test_validation_takes_its_own_number_of_inner_steps(frozen):
    trainer = frozen
    scores = [fit_with(trainer, steps=trainer.step + 1, inner_steps=steps)["val_mse"] for steps in (None, 1, 2)]
    assert scores[0] == scores[1] != scores[2]


def test_a_pause_at_any_step_changes_nothing_in_the_end():
    """Here at the last step of an epoch, whose validation must not be lost, and at the very last step."""
    trainer, results = tiny_trainer(), []
    start = trainer.state()
    for stop in (None, 2, 4):
        trainer.restore(*start)
        recorder = Recorder()
        if stop:
            fit_with(trainer, stop_at(trainer, stop), recorder, steps=4)
            assert trainer.step == stop and not trainer.stopped
        fit_with(trainer, recorder, steps=4)
        ends = [call for call in recorder.calls if call[0] == "epoch end"]
        assert trainer.step == 4 and trainer.state()[1]["means"] == {}
        results.append((ends, variable_values(trainer)))
    (expected, whole), *others = results
    assert len(expected) == 2
    for ends, values in others:
        assert ends == expected
        assert_same_values(values, whole)


class Validations(keras.callbacks.Callback):
    """Counts them, and refuses a second one of the same epoch."""

    count = 0

    def on_test_begin(self, logs=None):
        self.count += 1
        assert self.count == 1, "the validation was begun anew"


def test_told_to_another_process_in_a_validation_a_pause_is_this_one_s_too(monkeypatch):
    trainer, validations = tiny_trainer(), Validations()
    monkeypatch.setattr(Replicas, "anywhere", lambda _, flag: flag or validations.count > 0)
    # Of two batches: after the last one it is over.
    trainer.fit(waves(), 4, [validations], Validation(waves("validation"), 40), 2, verbose=0)
    assert trainer.step == 2 and not trainer.stopped and trainer.host.stop_training


def plateau(patience):
    """Validation can never get better than this, so that patience runs out."""
    return keras.callbacks.EarlyStopping("val_mse", patience=patience, mode="min")


def test_early_stopping_ends_training_for_good(frozen):
    trainer, states = frozen, []
    # A kill may come between the last epoch's checkpoint and the one of the end of training.
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(trainer.state()[1]))
    fit_with(trainer, plateau(patience=3), keep)
    assert trainer.step == 8 and trainer.stopped
    assert [state["stopped"] for state in states] == [False, False, False, True]
    assert fit_with(trainer, plateau(patience=3)) == {} and trainer.step == 8
    trainer.stopped = False
    fit_with(trainer, plateau(patience=1))
    assert trainer.step == 12


class Counter(keras.callbacks.Callback):
    """Keeps a state of its own."""

    def __init__(self):
        super().__init__()
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self._steps += 1

    def get_state(self):
        return {"steps": self._steps}

    def set_state(self, state):
        self._steps = state["steps"]


class Notes(keras.callbacks.Callback):
    """Changes what it has in place."""

    def __init__(self):
        super().__init__()
        self.losses, self.seen = [], {}

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(epoch)
        self.seen[str(epoch)] = True


def test_what_a_callback_changed_in_place_is_kept_and_is_its_own():
    first, again, states = Notes(), Notes(), CallbackStates()
    states.begin([first])
    first.on_epoch_end(0)
    kept = states.read([first])
    first.on_epoch_end(1)
    restore_callback_states([again], kept)
    again.on_epoch_end(2)
    assert again.losses == [0, 2] and again.seen == {"0": True, "2": True}
    assert kept == {"Notes:0": {"losses": [0], "seen": {"0": True}}}


def test_patience_rates_and_states_of_one_s_own_survive_an_interruption(frozen):
    """Within an epoch; what was restored is put back once, and Keras turns the sign of min_delta in every run."""

    def callbacks():
        patient = keras.callbacks.EarlyStopping("val_mse", patience=50, mode="min", min_delta=0.5)
        reducing = keras.callbacks.ReduceLROnPlateau("val_mse", 0.5, patience=2, mode="min", min_delta=0.0)
        return plateau(patience=5), patient, reducing, Counter()

    first, (stopping, *others) = frozen, callbacks()
    first.host.optimizer.learning_rate = 1e-12
    fit_with(first, stopping, *others, stop_at(first, 7))
    assert first.step == 7
    second, again = resumed(first, frozen_trainer), callbacks()
    history = fit_with(second, *again)
    assert second.step == 12 and second.stopped and again[0].best == stopping.best > 0
    assert again[1].min_delta == others[0].min_delta == -0.5 and again[1].wait == 5
    # Of six epochs the first is an improvement; each two of the others halve the rate.
    assert float(second.host.optimizer.learning_rate) == pytest.approx(0.25e-12)
    assert len(history["learning_rate"]) == 3 and again[3]._steps == 12
    second.stopped = False
    fit_with(second, again[1], steps=14)
    # Keras begins anew with every call of fit: the first epoch is an improvement.
    assert again[1].wait == 0
