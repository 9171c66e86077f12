"""The outer loop: what it is fed and refuses, its state, its optimisers, and numbers that are not finite."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, KernelRidge, MetaSGD
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss, TermLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import NonFiniteLoss
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer, Validation
from tests.helpers.few_shot import IMAGE_SHAPE, image_trainer, sinusoid_trainer, tiny_trainer, variable_values
from tests.helpers.seeded_episodes import classification_episode, regression_episode
from tests.helpers.wave_training import assert_same_values, meta_batches, waves

ITERABLES = {
    "generator": lambda batches: (batch for batch in batches),
    "tf.data": lambda batches: waves().batches(0, 4),
    "arrays": lambda batches: [
        Episode(*tf.nest.map_structure(lambda t: t.numpy().astype(np.float64), tuple(batch)[:2])) for batch in batches
    ],
    # Lists are taken where the learner takes one array.
    "lists": lambda batches: [
        Episode(*(Examples(part.inputs.numpy().tolist(), part.targets.numpy().tolist()) for part in batch[:2]))
        for batch in batches
    ],
}


@pytest.mark.slow
def test_any_iterable_of_episodes_trains_as_its_source_does():
    trainer, batches = tiny_trainer(), meta_batches(3)
    start = trainer.state()
    expected = trainer.fit(waves(), 3, validate_every=3, verbose=0)
    values = variable_values(trainer)
    for kind, iterable in ITERABLES.items():
        trainer.restore(*start)
        before = trainer.meta_step.traces
        history = trainer.fit(iterable(batches), 3, validate_every=3, verbose=0)
        # One graph with the keys of episodes and one without.
        assert trainer.step == 3 and trainer.meta_step.traces <= min(before + 1, 2), kind
        for name, value in variable_values(trainer).items():
            np.testing.assert_allclose(value, values[name], rtol=1e-4, atol=1e-6, err_msg=f"{kind}: {name}")
        assert history["loss"] == pytest.approx(expected["loss"], rel=1e-4)


def images_of(shape=IMAGE_SHAPE, **changes):
    episode = classification_episode(ways=3, shots=1, queries=1, shape=shape)
    return Episode(*tf.nest.map_structure(lambda tensor: tensor.numpy(), episode[:2]))._replace(**changes)


QUERIES = np.zeros((2, 3, *IMAGE_SHAPE))
UNFITTING = {
    "channels first": (images_of((1, 16, 16)), r"support.inputs must be .*\[16, 16, 1\].*channels last"),
    "two inputs": (
        images_of(query=Examples((QUERIES, QUERIES), np.zeros((2, 3), int))),
        r"query.inputs must be .*received .*\[2, 2, 3, 16, 16, 1\]",
    ),
    "a context": (images_of(context=np.zeros(2)), "takes no context, received ndarray"),
    "no axis of tasks": (
        Episode(*tf.nest.map_structure(lambda tensor: tensor[0], images_of()[:2])),
        r"support.targets must be integer labels .*\[tasks",
    ),
    "a pair": ((QUERIES, QUERIES), "episodes must be cml_tf.Episode"),
}


@pytest.fixture(scope="module")
def images():
    return image_trainer()


@pytest.mark.parametrize(("episode", "message"), UNFITTING.values(), ids=UNFITTING)
def test_episodes_that_do_not_fit_the_learner_are_refused(images, episode, message):
    before = variable_values(images)
    with pytest.raises(UserError, match=f"episode 0 of the iterable: .*{message}") as refusal:
        images.fit([episode], 1, verbose=0)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
    assert_same_values(variable_values(images), before)


def two_inputs():
    problem = Regression(1)
    return Trainer(mlp(1, (2,), hidden=(4,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)], problem)


SOURCES = {
    "shape": (two_inputs, regression_episode(inputs=2), r"2\], received float32 \[4, \d+, 1\]"),
    "problem": (image_trainer, classification_episode(shape=IMAGE_SHAPE), r"\(ways=3\), received .*Regression"),
}


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize(("make", "fitting", "message"), SOURCES.values(), ids=SOURCES)
def test_sources_that_do_not_fit_are_refused_before_the_first_step(part, make, fitting, message):
    trainer, validation = make(), Validation(waves(), 4) if part == "validation" else None
    with pytest.raises(UserError, match=message):
        trainer.fit(waves() if part == "training" else [fitting], 1, validation=validation, verbose=0)
    assert trainer.step == 0


@pytest.mark.parametrize("numbers", [(0,), (-1,), (2.5,), (4, -1)])
def test_numbers_of_a_validation_are_checked_before_the_first_step(numbers):
    trainer = tiny_trainer()
    with pytest.raises(UserError, match="of a validation must be"):
        trainer.fit(waves(), 1, validation=Validation(waves("validation"), *numbers), verbose=0)
    assert trainer.step == 0


def test_steps_of_a_validation_are_refused_before_the_first_step_where_the_rule_takes_none():
    problem = Regression(1)
    trainer = Trainer(mlp(1, (1,), hidden=(4,)), KernelRidge(problem), [QueryLoss(problem)], problem)
    with pytest.raises(UserError, match="KernelRidge takes no inner steps, received 2"):
        trainer.fit(waves(), 1, validation=Validation(waves("validation"), 4, steps=2), verbose=0)
    assert trainer.step == 0


def test_callbacks_cannot_call_the_model_that_carries_their_state():
    model = tiny_trainer().host
    for use in (model, model.predict):
        with pytest.raises(UserError, match=r"^this model only carries state .*FewShotModel.of"):
            use(np.zeros((2, 1)))


def group_of(values, name):
    return {key: value for key, value in values.items() if key.startswith(f"{name}/")}


@pytest.mark.slow
def test_optimisers_go_by_group():
    sgd, frozen, adam = keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.0), keras.optimizers.Adam(0.02)
    optimizers = {"learner": sgd, "adaptation": frozen, "co_learner": adam}
    trainer = sinusoid_trainer(update_rule=MetaSGD(0.01), optimizer=optimizers)
    before, batch = variable_values(trainer), meta_batches(1)[0]
    gradients = meta_gradient(trainer.method, batch, trainer.method.weights()).gradients
    trainer.fit([batch], 1, verbose=0)
    after = variable_values(trainer)
    for gradient, name in zip(gradients["learner"], group_of(after, "learner"), strict=True):
        np.testing.assert_allclose(after[name], before[name] - 0.01 * gradient, rtol=1e-4, atol=1e-6)
    for gradient, name in zip(gradients["co_learner"], group_of(after, "co_learner"), strict=True):
        # Adam's first step is its rate against the sign.
        moved = np.abs(gradient) > 1e-3
        np.testing.assert_allclose((after[name] - before[name])[moved], -0.02 * np.sign(gradient)[moved], rtol=0.01)
    assert_same_values(group_of(after, "adaptation"), group_of(before, "adaptation"))
    assert {name.split("/")[0] for name in after if "optimizer" in name} == {f"optimizer_{i}" for i in range(3)}


def test_what_is_not_finite_stops_training_at_its_position_and_changes_nothing():
    trainer, good = tiny_trainer(clip_norm=0.125, optimizer=keras.optimizers.SGD(1.0)), meta_batches(3)
    trainer.fit(good, 2, verbose=0)
    before = variable_values(trainer)
    # Targets whose square overflows in one task: finite themselves, as the boundary demands, but not their loss.
    targets, inputs = good[2].query.targets.numpy(), good[2].query.inputs.numpy()
    targets[3], inputs[1, 0] = 3e19, np.nan
    exploding, bad = (
        good[2]._replace(query=good[2].query._replace(**{name: array}))
        for name, array in (("targets", targets), ("inputs", inputs))
    )
    for last, error, message in (
        ([exploding], NonFiniteLoss, r"step 2 has a loss that is not finite in episode 11 \(task 3\)"),
        ([bad], ValueError, "episode 2 of the iterable: query.inputs must be finite, received 1 NaN"),
        ([], ValueError, "the iterable of episodes ended after 2 steps"),
        ([good[2]._replace(query=Examples(*(a[:, :0] for a in good[2].query[:2])))], ValueError, "received none"),
    ):
        with pytest.raises(error, match=message):
            trainer.fit([*good[:2], *last], 3, verbose=0)
        assert_same_values(variable_values(trainer), before)
        assert trainer.step == 2
    trainer.fit(good, 3, verbose=0)
    moves = [value - before[name] for name, value in group_of(variable_values(trainer), "learner").items()]
    assert trainer.step == 3 and np.sqrt(sum(np.sum(move**2) for move in moves)) == pytest.approx(0.125, rel=1e-3)


class Silent(QueryLoss):
    """The query loss, which nobody hears of."""

    reported = False

    def __call__(self, outcome, values):
        return TermLoss(super().__call__(outcome, values).loss, {})


def test_a_method_that_reports_nothing_is_validated_by_the_query_loss():
    rule = GradientDescent(Regression(1), SGD(0.01), hypergradient=FirstOrder())
    trainer = Trainer(mlp(1, (1,), hidden=(4,)), rule, [Silent(Regression(1))], Regression(1))
    source = waves("validation")
    told = trainer.fit(waves(), 2, verbose=0, validate_every=2, validation=Validation(source, 4))
    assert told.keys() == {"tasks_per_second", "val_loss", "val_mse"}
    heard = Method.of(trainer.method.learner, rule, [QueryLoss(Regression(1))])
    assert told["val_mse"] == [pytest.approx(evaluate_losses(heard, source.batch(0, 4))[1]["mse"].numpy().mean(), 1e-5)]
