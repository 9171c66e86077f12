"""What the outer loop reports: its history, its callbacks, what it prints, its validation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer
from tests.helpers.wave_training import Recorder, meta_batches, waves

METRICS = {"loss", "mse", "co_loss", "co_mse", "tasks_per_second"}
VALIDATED = {f"val_{name}" for name in METRICS - {"tasks_per_second"}}
VALIDATION = Validation(waves("validation"), 4)


def test_history_and_callbacks_have_each_epoch_s_means_and_nothing_is_traced_again():
    trainer, recorder = sinusoid_trainer(optimizer=keras.optimizers.SGD(0.0)), Recorder()
    history = trainer.fit(waves(), 3, [recorder], VALIDATION, validate_every=2, verbose=0)
    assert set(history) == METRICS | VALIDATED and {len(values) for values in history.values()} == {2}
    losses = [
        meta_gradient(trainer.method, batch, trainer.method.weights()).term_losses.numpy() for batch in meta_batches(3)
    ]
    expected = np.array([np.mean(losses[:2], (0, 1)), losses[2].mean(0)])
    assert history["loss"] == pytest.approx(expected[:, 0], rel=1e-5)
    assert history["co_mse"] == pytest.approx(expected[:, 1], rel=1e-5)
    step = [("step begin", 0), ("step end", 0, METRICS)]
    assert recorder.calls == [
        ("train begin",),
        ("epoch begin", 0),
        *step,
        ("step begin", 1),
        ("step end", 1, METRICS),
        ("epoch end", 0, METRICS | VALIDATED),
        ("epoch begin", 1),
        *step,
        ("epoch end", 1, METRICS | VALIDATED),
        ("train end",),
    ]
    trainer.method.terms[1].weight = 0.5
    trainer.fit(waves(), 6, (), VALIDATION, validate_every=2, verbose=0)
    (evaluator,) = trainer._evaluators.values()
    assert trainer.meta_step.traces == evaluator._compiled.experimental_get_tracing_count() == 1
    assert trainer.fit(waves(), 6, verbose=0) == {}


def test_verbosity(capfd):
    trainer = tiny_trainer()
    trainer.fit(waves(), 2, validation=VALIDATION, validate_every=1, verbose=0)
    assert capfd.readouterr() == ("", "")
    trainer.fit(waves(), 4, validate_every=2, verbose=1)
    bar = capfd.readouterr().out
    assert all(word in bar for word in ("2/2", "loss:", "mse:", "tasks_per_second:"))
    trainer.fit(waves(), 6, validate_every=2, verbose=2)
    assert capfd.readouterr().out.count("2/2") == 1


def test_validation_takes_its_own_number_of_inner_steps():
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(0.0))
    scores = {
        steps: trainer.fit(waves(), trainer.step + 1, (), Validation(waves("validation"), 4, steps), verbose=0)
        for steps in (None, 1, 5)
    }
    assert scores[None]["val_mse"] == scores[1]["val_mse"] != scores[5]["val_mse"]


def test_tensorboard_gets_the_curves(tmp_path):
    board = keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    tiny_trainer().fit(waves(), 4, [board], VALIDATION, validate_every=2, verbose=0)
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
