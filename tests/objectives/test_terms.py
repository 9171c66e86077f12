"""Objective terms: what they own, what the outer loop trains, what they report."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import mlp
from cml_tf.objectives import CoLearner, QueryLoss, TaskReducer
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method
from tests.helpers.differences import assert_same_gradients
from tests.helpers.models import MLP_SHAPE
from tests.helpers.seeded_episodes import classification_episode, regression_episode


def test_random_noise_is_a_co_learner_that_is_never_updated():
    noise = CoLearner(keras.layers.Dense(3), PROBLEM, trained=False)
    method = Method.of(mlp(3, MLP_SHAPE), GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM), noise])
    assert set(method.trained_variables()) == {"learner"}
    assert set(method.all_variables()) == {"learner", "co_learner"}
    before, episode = [variable.numpy() for variable in noise.variables], make_episode()
    without = meta_gradient(method, episode, tf.constant([1.0, 0.0])).gradients["learner"]
    noisy = meta_gradient(method, episode, tf.constant([1.0, 1.0])).gradients["learner"]
    assert max(np.abs(a - b).max() for a, b in zip(without, noisy, strict=True)) > 1e-3
    MetaStep(method, {"learner": keras.optimizers.SGD(1.0)}, vectorised=False)(episode)
    for start, variable in zip(before, noise.variables, strict=True):
        np.testing.assert_array_equal(start, variable)


def test_several_co_learners_keep_their_variables_and_metrics_apart():
    method = make_method(terms="two_co_learners")
    groups = method.trained_variables()
    assert set(groups) == {"learner", "co_learner", "second_co_learner"}
    assert not {id(v) for v in groups["co_learner"]} & {id(v) for v in groups["second_co_learner"]}
    losses, metrics = evaluate_losses(method, make_episode())
    assert losses.shape == (2, 3)
    for position, name in enumerate(["loss", "co_loss", "second_co_loss"]):
        np.testing.assert_array_equal(metrics[name], losses[:, position])
    np.testing.assert_allclose(method.weights(), [1.0, 0.7, 0.3], rtol=1e-6)


def test_two_terms_of_one_metric_name_are_refused():
    terms = [QueryLoss(PROBLEM), CoLearner(keras.layers.Dense(3), PROBLEM, name="a")]
    terms.append(CoLearner(keras.layers.Dense(3), PROBLEM, name="b"))
    method = Method.of(mlp(3, MLP_SHAPE), GradientDescent(PROBLEM, SGD(0.1)), terms)
    with pytest.raises(ValueError, match=r"term 'b' reports \['co_accuracy', 'co_loss'\] like another term"):
        evaluate_losses(method, make_episode())


def test_building_twice_keeps_the_variables():
    learner, term = mlp(3, MLP_SHAPE), CoLearner(keras.layers.Dense(3), PROBLEM)
    term.build(learner)
    first = term.variables
    term.build(learner)
    assert [id(v) for v in term.variables] == [id(v) for v in first] and len(first) == 2


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: keras.layers.Dropout(0.5), "draws random numbers"),
        (keras.layers.BatchNormalization, "has running state"),
    ],
)
def test_a_co_learner_with_state_is_refused(layer, message):
    term = CoLearner(keras.Sequential([layer(), keras.layers.Dense(3)]), PROBLEM)
    with pytest.raises(ValueError, match=message):
        term.build(mlp(3, MLP_SHAPE))


def test_soft_labels_train(float64):
    """One-hot soft labels give what the labels give; truly soft ones give something else."""
    method, episode = make_method(), make_episode()
    expected = meta_gradient(method, episode, method.weights())

    def softened(by):
        return episode._replace(
            **{
                part: getattr(episode, part)._replace(
                    targets=(1.0 - by) * tf.one_hot(getattr(episode, part).targets, 3, dtype=tf.float64) + by / 3.0
                )
                for part in ("support", "query")
            }
        )

    hard = meta_gradient(method, softened(0.0), method.weights())
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), hard, expected)
    soft = meta_gradient(method, softened(0.2), method.weights())
    assert abs(float(soft.loss - expected.loss)) > 1e-3


def test_regression_reports_squared_errors():
    problem = Regression(1)
    terms = [QueryLoss(problem), CoLearner(keras.layers.Dense(1), problem)]
    method = Method.of(mlp(1, (2,)), GradientDescent(problem, SGD(0.01)), terms)
    losses, metrics = evaluate_losses(method, regression_episode())
    assert set(metrics) == {"loss", "mse", "co_loss", "co_mse"}
    np.testing.assert_allclose(metrics["mse"], losses[:, 0], rtol=1e-6)


def test_another_reducer_weighs_the_tasks(float64):
    method, episode = make_method(), make_episode(tasks=3)
    per_task = evaluate_losses(method, episode)[0].numpy() @ [1.0, 0.7]
    assert float(meta_gradient(method, episode, method.weights()).loss) == pytest.approx(per_task.mean(), rel=1e-12)
    worst = dataclasses.replace(method, reducer=Worst())
    result = meta_gradient(worst, episode, method.weights())
    assert float(result.loss) == pytest.approx(per_task.max(), rel=1e-12)
    one = tf.nest.map_structure(lambda tensor: tensor[per_task.argmax()][None], episode)
    alone = meta_gradient(method, one, method.weights())
    assert_same_gradients(result.gradients, alone.gradients)


class Worst(TaskReducer):
    def __call__(self, losses, gradients, values):
        return tf.reduce_max(losses)


class Tempered(TaskReducer):
    """Losses and the sizes of gradients of the head, at a learned temperature."""

    def build(self, learner):
        if not self.variables:
            self.variables = (keras.Variable(0.7, dtype="float64", name="temperature"),)

    def __call__(self, losses, gradients, values):
        sizes = tf.add_n([tf.reduce_sum(g**2, range(1, g.shape.rank)) for g in gradients.get("head", ())] or [losses])
        return tf.reduce_sum(tf.nn.softmax(values[0] * sizes) * losses)


def test_a_reducer_has_variables_and_sees_the_gradients_of_tasks(float64):
    plain, episode = make_method("anil_sgd", "query_loss", steps=1), make_episode(tasks=3)
    method = Method.of(plain.learner, plain.rule, plain.terms, Tempered())
    assert "reducer" in method.trained_variables() and "reducer" in method.all_variables()
    result = meta_gradient(method, episode, method.weights())
    losses = tf.reduce_sum(result.term_losses * method.weights(), 1)
    ones = [tf.nest.map_structure(lambda tensor, i=i: tensor[i][None], episode) for i in range(3)]
    alone = [meta_gradient(plain, one, plain.weights()).gradients for one in ones]
    head = len(plain.learner.variables.extractor)
    sizes = tf.stack([tf.add_n([tf.reduce_sum(g**2) for g in gradient["learner"][head:]]) for gradient in alone])
    temperature = tf.constant(0.7, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([losses, temperature])
        expected = tf.reduce_sum(tf.nn.softmax(temperature * sizes) * losses)
    shares, of_temperature = tape.gradient(expected, [losses, temperature])
    assert float(result.loss) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(result.gradients["reducer"], [of_temperature], rtol=1e-10)
    for group in alone[0]:
        for position, received in enumerate(result.gradients[group]):
            wanted = sum(share * gradient[group][position] for share, gradient in zip(shares, alone, strict=True))
            np.testing.assert_allclose(received, wanted, rtol=1e-9, atol=1e-12)
    optimizers = dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1))
    MetaStep(method, optimizers, vectorised=False)(episode)
    assert float(method.reducer.variables[0]) == pytest.approx(0.7 - 0.1 * float(of_temperature), rel=1e-9)


def test_accuracy_is_over_the_query_set():
    problem = Classification(3)
    method = Method.of(mlp(3, (2,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem)])
    episode = classification_episode(queries=4)
    _, metrics = evaluate_losses(method, episode)
    for position in range(2):
        initial = method.rule.initial(method.learner)
        task = tf.nest.map_structure(lambda t, i=position: t[i], tuple(episode)[:2])
        outcome = method.outcome(initial, type(episode)(*task))
        hits = np.argmax(outcome.query_forward[1], 1) == task[1].targets
        assert float(metrics["accuracy"][position]) == pytest.approx(np.mean(hits))


def test_frozen_layers_of_a_co_learner_are_kept_but_not_trained():
    problem = Classification(3)
    frozen = keras.layers.Dense(4)
    frozen.trainable = False
    term = CoLearner(keras.Sequential([frozen, keras.layers.Dense(3)]), problem)
    method = Method.of(mlp(3, (2,)), GradientDescent(problem, SGD(0.1)), [QueryLoss(problem), term])
    assert len(method.trained_variables()["co_learner"]) == 2
    assert {id(v) for v in method.all_variables()["co_learner/constants"]} == {id(v) for v in frozen.weights}
