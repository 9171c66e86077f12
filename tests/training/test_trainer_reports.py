"""What the outer loop reports: its history, its callbacks, what it prints, its validation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.training.meta_step import meta_gradient
from cml_tf.training.trainer import Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer
from tests.helpers.wave_training import Recorder, meta_batches, waves

METRICS = {"loss", "mse", "co_loss", "co_mse", "tasks_per_second"}


def test_history_holds_one_value_an_epoch():
    trainer = sinusoid_trainer()
    history = trainer.fit(waves(), 5, validation=Validation(waves("validation"), 6), validate_every=2, verbose=0)
    validated = {f"val_{name}" for name in METRICS - {"tasks_per_second"}}
    assert set(history) == METRICS | validated
    assert {len(values) for values in history.values()} == {3}
    assert trainer.fit(waves(), 5, verbose=0) == {}


def test_an_epochs_metrics_are_means_over_its_tasks():
    trainer = sinusoid_trainer(optimizer=keras.optimizers.SGD(0.0))
    history = trainer.fit(waves(), 5, validate_every=2, verbose=0)
    losses = [
        meta_gradient(trainer.method, batch, trainer.method.weights()).term_losses.numpy() for batch in meta_batches(5)
    ]
    expected = [np.mean(losses[:2], axis=(0, 1)), np.mean(losses[2:4], axis=(0, 1)), losses[4].mean(0)]
    assert history["loss"] == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert history["co_mse"] == pytest.approx([loss for _, loss in expected], rel=1e-5)


def test_callbacks_see_every_step_and_epoch():
    recorder = Recorder()
    sinusoid_trainer().fit(
        waves(), 3, [recorder], Validation(waves("validation"), 4), validate_every=2, meta_batch=2, verbose=0
    )
    everything = METRICS | {f"val_{name}" for name in METRICS - {"tasks_per_second"}}
    assert recorder.calls == [
        ("train begin",),
        ("epoch begin", 0),
        ("step begin", 0),
        ("step end", 0, METRICS),
        ("step begin", 1),
        ("step end", 1, METRICS),
        ("epoch end", 0, everything),
        ("epoch begin", 1),
        ("step begin", 0),
        ("step end", 0, METRICS),
        ("epoch end", 1, everything),
        ("train end",),
    ]


def test_verbosity(capfd):
    trainer = tiny_trainer()
    trainer.fit(waves(), 2, validation=Validation(waves("validation"), 2), validate_every=1, verbose=0)
    assert capfd.readouterr() == ("", "")
    trainer.fit(waves(), 4, validate_every=2, verbose=1)
    bar = capfd.readouterr().out
    assert "2/2" in bar and "loss:" in bar and "mse:" in bar and "tasks_per_second:" in bar
    trainer.fit(waves(), 6, validate_every=2, verbose=2)
    assert capfd.readouterr().out.count("2/2") == 1


def test_nothing_is_traced_again():
    trainer = sinusoid_trainer()
    validation = Validation(waves("validation"), 5, steps=2)
    trainer.fit(waves(), 12, validation=validation, validate_every=2, verbose=0)
    trainer.method.terms[1].weight = 0.5
    trainer.fit(waves(), 16, validation=validation, validate_every=2, verbose=0)
    assert trainer.meta_step.traces == 1
    (evaluator,) = trainer._evaluators.values()
    assert evaluator._compiled.experimental_get_tracing_count() == 1


def test_validation_takes_its_own_number_of_inner_steps():
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(0.0))
    source = waves("validation")
    scores = {
        steps: trainer.fit(waves(), trainer.step + 1, validation=Validation(source, 8, steps), verbose=0)["val_mse"]
        for steps in (None, 1, 5)
    }
    assert scores[None] == scores[1]
    assert scores[5] != scores[1]


def test_tensorboard_gets_the_curves(tmp_path):
    tiny_trainer().fit(
        waves(),
        4,
        [keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)],
        Validation(waves("validation"), 4),
        validate_every=2,
        verbose=0,
    )
    tags = {"train": set(), "validation": set()}
    for split in tags:
        for path in (tmp_path / split).iterdir():
            for event in tf.compat.v1.train.summary_iterator(str(path)):
                tags[split] |= {(value.tag, event.step) for value in event.summary.value}
    assert {("epoch_loss", 0), ("epoch_loss", 1), ("epoch_mse", 1), ("epoch_learning_rate", 1)} <= tags["train"]
    assert {("epoch_loss", 0), ("epoch_mse", 1)} <= tags["validation"]
