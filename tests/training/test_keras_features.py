"""What Keras' own `fit` honours: honoured by a training too, or refused by name before its first step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, MetaSGD
from cml_tf.learners import Learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.callback_state import restore_callback_states
from cml_tf.training.trainer import Trainer, Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import assert_same_values, waves

K = keras.layers
PROBLEM = Regression(1)


@keras.saving.register_keras_serializable("tests")
class AddsLoss(K.Layer):
    def __init__(self, only_in_training: bool = False, **keywords):
        super().__init__(**keywords)
        self.only_in_training = only_in_training

    def call(self, inputs, training=False):
        if training or not self.only_in_training:
            self.add_loss(tf.reduce_sum(inputs))
        return inputs


@keras.saving.register_keras_serializable("tests")
class KeepsMetric(K.Layer):
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.mean = keras.metrics.Mean(name="size")

    def call(self, inputs):
        return inputs


def trainer_of(*body, head=None, co_learner=None, **arguments) -> Trainer:
    learner = Learner(keras.Sequential([K.Dense(4), *body]), head or K.Dense(1), input_shape=(1,))
    terms = [QueryLoss(PROBLEM)] + ([CoLearner(co_learner, PROBLEM)] if co_learner else [])
    return Trainer(
        learner, GradientDescent(PROBLEM, SGD(0.01), hypergradient=FirstOrder()), terms, PROBLEM, **arguments
    )


LAYERS = {
    "a kernel regulariser": (lambda: K.Dense(4, kernel_regularizer="l2"), "kernel' has a regulariser"),
    "a bias regulariser": (lambda: K.Dense(4, bias_regularizer="l1"), "bias' has a regulariser"),
    "an activity regulariser": (lambda: K.Dense(4, activity_regularizer="l2"), r"\(Dense\) adds a loss of its own"),
    "ActivityRegularization": (lambda: K.ActivityRegularization(0.1), r"\(ActivityRegularization\) adds a loss"),
    "add_loss": (lambda: AddsLoss(), r"\(AddsLoss\) adds a loss of its own \(add_loss"),
    "add_loss in training": (lambda: AddsLoss(True), r"\(AddsLoss\) adds a loss of its own"),
    "a metric": (lambda: KeepsMetric(), "keeps the metric 'size', which would stay empty"),
    "float16": (lambda: K.Dense(4, dtype="mixed_float16"), "computes in float16, whose gradients vanish"),
}


@pytest.mark.parametrize("place", ["extractor", "head", "co-learner"])
@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_would_add_is_refused_by_name(place, name):
    make, message = LAYERS[name]
    if place == "co-learner" and name == "add_loss in training":
        pytest.skip("a co-learner is never called in training mode")
    with pytest.raises(ValueError, match=message):
        if place == "extractor":
            trainer_of(make())
        elif place == "head":
            trainer_of(head=keras.Sequential([make(), K.Dense(1)]))
        else:
            trainer_of(co_learner=keras.Sequential([make(), K.Dense(1)]))


def test_a_constraint_is_refused_where_the_inner_loop_would_leave_it_and_kept_on_co_learners():
    with pytest.raises(ValueError, match="has a constraint, which the inner loop would leave"):
        trainer_of(K.Dense(4, kernel_constraint="non_neg"))
    trainer = trainer_of(co_learner=K.Dense(1, kernel_constraint="non_neg"), optimizer=keras.optimizers.SGD(1e-3))
    kernel = trainer.method.terms[1].layer.kernel
    kernel.assign([[-1.0], [1.0], [1.0], [1.0]])
    trainer.fit(waves(), 1, verbose=0)
    assert kernel.numpy().min() == 0.0 < kernel.numpy().max()


def test_a_frozen_layer_may_have_a_regulariser():
    trainer_of(K.Dense(4, kernel_regularizer="l2", kernel_constraint="non_neg", trainable=False))


def other_optimizer():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable(1.0)])
    return optimizer


OPTIMIZERS = {
    "LossScaleOptimizer": (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "scales the loss"),
    "loss_scale_factor": (lambda: keras.optimizers.Adam(loss_scale_factor=8.0), "'adam.*' scales the loss"),
    "MultiOptimizer": (
        lambda: keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD())),
        "delegates to others: give a mapping",
    ),
    "used before": (other_optimizer, "was used with other variables: make a new one"),
    "an unknown name": (lambda: "adamantium", "must be a Keras optimiser or its name, received 'adamantium'"),
    "a class": (lambda: keras.optimizers.Adam, "must be a Keras optimiser or its name, received type"),
    "a number": (lambda: 0.1, "must be a Keras optimiser or its name, received float"),
    "a missing group": (lambda: {}, r"must be given for \['learner'\], received \[\]"),
    "inside a mapping": (lambda: {"learner": keras.optimizers.SGD(loss_scale_factor=2.0)}, "scales the loss"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_that_would_not_do_what_it_says_is_refused(name):
    make, message = OPTIMIZERS[name]
    with pytest.raises(ValueError, match=message):
        tiny_trainer(optimizer=make())


def test_an_optimiser_may_be_named():
    trainer = tiny_trainer(optimizer="sgd")
    assert [type(one) for one in trainer.meta_step.optimizers] == [keras.optimizers.SGD]


def test_a_strategy_is_refused():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), pytest.raises(ValueError, match="runs on one device"):
        tiny_trainer()


def test_layers_frozen_or_thawed_later_are_told():
    trainer = trainer_of(K.Dense(4, trainable=False))
    first, second = trainer.method.learner.extractor.layers
    second.trainable = True
    with pytest.raises(ValueError, match="kernel' was thawed after the learner was made"):
        trainer.fit(waves(), 1, verbose=0)
    second.trainable, first.trainable = False, False
    with pytest.raises(ValueError, match="kernel' was frozen after the learner was made"):
        trainer.fit(waves(), 1, verbose=0)
    first.trainable = True
    trainer.fit(waves(), 1, verbose=0)


def steps_of(optimizer, steps=4) -> list[np.ndarray]:
    """The learner's variables before training and after each step."""
    trainer, path = tiny_trainer(optimizer=optimizer), []
    keep = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: path.append(flat(trainer)),
        on_train_batch_end=lambda batch, logs: path.append(flat(trainer)),
    )
    trainer.fit(waves(), steps, [keep], verbose=0)
    return [*path, flat(trainer)]


def flat(trainer) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in trainer.method.trained_variables()["learner"]])


def test_averages_are_put_into_the_variables_at_the_end():
    *path, final = steps_of(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    plain = steps_of(keras.optimizers.SGD(0.1))
    np.testing.assert_allclose(path, plain[:-1], rtol=1e-5, atol=1e-7)
    average = plain[1]
    for weights in plain[2:-1]:
        average = 0.5 * average + 0.5 * weights
    np.testing.assert_allclose(final, average, rtol=1e-5, atol=1e-7)
    assert np.abs(final - path[-1]).max() > 1e-4


def test_averages_wait_for_the_end_of_an_interrupted_training():
    def make():
        return tiny_trainer(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))

    def stop(batch, logs):
        if trainer.step == 3:
            trainer.host.stop_training = True

    keras.backend.clear_session()
    whole = make()
    whole.fit(waves(), 6, verbose=0)
    keras.backend.clear_session()
    trainer = make()
    trainer.fit(waves(), 6, [keras.callbacks.LambdaCallback(on_train_batch_end=stop)], verbose=0)
    state = trainer.state()
    assert trainer.step == 3
    keras.backend.clear_session()
    resumed = make()
    resumed.restore(*state)
    resumed.fit(waves(), 6, verbose=0)
    assert_same_values(variable_values(resumed), variable_values(whole))


def test_clipping_decay_and_accumulation_of_the_optimiser_are_its_own():
    decayed = steps_of(keras.optimizers.SGD(0.1, weight_decay=0.5))
    plain = steps_of(keras.optimizers.SGD(0.1))
    np.testing.assert_allclose(decayed[1], plain[1] - 0.05 * plain[0], rtol=1e-4, atol=1e-6)
    clipped = steps_of(keras.optimizers.SGD(0.1, global_clipnorm=0.01))
    assert np.linalg.norm(clipped[1] - clipped[0]) == pytest.approx(0.001, rel=1e-3)
    accumulated = steps_of(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    np.testing.assert_array_equal(accumulated[1], accumulated[0])
    assert np.abs(accumulated[2] - accumulated[1]).max() > 1e-4


def test_validation_calls_the_test_hooks_so_that_averages_can_be_validated():
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    seen = []
    look = keras.callbacks.LambdaCallback()
    look.on_test_begin = lambda logs=None: seen.append(("begin", flat(trainer)))
    look.on_test_end = lambda logs=None: seen.append(("end", flat(trainer), sorted(logs)))
    validation = Validation(waves("validation"), 4)
    trainer.fit(waves(), 2, [keras.callbacks.SwapEMAWeights(), look], validation, 2, verbose=0)
    (_, at_begin), (_, at_end, names) = seen
    average = trainer.meta_step.optimizers[0]._model_variables_moving_average
    # Swapped in by the first callback before ours looks, and out again before ours looks at the end.
    np.testing.assert_allclose(at_begin, np.concatenate([v.numpy().ravel() for v in average]), rtol=1e-5, atol=1e-6)
    assert np.abs(at_begin - at_end).max() > 1e-5 and names == ["loss", "mse"]


class OwnCheckpoint(keras.callbacks.ModelCheckpoint):
    pass


CALLBACKS = {
    "BackupAndRestore": (lambda path: keras.callbacks.BackupAndRestore(path), "BackupAndRestore is not supported"),
    "ModelCheckpoint": (
        lambda path: keras.callbacks.ModelCheckpoint(path + "/x.weights.h5", save_weights_only=True),
        "ModelCheckpoint is not supported: it would keep the weights without the step",
    ),
    "a subclass": (lambda path: OwnCheckpoint(path + "/x.keras"), "OwnCheckpoint is not supported"),
    "EarlyStopping": (
        lambda path: keras.callbacks.EarlyStopping("val_mse", restore_best_weights=True),
        r"EarlyStopping\(restore_best_weights=True\) is not supported",
    ),
    "SwapEMAWeights on epochs": (
        lambda path: keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        "checkpoints would hold the averages",
    ),
    "SwapEMAWeights without averages": (
        lambda path: keras.callbacks.SwapEMAWeights(),
        "one optimiser with use_ema=True",
    ),
    "no callback": (lambda path: print, "callbacks must be Keras callbacks, received builtin_function_or_method"),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_brings_back_half_a_state_is_refused(name, tmp_path):
    make, message = CALLBACKS[name]
    trainer = tiny_trainer()
    with pytest.raises(ValueError, match=message):
        trainer.fit(waves(), 1, [make(str(tmp_path))], verbose=0)
    assert trainer.step == 0 and not list(tmp_path.iterdir())


def test_a_callback_alone_is_not_taken_for_a_list():
    with pytest.raises(ValueError, match="must be a list of Keras callbacks, received one CSVLogger"):
        tiny_trainer().fit(waves(), 1, keras.callbacks.CSVLogger("x.csv"), verbose=0)


WELCOME = {
    "CSVLogger": lambda path: keras.callbacks.CSVLogger(path + "/log.csv"),
    "EarlyStopping": lambda path: keras.callbacks.EarlyStopping("val_mse", mode="min"),
    "LearningRateScheduler": lambda path: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
    "ReduceLROnPlateau": lambda path: keras.callbacks.ReduceLROnPlateau("val_mse", mode="min"),
    "TerminateOnNaN": lambda path: keras.callbacks.TerminateOnNaN(),
    "LambdaCallback": lambda path: keras.callbacks.LambdaCallback(),
    "History": lambda path: keras.callbacks.History(),
}


@pytest.mark.parametrize("name", WELCOME)
def test_keras_other_callbacks_work_and_survive_an_interruption(name, tmp_path):
    validation = Validation(waves("validation"), 4)
    trainer = tiny_trainer()
    trainer.fit(waves(), 2, [WELCOME[name](str(tmp_path))], validation, 1, verbose=0)
    state = trainer.state()
    again = tiny_trainer()
    again.restore(*state)
    again.fit(waves(), 4, [WELCOME[name](str(tmp_path))], validation, 1, verbose=0)
    assert again.step == 4


def test_a_table_that_goes_on_has_one_header(tmp_path):
    def fit(trainer, steps):
        log = keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)
        trainer.fit(waves(), steps, [log], validate_every=1, verbose=0)
        return trainer

    state = fit(tiny_trainer(), 2).state()
    again = tiny_trainer()
    again.restore(*state)
    fit(again, 4)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3"]


def test_every_callback_of_keras_is_in_one_of_the_tables():
    known = {name.split()[0] for name in [*CALLBACKS, *WELCOME]} | {"OrbaxCheckpoint", "TensorBoard", "ProgbarLogger"}
    not_callbacks = {"Callback", "CallbackList", "RemoteMonitor"}
    there = {name for name in dir(keras.callbacks) if name[0].isupper()}
    assert there - known - not_callbacks == set()


def test_co_learners_of_a_whole_method_pass():
    sinusoid_trainer().fit(waves(), 1, verbose=0)


def early_stopping(patience, **keywords):
    return keras.callbacks.EarlyStopping("val_mse", patience=patience, min_delta=1e9, **keywords)


def test_counters_find_their_callback_again_and_settings_are_those_given():
    validation = Validation(waves("validation"), 4)
    trainer = tiny_trainer()
    trainer.fit(waves(), 3, [early_stopping(9)], validation, 1, verbose=0)
    again = tiny_trainer()
    again.restore(*trainer.state())
    callback = early_stopping(4)
    again.fit(waves(), 20, [keras.callbacks.LambdaCallback(), callback], validation, 1, verbose=0)
    # Two epochs without a gain before, two after: four in all, with a mode that was found out.
    assert again.step == 5 and callback.patience == 4 and callback.mode == "min"


def test_states_by_position_of_before_are_read():
    callback = early_stopping(9)
    restore_callback_states([keras.callbacks.LambdaCallback(), callback], {"0:EarlyStopping": {"wait": 7}})
    assert callback.wait == 7


def test_weights_that_callbacks_read_hold_what_adaptation_learned():
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01))
    trained = sum(len(group) for group in trainer.method.trained_variables().values())
    assert len(trainer.host.get_weights()) == trained
    with pytest.raises(ValueError, match="save cml_tf.FewShotModel"):
        trainer.host.save("x.keras")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1.5}, "steps must be an integer of at least 1"),
        (
            {"steps": 1, "validation": waves},
            r"validation must be cml_tf.Validation\(source, .* received function",
        ),
    ],
)
def test_arguments_of_fit_are_told_before_the_first_step(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_trainer().fit(waves(), verbose=0, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"jit_compile": "auto"}, {"clip_norm": None}, {"task_chunk": None}, {"sharpness": float("nan")}]
)
def test_arguments_of_the_trainer_are_told(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        tiny_trainer(**arguments)


def test_a_schedule_and_a_callback_that_sets_the_rate_contradict_each_other():
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    trainer = tiny_trainer(optimizer=keras.optimizers.SGD(rate))
    with pytest.raises(ValueError, match="ReduceLROnPlateau sets the learning rate, which sgd.* takes from a schedule"):
        trainer.fit(waves(), 1, [keras.callbacks.ReduceLROnPlateau("loss")], verbose=0)


def test_what_keras_takes_for_nothing_is_nothing():
    trainer = tiny_trainer()
    trainer.fit(waves(), 1, callbacks=None, verbose=0)
    assert trainer.step == 1


def test_python_inside_a_layer_is_refused():
    class Drawn(K.Layer):
        def call(self, inputs):
            drawn = tf.cast(tf.numpy_function(np.random.rand, [], tf.float64), inputs.dtype)
            return tf.ensure_shape(inputs + drawn, inputs.shape)

        def compute_output_shape(self, shape):
            return shape

    with pytest.raises(ValueError, match="runs Python inside the graph"):
        Learner(keras.Sequential([K.Dense(2), Drawn()]), K.Dense(1), input_shape=(1,))
