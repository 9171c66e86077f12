"""The multi-step loss: losses on the way, weights that move to the last step, and training that follows them."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, KernelRidge, PerStepRates, make_hypergradient
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss, StepLoss, StepWeight, multi_step_terms
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from cml_tf.training.schedule import Schedule
from cml_tf.training.trainer import Trainer
from tests.helpers.contract_tables import PROBLEM, RATE, make_episode, make_method
from tests.helpers.differences import gradients_of
from tests.helpers.models import randomise, smooth_mlp

STEPS = 2


def multi_step_method(hypergradient="reverse"):
    rule = GradientDescent(PROBLEM, SGD(RATE), STEPS, make_hypergradient(hypergradient))
    return Method.of(smooth_mlp(), rule, multi_step_terms(PROBLEM, STEPS, until=100))


def at_step(method, steps):
    return Method.of(method.learner, method.rule.with_steps(steps), [QueryLoss(PROBLEM)])


@pytest.mark.parametrize("hypergradient", ["reverse_rematerialised", "first_order"])
def test_each_term_is_the_loss_of_fewer_steps(float64, hypergradient):
    method, episode = multi_step_method(hypergradient), make_episode(tasks=1)
    found, metrics = evaluate_losses(method, episode)
    assert set(metrics) == {"loss", "accuracy"}
    for position, steps in enumerate((STEPS, 1)):
        alone = at_step(method, steps)
        np.testing.assert_allclose(found[:, position], evaluate_losses(alone, episode)[0][:, 0], rtol=1e-10)
        one = tf.one_hot(position, STEPS, dtype=tf.float64)
        expected = meta_gradient(alone, episode, alone.weights()).gradients["learner"]
        for received, wanted in zip(meta_gradient(method, episode, one).gradients["learner"], expected, strict=True):
            np.testing.assert_allclose(received, wanted, rtol=1e-9, atol=1e-11)


def test_weights_move_to_the_last_step():
    terms = multi_step_terms(PROBLEM, 5, until=100)
    assert [term.name for term in terms] == ["query_loss", *(f"step_{step}_loss" for step in range(1, 5))]

    def weights(step):
        return [term.weight_at(step) for term in terms]

    assert weights(0) == pytest.approx([0.2] * 5) and weights(50) == pytest.approx([0.6, *[0.1] * 4])
    assert weights(99)[1] == pytest.approx(0.03 / 5), "not less than 3 % while weights move"
    assert weights(100) == weights(10_000) == [1.0, *[0.0] * 4]
    for step in range(0, 120, 7):
        assert sum(weights(step)) == pytest.approx(1.0)


def test_what_makes_no_sense_is_refused():
    for arguments in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be at least 1, received"):
            StepWeight(*arguments, last=True)
    for arguments, message in (((0.0, 1), "rate must be positive"), ((0.1, 0), "steps must be at least 1")):
        with pytest.raises(ValueError, match=message):
            PerStepRates(*arguments)
    rule = GradientDescent(PROBLEM, SGD(RATE), 2)
    with pytest.raises(ValueError, match="the loss after step 2 needs more than 2 inner steps, received 2"):
        evaluate_losses(Method.of(smooth_mlp(), rule, [QueryLoss(PROBLEM), StepLoss(PROBLEM, 2)]), make_episode())


def trainer_of(first_order_steps=0):
    rule, terms = GradientDescent(PROBLEM, SGD(RATE), 2), multi_step_terms(PROBLEM, 2, until=4)
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(3), input_shape=(2,))
    randomise(learner, 0)
    return Trainer(learner, rule, terms, PROBLEM, schedule=Schedule(first_order_steps))


class Recorder:
    """Stands for the compiled step, and keeps what it was asked."""

    def __init__(self, trainer):
        self.step, self.method, self.asked = trainer.meta_step, trainer.method, []
        self.optimizers = trainer.meta_step.optimizers

    def __call__(self, episode, moment):
        self.asked.append(moment)
        return self.step(episode, moment)

    def finalize(self):
        self.step.finalize()


def test_the_trainer_follows_the_schedules_and_traces_each_order_once():
    trainer = trainer_of(first_order_steps=2)
    compiled = trainer.meta_step
    trainer.meta_step = Recorder(trainer)
    trainer.fit([make_episode(seed=seed) for seed in range(5)], 5, verbose=0)
    asked = trainer.meta_step.asked
    assert [moment.first_order for moment in asked] == [True, True, False, False, False]
    expected = [[0.5, 0.5], [0.625, 0.375], [0.75, 0.25], [0.875, 0.125], [1, 0]]
    np.testing.assert_allclose([moment.weights for moment in asked], expected)
    # First order, second order, and second order without the early losses, which count for nothing in the end.
    assert compiled.traces == 3


def test_losses_that_count_for_nothing_are_not_worked_out(float64):
    early = make_method("anil_sgd", "multi_step")
    trained, episode = early.trained_variables(), make_episode()
    variables = [variable for group in trained.values() for variable in group]
    start = [variable.numpy() for variable in variables]
    whole = meta_gradient(early, episode, early.weights(4)).gradients
    step = MetaStep(early, dict.fromkeys(trained, keras.optimizers.SGD(0.1)), vectorised=False)
    # At outer step 4 the early loss weighs nothing.
    assert step(episode, Schedule()(4, early.terms)).term_losses.shape == (2, 2)
    moves = [0.1 * np.array(gradient) for group in whole.values() for gradient in group]
    for before, variable, move in zip(start, variables, moves, strict=True):
        np.testing.assert_allclose(variable, before - move, rtol=1e-10, atol=1e-12)


def test_a_loss_that_weighs_nothing_is_worked_out_where_it_is_reported_or_has_variables():
    method = make_method("sgd", "multi_step")
    assert [term.name for term, _ in method.counted([0.0] * 3)] == ["query_loss", "co_learner"]


@pytest.mark.slow
@pytest.mark.long
def test_an_interrupted_training_goes_on_as_if_it_had_not_been():
    episodes = [make_episode(seed=seed) for seed in range(6)]
    states = []
    for stops in ((6,), (1, 6), (3, 6)):
        state = None
        for stop in stops:
            keras.backend.clear_session()
            trainer = trainer_of(first_order_steps=2)
            if state:
                trainer.restore(*state)
            trainer.fit(episodes, stop, verbose=0)
            state = trainer.state()
        states.append(state[0])
    for other in states[1:]:
        for name, value in states[0].items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_first_order_steps_have_the_first_order_gradient(float64):
    method, episode = make_method("per_step_rates"), make_episode()
    received = meta_gradient(method.of_first_order(), episode, method.weights()).gradients
    method.rule.hypergradient = make_hypergradient("first_order")
    expected = meta_gradient(method, episode, method.weights()).gradients
    for group in expected:
        for left, right in zip(received[group], expected[group], strict=True):
            np.testing.assert_array_equal(left, right)


def test_more_steps_than_rates_go_on_with_the_last_rate(float64):
    rule, episode = GradientDescent(PROBLEM, PerStepRates(RATE, 2), 2), make_episode()
    method = Method.of(smooth_mlp(), rule, [QueryLoss(PROBLEM)])
    for rates in rule.meta_variables:
        rates.assign([0.2, 0.4])
    two, five = (Method.of(method.learner, method.rule.with_steps(steps), method.terms) for steps in (2, 5))
    plain = GradientDescent(PROBLEM, SGD(0.4), 3)
    task = tf.nest.map_structure(lambda tensor: tensor[0], episode)
    initial = two.rule.initial(two.learner)
    after_two = two.outcome(initial, task).adapted
    expected = plain.adapt(two.learner, initial._replace(parameters=after_two.parameters, meta=()), task.support, ())
    received = five.outcome(initial, task).adapted
    for left, right in zip(tf.nest.flatten(received.parameters), tf.nest.flatten(expected.parameters), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


def test_a_schedule_of_orders_is_refused_where_there_is_none():
    learner, loss = smooth_mlp(), QueryLoss(PROBLEM)
    for rule in (KernelRidge(PROBLEM), GradientDescent(PROBLEM, SGD(RATE), 1, make_hypergradient("first_order"))):
        with pytest.raises(ValueError, match="first_order_steps must be 0 for .*, received 3"):
            Trainer(learner, rule, [loss], PROBLEM, schedule=Schedule(3))


def test_a_part_of_ones_own_has_its_place_in_the_step(float64):
    """As a reduction over replicas will: between the gradient and the check of finiteness."""

    def halved(work):
        halves = {group: tuple(0.5 * g for g in own) for group, own in work.gradient.gradients.items()}
        return dataclasses.replace(work, gradient=work.gradient._replace(gradients=halves))

    method, episode = make_method("anil_sgd", "query_loss"), make_episode(tasks=1)
    variables = [variable for group in method.trained_variables().values() for variable in group]
    start = [variable.numpy() for variable in variables]
    whole = [part for group in gradients_of(method, episode).values() for part in group]
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1)))
    gradient, *rest = step.parts.items()
    step.parts = dict([gradient, ("halving", halved), *rest])
    step(episode)
    for variable, before, part in zip(variables, start, whole, strict=True):
        np.testing.assert_allclose(variable.numpy() - before, -0.05 * part, rtol=1e-9, atol=1e-14)
