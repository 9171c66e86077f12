"""What the outer loop is fed, and what it refuses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.trainer import Trainer, Validation
from tests.helpers.few_shot import IMAGE_SHAPE, image_trainer, sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.seeded_episodes import classification_episode, regression_episode
from tests.helpers.wave_training import meta_batches, waves


def with_query_inputs(episode, inputs):
    return episode._replace(query=episode.query._replace(inputs=inputs))


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
    with pytest.raises(ValueError, match="(steps|validate_every) must be an integer of at least 1 .*, received"):
        sinusoid_trainer().fit(waves(), verbose=0, **arguments)


def test_a_validation_on_something_else_than_a_source_is_refused():
    with pytest.raises(ValueError, match=r"what a dataset's episodes\(...\) gives, received list"):
        sinusoid_trainer().fit(waves(), 1, validation=Validation([], 4), verbose=0)


@pytest.mark.parametrize("use", [lambda model: model(np.zeros((2, 1))), lambda model: model.predict(np.zeros((2, 1)))])
def test_callbacks_cannot_call_the_model_that_carries_their_state(use):
    callback = keras.callbacks.LambdaCallback()
    callback.on_epoch_end = lambda epoch, logs=None: use(callback.model)
    with pytest.raises(ValueError, match=r"^this model only carries state for callbacks: call cml_tf.FewShotModel.of"):
        sinusoid_trainer().fit(waves(), 1, callbacks=[callback], verbose=0)


def test_episodes_without_the_task_axis_are_refused():
    episode = regression_episode(inputs=1)
    single = Episode(*tf.nest.map_structure(lambda tensor: tensor[0], tuple(episode)[:2]))
    with pytest.raises(ValueError, match=r"episode 0 of the iterable: support.targets must be float targets \[tasks"):
        sinusoid_trainer().fit([single], 1, verbose=0)


def images_of(shape, queries=3, **changes):
    episode = classification_episode(ways=3, shots=1, queries=1, shape=shape)
    parts = [Examples(part.inputs.numpy(), part.targets.numpy()) for part in (episode.support, episode.query)]
    parts[1] = tf.nest.map_structure(lambda array: array[:, :queries], parts[1])
    return Episode(*parts)._replace(**changes)


UNFITTING = {
    "channels first": (lambda: images_of((1, 16, 16)), r"support.inputs must be .*\[16, 16, 1\].*channels last"),
    "no channels": (lambda: images_of((16, 16)), r"support.inputs must be .*add the axis of channels"),
    "another size": (lambda: images_of((16, 15, 1)), r"support.inputs must be .*received .*\[2, 3, 16, 15, 1\]"),
    "too many axes": (lambda: images_of((16, 16, 1, 1)), "support.inputs must be"),
    "two inputs": (
        lambda: images_of(IMAGE_SHAPE, query=Examples((np.zeros((2, 3, *IMAGE_SHAPE)),) * 2, np.zeros((2, 3), int))),
        r"query.inputs must be .*received .*\[2, 2, 3, 16, 16, 1\]",
    ),
    "a dictionary": (
        lambda: images_of(IMAGE_SHAPE, query=Examples({"x": np.zeros((2, 3, *IMAGE_SHAPE))}, np.zeros((2, 3), int))),
        r"query.inputs must be .*received {x: float64 \[2, 3, 16, 16, 1\]}",
    ),
    "a context": (lambda: images_of(IMAGE_SHAPE, context=np.zeros(2)), "takes no context, received ndarray"),
}


@pytest.mark.parametrize(("make", "message"), UNFITTING.values(), ids=UNFITTING)
def test_episodes_that_do_not_fit_the_learner_are_refused(make, message):
    """As `FewShotModel.adapt` refuses them, with the position."""
    trainer = image_trainer()
    before = variable_values(trainer)
    with pytest.raises(ValueError, match=f"episode 0 of the iterable: .*{message}") as refusal:
        trainer.fit([make()], 1, verbose=0)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
    for name, value in variable_values(trainer).items():
        np.testing.assert_array_equal(value, before[name])


def test_inputs_may_be_lists_where_the_learner_takes_one_array():
    first, second = meta_batches(2)
    listed = Episode(*(Examples(part.inputs.numpy().tolist(), part.targets.numpy().tolist()) for part in second[:2]))
    trainer = tiny_trainer()
    trainer.fit([first, listed], 2, verbose=0)
    assert trainer.step == 2 and trainer.meta_step.traces == 1


def test_episodes_without_queries_are_refused():
    with pytest.raises(ValueError, match="the query set must hold at least one example, received none"):
        image_trainer().fit([images_of(IMAGE_SHAPE, queries=0)], 1, verbose=0)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_sources_that_do_not_fit_the_learner_are_refused_before_the_first_step(part):
    problem = Regression(1)
    trainer = Trainer(mlp(1, (2,), hidden=(4,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem)
    episodes = waves() if part == "training" else [regression_episode(inputs=2)]
    validation = Validation(waves(), 4) if part == "validation" else None
    with pytest.raises(ValueError, match=r"inputs of episodes must be .*, 2\], received float32 \[4, \d+, 1\]"):
        trainer.fit(episodes, 1, validation=validation, verbose=0)
    assert trainer.step == 0
