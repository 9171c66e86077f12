"""Gradient descent as a rule: what it moves, what it leaves, its steps, and the packed form of an adapted task."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, make_hypergradient
from cml_tf.errors import UserError
from cml_tf.learners import count_parameters
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import LEARNERS, PROBLEM, TERMS, UPDATE_RULES, make_episode, make_method
from tests.helpers.differences import assert_same_gradients, gradients_of
from tests.helpers.models import smooth_mlp
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


@pytest.mark.parametrize(("rule", "group"), [("anil_sgd", "extractor"), ("boil_sgd", "head")])
def test_the_outer_loop_still_learns_what_the_inner_loop_leaves(rule, group):
    method = make_method(rule)
    gradients = gradients_of(method, make_episode())["learner"]
    of_extractor = len(method.learner.variables.extractor)
    for gradient in gradients[:of_extractor] if group == "extractor" else gradients[of_extractor:]:
        assert np.abs(gradient).max() > 1e-4


@pytest.mark.parametrize(("rule", "steps"), [("frozen", 3), ("sgd", 0), ("meta_sgd", 0)])
def test_freezing_everything_and_no_steps_are_no_adaptation(rule, steps):
    method, episode = make_method(rule, steps=steps), make_episode()
    adapted, initial, task = adapted_task(method, episode)
    assert all(same(tf.nest.flatten(tuple(adapted.parameters)), tf.nest.flatten(tuple(initial.parameters))))
    plain = method.learner.head(method.learner.extractor(task.query.inputs))
    np.testing.assert_array_equal(adapted.predict(task.query.inputs)[1], plain)


def test_frozen_has_the_gradient_of_plain_training(float64):
    """With nothing adapted the meta-gradient is the query gradient at the initial parameters."""
    frozen, episode = make_method("frozen"), make_episode()
    no_steps = make_method("sgd", steps=0)
    assert_same_gradients(gradients_of(frozen, episode), gradients_of(no_steps, episode), tolerance=1e-12)


# What moves with the perceptron; states and contexts where everything moves.
PACKED = [*((rule, "mlp") for rule in UPDATE_RULES if "rate" not in rule), *(("sgd", name) for name in LEARNERS)]


@pytest.mark.parametrize(("rule", "learner"), PACKED)
def test_packed_task_predicts_the_same(rule, learner):
    method, episode = make_method(rule, learner=learner), make_episode(learner)
    adapted, initial, task = adapted_task(method, episode)
    packed = adapted.pack()
    moved = [v for group in UPDATE_RULES[rule].moves for v in getattr(method.learner.variables, group)]
    variables, flags = tuple(method.learner.state_variables), tuple(method.learner.threaded_state())
    flat = zip(tf.nest.flatten(variables), tf.nest.flatten(flags), strict=True)
    threaded = [variable for variable, flag in flat if flag]
    assert packed.dtype == tf.float32 and packed.shape == (count_parameters(moved) + count_parameters(threaded),)
    again = method.rule.unpack(method.learner, initial, packed, task.context)
    np.testing.assert_array_equal(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1])


def test_packed_layout_is_learner_order_row_major():
    method = make_method("sgd")
    adapted, _, _ = adapted_task(method, make_episode())
    expected = np.concatenate([np.ravel(value) for value in tf.nest.flatten(tuple(adapted.parameters))])
    np.testing.assert_array_equal(adapted.pack(), expected)


@pytest.mark.parametrize("terms", TERMS)
def test_packed_task_never_holds_a_terms_variables(terms):
    """Whatever a term owns stays behind: the packed task is as long as the learner."""
    method = make_method("sgd", terms)
    adapted, _, _ = adapted_task(method, make_episode())
    assert adapted.pack().shape == (count_parameters(tuple(method.learner.variables)),)


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


def test_hypergradients_agree_on_the_forward_values(float64):
    method, episode = make_method("meta_sgd", learner="conv"), make_episode("conv", tasks=1)
    expected, _ = evaluate_losses(method, episode)
    for hypergradient in ("reverse_rematerialised", "first_order"):
        method.rule.hypergradient = make_hypergradient(hypergradient)
        np.testing.assert_allclose(evaluate_losses(method, episode)[0], expected, rtol=1e-12)


def test_one_step_of_sgd_is_the_formula(float64):
    method, episode = make_method("sgd", "query_loss", steps=1), make_episode()
    adapted, initial, task = adapted_task(method, episode)
    values = tf.nest.flatten(tuple(initial.parameters))
    with tf.GradientTape() as tape:
        tape.watch(values)
        hidden = tf.tanh(tf.tanh(task.support.inputs @ values[0] + values[1]) @ values[2] + values[3])
        logits = tf.nn.log_softmax(hidden @ values[4] + values[5])
        loss = -tf.reduce_mean(tf.gather(logits, task.support.targets, batch_dims=1))
    for value, gradient, received in zip(
        values, tape.gradient(loss, values), tf.nest.flatten(tuple(adapted.parameters)), strict=True
    ):
        np.testing.assert_allclose(received, value - 0.3 * gradient, rtol=1e-12, atol=1e-14)


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


@pytest.mark.parametrize("hypergradient", ["reverse", "reverse_rematerialised", "first_order"])
def test_the_number_of_steps_may_be_known_when_the_graph_runs_only(float64, hypergradient):
    method, episode = make_method("sgd", "query_loss"), make_episode(tasks=1)
    method.rule.hypergradient = make_hypergradient(hypergradient)

    # With AutoGraph, which users' own functions have.
    @tf.function
    def gradients(number):
        rule = method.rule.with_steps(number)
        return meta_gradient(Method.of(method.learner, rule, method.terms), episode, method.weights()).gradients

    for steps in (0, 2):
        fixed = Method.of(method.learner, method.rule.with_steps(steps), method.terms)
        expected = meta_gradient(fixed, episode, method.weights()).gradients
        assert_same_gradients(gradients(tf.constant(steps)), expected)
    task = one_task(episode, 0)
    adapted = method.rule.with_steps(tf.constant(2)).adapt(
        method.learner, method.rule.initial(method.learner), task.support, ()
    )
    assert adapted.path is None


def test_a_number_of_steps_from_numpy_is_one_and_a_tensor_cannot_be_saved():
    rule = make_method(steps=np.int64(2)).rule
    assert type(rule.steps) is int and type(rule.with_steps(np.int32(3)).steps) is int
    assert rule.get_config()["steps"] == 2 and rule.vectorisable
    with pytest.raises(UserError, match="a tensor cannot be saved: set a number with with_steps"):
        rule.with_steps(tf.constant(1)).get_config()
