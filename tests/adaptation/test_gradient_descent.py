"""Gradient descent as a rule: what it moves, what it leaves, its steps, and the packed form of an adapted task."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, anil, make_hypergradient
from cml_tf.errors import UserError
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, UPDATE_RULES, make_episode, make_method
from tests.helpers.differences import assert_same_gradients, gradients_of
from tests.helpers.models import randomise, smooth_mlp
from tests.helpers.seeded_episodes import one_task


def adapted_task(method, episode, position=0):
    task = one_task(episode, position)
    initial = method.rule.initial(method.learner)
    return method.rule.adapt(method.learner, initial, task.support, task.context), initial, task


def same(left, right):
    return [bool(np.array_equal(a, b)) for a, b in zip(left, right, strict=True)]


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_moves_its_groups_and_leaves_the_others(rule):
    """ANIL's adapted psi is psi and BOIL's adapted theta is theta, bit for bit; what a rule moves does move."""
    adapted, initial, _ = adapted_task(make_method(rule), make_episode())
    for group in ("extractor", "head"):
        unchanged = same(getattr(adapted.parameters, group), getattr(initial.parameters, group))
        assert not any(unchanged) if group in UPDATE_RULES[rule].moves else all(unchanged)


@pytest.mark.parametrize(("rule", "steps"), [("frozen", 3), ("sgd", 0), ("meta_sgd", 0)])
def test_freezing_everything_and_no_steps_are_no_adaptation(rule, steps):
    method, episode = make_method(rule, steps=steps), make_episode()
    adapted, initial, task = adapted_task(method, episode)
    assert all(same(tf.nest.flatten(tuple(adapted.parameters)), tf.nest.flatten(tuple(initial.parameters))))
    plain = method.learner.head(method.learner.extractor(task.query.inputs))
    np.testing.assert_array_equal(adapted.predict(task.query.inputs)[1], plain)


# What moves with the perceptron, whatever terms own; states and contexts where everything moves.
PACKED = [(rule, "two_co_learners", "mlp") for rule in ("sgd", "anil_sgd", "boil_sgd", "frozen")]
PACKED += [("sgd", "co_learner", name) for name in ("per_step_normalisation", "support_normalisation", "gcn")]


@pytest.mark.parametrize(("rule", "terms", "learner"), PACKED)
def test_a_packed_task_is_what_moved_in_order_and_predicts_the_same(rule, terms, learner):
    method, episode = make_method(rule, terms, learner), make_episode(learner)
    adapted, initial, task = adapted_task(method, episode)
    packed = adapted.pack()
    moved = [value for group in UPDATE_RULES[rule].moves for value in getattr(adapted.parameters, group)]
    flags = tf.nest.flatten(tuple(method.learner.threaded_state()))
    threaded = [value for value, flag in zip(tf.nest.flatten(tuple(adapted.state)), flags, strict=True) if flag]
    assert packed.dtype == tf.float32 and bool(threaded) == ("normalisation" in learner)
    expected = [np.ravel(value) for value in (*moved, *threaded)]
    np.testing.assert_array_equal(packed, np.concatenate(expected or [np.zeros(0)]))
    again = method.rule.unpack(method.learner, initial, packed, task.context)
    np.testing.assert_array_equal(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1])


@pytest.mark.parametrize("hypergradient", ["reverse", "reverse_rematerialised", "first_order"])
def test_iterates_are_the_predictors_of_fewer_steps(hypergradient):
    method, episode = make_method("meta_sgd", steps=3), make_episode()
    method.rule.hypergradient = make_hypergradient(hypergradient)
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    iterates = method.rule.adapt(method.learner, initial, task.support, ()).path
    assert len(iterates) == 4
    for steps, iterate in enumerate(iterates):
        fewer = method.rule.with_steps(steps).adapt(method.learner, initial, task.support, ())
        np.testing.assert_array_equal(iterate.predict(task.query.inputs)[1], fewer.predict(task.query.inputs)[1])
    first, second = (iterate.predict(task.query.inputs)[1] for iterate in iterates[:2])
    assert np.abs(first - second).max() > 1e-3


def test_with_steps_shares_meta_variables_and_leaves_the_rule_alone():
    method = make_method("meta_sgd", steps=1)
    more = method.rule.with_steps(5)
    assert (method.rule.steps, more.steps) == (1, 5)
    assert all(a is b for a, b in zip(more.meta_variables, method.rule.meta_variables, strict=True))


@pytest.mark.parametrize("make", [SGD, MetaSGD])
@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan")])
def test_rates_must_be_positive(make, rate):
    with pytest.raises(ValueError, match="inner rate must be positive, received"):
        make(rate)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="0 or more, received -1"):
        GradientDescent(PROBLEM, SGD(0.1), steps=-1)
    with pytest.raises(ValueError, match="0 or more, received -2"):
        GradientDescent(PROBLEM, SGD(0.1)).with_steps(-2)


def test_a_partition_refuses_one_object_for_both_groups():
    rule = MetaSGD(0.1)
    with pytest.raises(ValueError, match="one object twice"):
        Partition(rule, rule)


def test_building_twice_keeps_the_meta_variables():
    learner, rule = smooth_mlp(), Partition(MetaSGD(0.1), MetaSGD(0.2))
    rule.build(learner.variables)
    first = rule.meta_variables
    rule.build(learner.variables)
    assert [id(v) for v in rule.meta_variables] == [id(v) for v in first]
    assert [float(np.ravel(v)[0]) for v in first] == pytest.approx([0.1] * 4 + [0.2] * 2)


def test_a_layer_that_the_support_loss_does_not_reach_is_named(float64):
    """CL's query loss on one head only is fine; a head that no support loss reads is a mistake."""

    class FirstHeadOnly(GradientDescent):
        def _loss(self, outputs, targets):
            return super()._loss(tf.nest.flatten(outputs)[0], targets)

    method, episode = make_method(terms="cl"), make_episode()
    method.rule.__class__ = FirstHeadOnly
    with pytest.raises(ValueError, match="support loss does not depend on these adapted tensors"):
        evaluate_losses(method, episode)


def test_a_number_of_steps_from_numpy_is_one_and_a_tensor_cannot_be_saved():
    rule = make_method(steps=np.int64(2)).rule
    assert type(rule.steps) is int and type(rule.with_steps(np.int32(3)).steps) is int
    assert rule.get_config()["steps"] == 2 and rule.vectorisable
    with pytest.raises(UserError, match="a tensor cannot be saved: set a number with with_steps"):
        rule.with_steps(tf.constant(1)).get_config()


# Of the others tests/bilevel/test_hypergradient.py holds it. What is stored divides some numbers of steps, others not.
ORDERS = {"reverse": {}, "adjoint_discrete": {"stored_every": 2}, "adjoint_backsolve": {}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDERS)
def test_the_number_of_steps_may_be_known_when_the_graph_runs_only(float64, name):
    rule = GradientDescent(PROBLEM, anil(SGD(0.3)), 2, make_hypergradient(name, **ORDERS[name]))
    learner, episode = mlp(3, (2,), hidden=(4,), activation="tanh"), make_episode(tasks=1)
    randomise(learner, 0)
    method = Method.of(learner, rule, [QueryLoss(PROBLEM)])

    def of_steps(number):
        return Method.of(learner, rule.with_steps(number), method.terms)

    # With AutoGraph, which users' own functions have.
    @tf.function(autograph=name == "reverse")
    def gradients(number):
        return gradients_of(of_steps(number), episode)

    for steps in (0, 2, 3):
        expected = gradients_of(of_steps(steps), episode)
        assert_same_gradients(gradients(tf.constant(steps)), expected)
        if steps == 0:
            assert_same_gradients(expected, gradients_of(of_steps(0).of_first_order(), episode))
    assert gradients.experimental_get_tracing_count() == 1
    unknown = rule.with_steps(tf.constant(2))
    assert unknown.adapt(learner, rule.initial(learner), one_task(episode, 0).support, ()).path is None
