"""What Keras' own `fit` honours: honoured by a training too, or refused by name before its first step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, MetaSGD
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.callback_state import restore_callback_states
from cml_tf.training.trainer import Trainer, Validation
from tests.helpers.few_shot import sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.wave_training import assert_same_values, stop_at, waves

K, optimizers, callbacks = keras.layers, keras.optimizers, keras.callbacks
PROBLEM = Regression(1)


class AddsLoss(K.Layer):
    def __init__(self, only_in_training: bool = False):
        super().__init__()
        self.only_in_training = only_in_training

    def call(self, inputs, training=False):
        if training or not self.only_in_training:
            self.add_loss(tf.reduce_sum(inputs))
        return inputs


class KeepsMetric(K.Layer):
    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean(name="size")

    def call(self, inputs):
        return inputs


def trainer_of(*body, head=None, co_learner=None, **arguments) -> Trainer:
    learner = Learner(keras.Sequential([K.Dense(4), *body]), head or K.Dense(1), input_shape=(1,))
    terms = [QueryLoss(PROBLEM)] + ([CoLearner(co_learner, PROBLEM)] if co_learner else [])
    rule = GradientDescent(PROBLEM, SGD(0.01), hypergradient=FirstOrder())
    return Trainer(learner, rule, terms, PROBLEM, **arguments)


LAYERS = {
    "a kernel regulariser": (lambda: K.Dense(4, kernel_regularizer="l2"), "kernel' has a regulariser"),
    "a bias regulariser": (lambda: K.Dense(4, bias_regularizer="l1"), "bias' has a regulariser"),
    "an activity regulariser": (lambda: K.Dense(4, activity_regularizer="l2"), r"\(Dense\) adds a loss of its own"),
    "add_loss": (AddsLoss, r"\(AddsLoss\) adds a loss of its own \(add_loss"),
    "add_loss in training": (lambda: AddsLoss(True), r"\(AddsLoss\) adds a loss of its own"),
    "a metric": (KeepsMetric, "has the metric 'size', which would stay empty"),
    "float16": (lambda: K.Dense(4, dtype="mixed_float16"), "computes in float16, where gradients vanish"),
}
PLACES = {
    "extractor": trainer_of,
    "head": lambda layer: trainer_of(head=keras.Sequential([layer, K.Dense(1)])),
    # Never called in training mode.
    "co-learner": lambda layer: trainer_of(co_learner=keras.Sequential([layer, K.Dense(1)])),
}
CASES = [(name, "extractor") for name in LAYERS]
CASES += [(name, place) for name in ("a kernel regulariser", "add_loss") for place in ("head", "co-learner")]


@pytest.mark.parametrize(("name", "place"), CASES)
def test_what_a_layer_would_add_is_refused_by_name(name, place):
    make, message = LAYERS[name]
    with pytest.raises(UserError, match=message):
        PLACES[place](make())


def test_a_constraint_is_refused_where_the_inner_loop_would_leave_it_and_kept_on_co_learners():
    with pytest.raises(UserError, match="has a constraint, which the inner loop would violate"):
        trainer_of(K.Dense(4, kernel_constraint="non_neg"))
    trainer = trainer_of(co_learner=K.Dense(1, kernel_constraint="non_neg"), optimizer=optimizers.SGD(1e-3))
    kernel = trainer.method.terms[1].layer.kernel
    kernel.assign([[-1.0], [1.0], [1.0], [1.0]])
    trainer.fit(waves(), 1, verbose=0)
    assert kernel.numpy().min() == 0.0 < kernel.numpy().max()
    trainer_of(K.Dense(4, kernel_regularizer="l2", kernel_constraint="non_neg", trainable=False))


def used_optimizer():
    optimizer = optimizers.Adam()
    optimizer.build([keras.Variable(1.0)])
    return optimizer


ARGUMENTS = {
    "LossScaleOptimizer": ({"optimizer": optimizers.LossScaleOptimizer(optimizers.SGD())}, "scales the loss"),
    "MultiOptimizer": (
        {"optimizer": optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.SGD()))},
        "delegates to others",
    ),
    "used before": ({"optimizer": used_optimizer()}, "was already used with other variables"),
    "an unknown name": ({"optimizer": "adamantium"}, "received 'adamantium'"),
    "a class": ({"optimizer": optimizers.Adam}, "received type"),
    "a missing group": ({"optimizer": {}}, r"must have the keys \['learner'\], received \[\]"),
    "inside a mapping": ({"optimizer": {"learner": optimizers.SGD(loss_scale_factor=2.0)}}, "scales the loss"),
    "compilation": ({"jit_compile": "auto"}, "jit_compile must be"),
    "a norm": ({"clip_norm": None}, "clip_norm must be"),
    "chunks": ({"task_chunk": None}, "task_chunk must be"),
    "sharpness": ({"sharpness": float("nan")}, "sharpness must be"),
}


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_of_a_trainer_that_would_not_do_what_they_say_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        tiny_trainer(**arguments)


def test_an_optimiser_may_be_named_and_a_strategy_is_refused():
    assert [type(one) for one in tiny_trainer(optimizer="sgd").meta_step.optimizers] == [optimizers.SGD]
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), pytest.raises(UserError, match="outside the scope"):
        tiny_trainer()


def test_layers_frozen_or_thawed_later_are_told():
    trainer = trainer_of(K.Dense(4, trainable=False))
    first, second = trainer.method.learner.extractor.layers
    second.trainable = True
    with pytest.raises(UserError, match="kernel' was thawed after"):
        trainer.fit(waves(), 1, verbose=0)
    second.trainable, first.trainable = False, False
    with pytest.raises(UserError, match="kernel' was frozen after"):
        trainer.fit(waves(), 1, verbose=0)


def flat(trainer) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in trainer.method.trained_variables()["learner"]])


def steps_of(steps=4, **arguments) -> list[np.ndarray]:
    """The learner's variables before training, after each step, and at the end."""
    trainer, path = tiny_trainer(optimizer=optimizers.SGD(0.1, **arguments)), []
    keep = callbacks.LambdaCallback(
        on_train_begin=lambda logs: path.append(flat(trainer)),
        on_train_batch_end=lambda batch, logs: path.append(flat(trainer)),
    )
    trainer.fit(waves(), steps, [keep], verbose=0)
    return [*path, flat(trainer)]


@pytest.mark.slow
def test_averages_clipping_decay_and_accumulation_of_the_optimiser_are_its_own():
    plain = steps_of()
    *path, final = steps_of(use_ema=True, ema_momentum=0.5)
    np.testing.assert_allclose(path, plain[:-1], rtol=1e-5, atol=1e-7)
    average = plain[1]
    for weights in plain[2:-1]:
        average = 0.5 * average + 0.5 * weights
    np.testing.assert_allclose(final, average, rtol=1e-5, atol=1e-7)
    assert np.abs(final - path[-1]).max() > 1e-4
    both = steps_of(1, weight_decay=0.5, global_clipnorm=0.01)
    clipped, step = both[1] + 0.05 * both[0] - both[0], plain[1] - plain[0]
    np.testing.assert_allclose(clipped, 0.001 * step / np.linalg.norm(step), rtol=1e-3, atol=1e-7)
    accumulated = steps_of(2, gradient_accumulation_steps=2)
    np.testing.assert_array_equal(accumulated[1], accumulated[0])
    assert np.abs(accumulated[2] - accumulated[1]).max() > 1e-4


def averaging():
    """In one process two models build two graphs; after clearing they are the same one."""
    keras.backend.clear_session()
    return tiny_trainer(optimizer=optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))


@pytest.mark.slow
def test_a_restored_trainer_goes_on_as_the_first_would_have():
    """Averages of the optimiser wait for the end of an interrupted training."""

    def fit(trainer, *stop):
        trainer.fit(waves(), 4, stop, validate_every=4, verbose=0)
        return trainer

    first = averaging()
    start = first.state()
    whole = variable_values(fit(first))
    end = first.state()[1]
    first.restore(*start)
    values, metadata = fit(first, stop_at(first, 2)).state()
    second = averaging()
    for name in metadata:
        with pytest.raises(UserError, match=f"not from a trainer: it lacks {name}"):
            second.restore(values, {key: value for key, value in metadata.items() if key != name})
    with pytest.raises(UserError, match="belongs to another model"):
        tiny_trainer(optimizer="adam").restore(values, metadata)
    assert second.step == 0
    second.restore(values, metadata)
    assert second.step == 2
    assert_same_values(variable_values(second), values)
    assert_same_values(variable_values(fit(second)), whole)
    assert second.state()[1] == end


@pytest.mark.slow
def test_validation_calls_the_test_hooks_so_that_averages_can_be_validated():
    trainer, seen = averaging(), []
    look = callbacks.LambdaCallback()
    look.on_test_begin = lambda logs=None: seen.append(flat(trainer))
    look.on_test_end = lambda logs=None: seen.append(flat(trainer))
    trainer.fit(waves(), 2, [callbacks.SwapEMAWeights(), look], Validation(waves("validation"), 4), 2, verbose=0)
    at_begin, at_end = seen
    average = trainer.meta_step.optimizers[0]._model_variables_moving_average
    # Swapped in by the first callback before ours looks, and out again before ours looks at the end.
    np.testing.assert_allclose(at_begin, np.concatenate([v.numpy().ravel() for v in average]), rtol=1e-5, atol=1e-6)
    assert np.abs(at_begin - at_end).max() > 1e-5


class OwnCheckpoint(callbacks.ModelCheckpoint):
    pass


def of_callback(make):
    return lambda path: {"steps": 1, "callbacks": [make(path)]}


REFUSED = {
    "BackupAndRestore": (of_callback(callbacks.BackupAndRestore), "would save the weights without"),
    "ModelCheckpoint": (of_callback(lambda path: callbacks.ModelCheckpoint(path + "/x.keras")), "is not supported"),
    "a subclass": (of_callback(lambda path: OwnCheckpoint(path + "/x.keras")), "OwnCheckpoint is not supported"),
    "EarlyStopping": (
        of_callback(lambda path: callbacks.EarlyStopping("val_mse", restore_best_weights=True)),
        r"EarlyStopping\(restore_best_weights=True\)",
    ),
    "SwapEMAWeights on epochs": (
        of_callback(lambda path: callbacks.SwapEMAWeights(swap_on_epoch=True)),
        "checkpoints would contain averages",
    ),
    "SwapEMAWeights without averages": (of_callback(lambda path: callbacks.SwapEMAWeights()), "use_ema=True"),
    "no callback": (of_callback(lambda path: print), "received builtin_function_or_method"),
    "one callback": (lambda path: {"steps": 1, "callbacks": callbacks.History()}, "received a single History"),
    "half a step": (lambda path: {"steps": 1.5}, "steps must be an integer of at least 1"),
    "validation": (lambda path: {"steps": 1, "validation": waves}, r"cml_tf.Validation\(source, .*received function"),
}


@pytest.fixture(scope="module")
def trainer():
    """One that never makes a step."""
    return tiny_trainer()


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_fit_would_not_honour_is_refused_before_the_first_step(trainer, make, message, tmp_path):
    with pytest.raises(UserError, match=message):
        trainer.fit(waves(), verbose=0, **make(str(tmp_path)))
    assert trainer.step == 0 and not list(tmp_path.iterdir())


def test_a_schedule_and_a_callback_that_sets_the_rate_contradict_each_other():
    trainer = tiny_trainer(optimizer=optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 10)))
    with pytest.raises(UserError, match="ReduceLROnPlateau sets the learning rate, which sgd.* a schedule"):
        trainer.fit(waves(), 1, [callbacks.ReduceLROnPlateau("loss")], verbose=0)


def welcome(folder, patience=9):
    return {
        "CSVLogger": callbacks.CSVLogger(folder / "log.csv", append=True),
        "EarlyStopping": callbacks.EarlyStopping("val_mse", patience=patience, min_delta=1e9),
        "LearningRateScheduler": callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        "ReduceLROnPlateau": callbacks.ReduceLROnPlateau("val_mse", mode="min"),
        "TerminateOnNaN": callbacks.TerminateOnNaN(),
        "LambdaCallback": callbacks.LambdaCallback(),
        "History": callbacks.History(),
    }


@pytest.mark.slow
def test_keras_other_callbacks_work_and_survive_an_interruption(tmp_path):
    trainer, validation = tiny_trainer(), Validation(waves("validation"), 4)
    trainer.fit(waves(), 2, list(welcome(tmp_path).values()), validation, 1, verbose=0)
    # As a fresh one would be, whose graph it has.
    trainer.restore(*trainer.state())
    others = welcome(tmp_path, patience=3)
    trainer.fit(waves(), 20, [callbacks.LambdaCallback(), *others.values()], validation, 1, verbose=0)
    # A counter finds its callback again: of two epochs before one is without a gain, and both after; the mode is found.
    stopping = others["EarlyStopping"]
    assert trainer.step == 4 and stopping.patience == 3 and stopping.mode == "min"
    # As states were kept before, by position.
    restore_callback_states([callbacks.LambdaCallback(), stopping], {"0:EarlyStopping": {"wait": 7}})
    assert stopping.wait == 7
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3"], "one header"
    known = {name.split()[0] for name in REFUSED} | {"OrbaxCheckpoint", "TensorBoard", "ProgbarLogger"}
    not_callbacks = {"Callback", "CallbackList", "RemoteMonitor"}
    there = {name for name in dir(callbacks) if name[0].isupper()}
    assert there - known - welcome(tmp_path).keys() - not_callbacks == set(), "every one of Keras' is in a table here"


def test_weights_that_callbacks_read_hold_what_adaptation_learned():
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01))
    trained = sum(len(group) for group in trainer.method.trained_variables().values())
    assert len(trainer.host.get_weights()) == trained
    with pytest.raises(UserError, match="save cml_tf.FewShotModel"):
        trainer.host.save("x.keras")
