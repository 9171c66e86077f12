"""The outer loop: what it is fed, what it reports, how it stops."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import MetaSGD
from cml_tf.datasets.sinusoid import SinusoidDataset
from cml_tf.episodes import Episode
from cml_tf.meta_step import meta_gradient
from cml_tf.non_finite_loss import NonFiniteLoss
from cml_tf.trainer import Validation
from tests.helpers.few_shot import image_trainer, sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.seeded_episodes import classification_episode, regression_episode

METRICS = {"loss", "mse", "co_loss", "co_mse", "tasks_per_second"}


def waves(split="train", seed=0):
    return SinusoidDataset().episodes(split, shots=3, queries=4, seed=seed)


def meta_batches(count, meta_batch=4):
    source = waves()
    return [source.batch(number * meta_batch, meta_batch) for number in range(count)]


def with_query_inputs(episode, inputs):
    return episode._replace(query=episode.query._replace(inputs=inputs))


def exploding(episode, task, size=3e19):
    """Targets whose square overflows in one task: finite themselves, as the boundary demands, but not their loss."""
    targets = np.array(episode.query.targets)
    targets[task] = size
    return episode._replace(query=episode.query._replace(targets=targets))


def assert_same_values(first, second):
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def differs(first, second):
    return any(not np.array_equal(first[name], second[name]) for name in first)


class Recorder(keras.callbacks.Callback):
    """Writes down every call, with the position and the names of the metrics."""

    def __init__(self):
        super().__init__()
        self._calls = []

    @property
    def calls(self):
        return self._calls

    def on_train_begin(self, logs=None):
        self._calls.append(("train begin",))

    def on_train_end(self, logs=None):
        self._calls.append(("train end",))

    def on_epoch_begin(self, epoch, logs=None):
        self._calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self._calls.append(("epoch end", epoch, set(logs)))

    def on_train_batch_begin(self, batch, logs=None):
        self._calls.append(("step begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self._calls.append(("step end", batch, set(logs)))


# What it is fed.


def test_a_source_and_the_same_episodes_as_a_list_train_alike():
    first, second = tiny_trainer(), tiny_trainer()
    history = first.fit(waves(), 5, validate_every=5, verbose=0)
    second_history = second.fit(meta_batches(5), 5, validate_every=5, verbose=0)
    for name, value in variable_values(first).items():
        # One process, two graphs: equal to rounding.
        np.testing.assert_allclose(value, variable_values(second)[name], rtol=1e-4, atol=1e-6)
    assert history["loss"] == pytest.approx(second_history["loss"], rel=1e-4)


@pytest.mark.parametrize("kind", ["list", "generator", "tf.data", "arrays"])
def test_any_iterable_of_episodes_is_taken(kind):
    batches = meta_batches(3)
    episodes = {
        "list": lambda: batches,
        "generator": lambda: (batch for batch in batches),
        "tf.data": lambda: waves().batches(0, 4),
        "arrays": lambda: [
            Episode(*tf.nest.map_structure(lambda t: t.numpy().astype(np.float64), tuple(batch)[:2]))
            for batch in batches
        ],
    }[kind]()
    trainer = tiny_trainer()
    trainer.fit(episodes, 3, verbose=0)
    assert trainer.step == 3 and trainer.meta_step.traces == 1


def test_a_bad_episode_is_named_by_its_position():
    good = meta_batches(3)
    inputs = good[2].query.inputs.numpy()
    inputs[1, 0] = np.nan
    episodes = [*good[:2], with_query_inputs(good[2], inputs)]
    trainer = tiny_trainer()
    with pytest.raises(ValueError, match=r"episode 2 of the iterable: query.inputs must be finite, received 1 NaN"):
        trainer.fit(episodes, 3, verbose=0)
    assert trainer.step == 2


def test_something_else_than_episodes_is_refused():
    with pytest.raises(ValueError, match=r"episode 0 of the iterable: episodes must be cml_tf.Episode"):
        sinusoid_trainer().fit([(np.zeros((4, 3, 1)), np.zeros((4, 3, 1)))], 1, verbose=0)


def test_an_iterable_that_ends_early_is_an_error():
    trainer = tiny_trainer()
    with pytest.raises(ValueError, match="the iterable of episodes ended after 2 steps"):
        trainer.fit(meta_batches(2), 3, verbose=0)
    assert trainer.step == 2


def test_episodes_of_another_problem_are_refused():
    trainer = image_trainer()
    with pytest.raises(ValueError, match=r"episodes must be of Classification\(ways=3\), received .*Regression"):
        trainer.fit(waves(), 1, verbose=0)
    with pytest.raises(ValueError, match=r"episodes must be of Classification\(ways=3\), received .*Regression"):
        trainer.fit([classification_episode(shape=(16, 16, 1))], 1, validation=Validation(waves(), 4), verbose=0)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"steps": -1}, {"steps": 1, "validate_every": 0}])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="steps and validate_every must be at least 1"):
        sinusoid_trainer().fit(waves(), verbose=0, **arguments)


# What it reports.


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


# Its state.


def test_steps_may_grow():
    once, twice = tiny_trainer(), tiny_trainer()
    once.fit(meta_batches(6), 6, verbose=0)
    for steps in (2, 2, 6):
        twice.fit(meta_batches(6), steps, verbose=0)
        assert twice.step == steps
    for name, value in variable_values(once).items():
        np.testing.assert_allclose(value, variable_values(twice)[name], rtol=1e-4, atol=1e-6)


def test_a_restored_trainer_goes_on_as_the_first_would_have():
    def make():
        # In one process two models build two graphs; after this they are the same one.
        keras.backend.clear_session()
        return sinusoid_trainer(update_rule=MetaSGD(0.01))

    def fit(trainer, steps):
        trainer.fit(waves(), steps, (), Validation(waves("validation"), 4), 4, meta_batch=1, verbose=0)

    whole = make()
    fit(whole, 11)
    first = make()
    fit(first, 6)
    values, metadata = first.state()
    second = make()
    second.restore(values, metadata)
    assert second.step == 6
    assert_same_values(variable_values(second), values)
    fit(second, 11)
    assert_same_values(variable_values(second), variable_values(whole))
    assert second.state()[1] == whole.state()[1]


def test_state_of_something_else_is_refused():
    trainer = sinusoid_trainer()
    values, metadata = trainer.state()
    with pytest.raises(ValueError, match="belongs to another model"):
        image_trainer().restore(values, metadata)
    for name in metadata:
        with pytest.raises(ValueError, match=f"not a trainer's: it lacks {name}"):
            trainer.restore(values, {key: value for key, value in metadata.items() if key != name})
    assert trainer.step == 0


def test_optimisers_go_by_group():
    trainer = sinusoid_trainer(
        update_rule=MetaSGD(0.01),
        optimizer={
            "learner": keras.optimizers.SGD(0.01),
            "adaptation": keras.optimizers.SGD(0.0),
            "co_learner": keras.optimizers.Adam(0.02),
        },
    )
    before = variable_values(trainer)
    batch = meta_batches(1)[0]
    gradients = meta_gradient(trainer.method, batch, trainer.method.weights()).gradients
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for position, gradient in enumerate(gradients["learner"]):
        name = f"learner/{position:04d}"
        np.testing.assert_allclose(after[name], before[name] - 0.01 * gradient, rtol=1e-4, atol=1e-6)
    for position, gradient in enumerate(gradients["co_learner"]):
        # Adam's first step is its rate against the sign.
        name = f"co_learner/{position:04d}"
        moved = np.abs(gradient) > 1e-3
        np.testing.assert_allclose((after[name] - before[name])[moved], -0.02 * np.sign(gradient)[moved], rtol=0.01)
    assert_same_values(
        {name: value for name, value in after.items() if name.startswith("adaptation")},
        {name: value for name, value in before.items() if name.startswith("adaptation")},
    )
    assert {name.split("/")[0] for name in after if "optimizer" in name} == {f"optimizer_{i}" for i in range(3)}


def test_optimisers_must_be_those_of_the_groups():
    with pytest.raises(ValueError, match=r"optimizers must be given for \['co_learner', 'learner'\]"):
        sinusoid_trainer(optimizer={"learner": keras.optimizers.SGD(0.1)})


def test_gradients_are_clipped():
    batch = meta_batches(1)[0]
    trainer = sinusoid_trainer(optimizer=keras.optimizers.SGD(1.0), clip_norm=0.125)
    before = variable_values(trainer)
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for group in ("learner", "co_learner"):
        moves = [after[name] - before[name] for name in after if name.startswith(f"{group}/")]
        assert np.sqrt(sum(np.sum(np.square(move)) for move in moves)) == pytest.approx(0.125, rel=1e-3)


# Numbers that are not finite.


@pytest.mark.parametrize("task", [3])
def test_a_loss_that_is_not_finite_stops_training_and_changes_nothing(task):
    trainer = sinusoid_trainer()
    good = meta_batches(3)
    trainer.fit(good, 2, verbose=0)
    before = variable_values(trainer)
    with pytest.raises(
        NonFiniteLoss, match=rf"step 2 has a loss that is not finite in episode {8 + task} \(task {task}\)"
    ):
        trainer.fit([*good[:2], exploding(good[2], task)], 3, verbose=0)
    assert_same_values(variable_values(trainer), before)
    assert trainer.step == 2
    trainer.fit(good, 3, verbose=0)
    assert trainer.step == 3 and differs(variable_values(trainer), before)


def test_a_gradient_that_is_not_finite_stops_training_too():
    trainer = sinusoid_trainer(
        reducer=lambda losses: tf.reduce_sum(tf.sqrt(losses - tf.stop_gradient(losses))),
    )
    before = variable_values(trainer)
    with pytest.raises(NonFiniteLoss, match="step 0 has a gradient that is not finite, .* in episodes 0 to 3"):
        trainer.fit(waves(), 1, verbose=0)
    assert_same_values(variable_values(trainer), before)


# How it stops.


def stop_at(trainer, step):
    def stop(batch, logs):
        trainer.host.stop_training |= trainer.step == step

    return keras.callbacks.LambdaCallback(on_train_batch_end=stop)


@pytest.mark.parametrize("step", [2, 3, 6])
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


def test_training_improves_the_loss():
    trainer = tiny_trainer(optimizer=keras.optimizers.Adam(0.01))
    history = trainer.fit(itertools.repeat(meta_batches(1)[0]), 40, validate_every=10, verbose=0)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_episodes_without_the_task_axis_are_refused():
    episode = regression_episode(inputs=1)
    single = Episode(*tf.nest.map_structure(lambda tensor: tensor[0], tuple(episode)[:2]))
    with pytest.raises(ValueError, match=r"episode 0 of the iterable: support.targets must be float targets \[tasks"):
        sinusoid_trainer().fit([single], 1, verbose=0)
