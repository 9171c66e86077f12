"""Event files cost nothing a step: TensorFlow keeps what it makes of every number for good."""

import keras
import pytest

from cml_tf.experiments.callbacks import EpochEvents


def test_a_step_makes_no_scalars_and_an_epoch_does(tmp_path, monkeypatch):
    callback = EpochEvents(str(tmp_path), write_graph=False)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback.set_model(model)
    callback.on_train_begin()
    with monkeypatch.context() as patched:
        patched.setattr(callback.summary, "scalar", lambda *arguments, **named: pytest.fail("a scalar for a step"))
        callback.on_train_batch_begin(0)
        callback.on_train_batch_end(0, {"loss": 0.5})
    callback.on_epoch_end(0, {"loss": 0.5})
    callback.on_train_end()
    (events,) = (tmp_path / "train").glob("events*")
    assert b"epoch_loss" in events.read_bytes() and b"batch_loss" not in events.read_bytes()
