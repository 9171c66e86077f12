"""What every member of every axis owes, and toy methods with it: a new member is here without an edit.

The toys are of kinds that no member is of yet, so that the interfaces carry what later methods need.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition
from cml_tf.adaptation.hypergradients import RematerialisedReverse, Reverse
from cml_tf.episodes import Episode
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.members import contract_case, contract_choices, names_of
from tests.helpers.models import randomise, smooth_co_learner, smooth_mlp
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode
from tests.helpers.toy_rules import ContextShift, Momentum, RidgeRegression

CLASSES, NUMBERS = Classification(3), Regression(1)


def of_rule(rule, learner, problem, episode):
    method = Method.of(learner, rule, [QueryLoss(problem), smooth_co_learner(problem)])
    randomise(method.terms[1].variables, 1)
    return method, episode


def of_update(make):
    return lambda: of_rule(GradientDescent(CLASSES, make(), 2), smooth_mlp(), CLASSES, classification_episode())


def ridge():
    extractor = keras.Sequential([keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3, activation="tanh")])
    learner = Learner(extractor, keras.layers.Identity(), input_shape=(2,))
    randomise(learner, 0)
    return of_rule(RidgeRegression(), learner, NUMBERS, regression_episode())


TOYS = {
    "a closed form of support and queries": ridge,
    "a context vector": of_update(lambda: ContextShift(0.4)),
    "a context vector in a partition": of_update(lambda: Partition(SGD(0.3), ContextShift(0.4))),
    "a context vector beside rates": of_update(lambda: Partition(MetaSGD(0.3), ContextShift(0.4))),
    "momentum": of_update(lambda: Momentum(0.3)),
    "momentum in a partition": of_update(lambda: Partition(Momentum(0.3), Momentum(0.2))),
}
SLOW = {"resnet12": [pytest.mark.slow, pytest.mark.long], "conv4": [pytest.mark.slow], "pretrained": [pytest.mark.slow]}
CASES = [
    pytest.param(
        functools.partial(contract_case, choice), id="-".join(names_of(choice)), marks=SLOW.get(choice.learner, [])
    )
    for choice in contract_choices()
]
CASES += [pytest.param(make, id=name) for name, make in TOYS.items()]
of_all = pytest.mark.parametrize("make", CASES)


def few_tasks(method, episode):
    """As many as matter: only a reducer that is no mean compares any."""
    count = 1 if method.reducer.is_mean else 2
    parts = (episode.support, episode.query, episode.key, episode.classes)
    support, query, key, classes = tf.nest.map_structure(lambda tensor: tensor[:count], parts)
    return Episode(support, query, episode.context, key, classes)


@of_all
def test_the_meta_gradient_is_the_derivative_of_the_outer_loss_and_orders_agree_where_they_must(float64, make):
    """Derivatives along random directions; where steps are not differentiated exactly it is so without any.

    Exact orders agree with each other everywhere, all others with that of first order where there is no inner step.
    """
    method, episode = make()
    episode = few_tasks(method, episode)
    taught = replace(method, terms=tuple(term for term in method.terms if getattr(term, "differentiated", True)))
    own = getattr(method.rule, "hypergradient", None)
    if own is None or own.exact:
        gradients = gradients_of(method, episode)
        assert_matches_central_differences(taught, episode, gradients)
    if len(method.learner.variables.extractor) > 30:
        # How orders agree is no matter of the learner, and takes long with so many layers.
        return
    if own is None:
        assert method.of_first_order().rule is method.rule, "nothing to take a lower order of"
        return
    if own.exact:
        method.rule.hypergradient = RematerialisedReverse() if type(own) is Reverse else Reverse()
        assert_same_gradients(gradients_of(method, episode), gradients)
        method.rule.hypergradient = own
    still = replace(method, rule=method.rule.with_steps(0))
    try:
        gradients = gradients_of(still, episode)
    except ValueError as error:
        # Rates that nothing is multiplied by, losses after steps that are not made.
        with pytest.raises(ValueError, match=re.escape(str(error))):
            gradients_of(still.of_first_order(), episode)
        assert own.exact
        return
    if not own.exact:
        assert_matches_central_differences(replace(taught, rule=still.rule), episode, gradients)
    assert_same_gradients(gradients_of(still.of_first_order(), episode), gradients)


# Of toys that differ in a part, the one with more parts.
@pytest.mark.parametrize("name", ["a closed form of support and queries", "a context vector beside rates"])
def test_a_second_step_is_not_traced_and_every_variable_moves(name):
    """Of members, tests/experiments/test_members.py holds that for every legal pair."""
    method, episode = TOYS[name]()
    step = MetaStep(
        method, {group: keras.optimizers.SGD(0.1) for group in method.trained_variables()}, vectorised=False
    )
    before = tf.nest.map_structure(lambda v: v.numpy(), method.trained_variables())
    assert bool(step(episode).finite) and bool(step(episode).finite) and step.traces == 1
    for group, variables in method.trained_variables().items():
        for start, variable in zip(before[group], variables, strict=True):
            assert not np.array_equal(start, variable), f"{group}: {variable.path} was not updated"


@of_all
def test_a_packed_task_answers_as_before(make):
    method, episode = make()
    task = one_task(episode, 0)
    initial = method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    answers = tf.nest.flatten(adapted.predict(task.query.inputs)[1])
    unadapted = method.rule.unadapted(method.learner, initial, task.support, task.context)
    if method.rule.steps is not None:
        before = tf.nest.flatten(unadapted.predict(task.query.inputs)[1])
        assert np.abs(answers[0] - before[0]).max() > 1e-3, "adaptation does something"
        asked = (task.query.inputs,) if method.rule.uses_query_inputs else ()
        still = method.rule.with_steps(0).adapt(method.learner, initial, task.support, task.context, *asked)
        np.testing.assert_allclose(tf.nest.flatten(still.predict(task.query.inputs)[1])[0], before[0], atol=1e-6)
    if method.rule.packed_spec(method.learner) is None:
        with pytest.raises(UserError, match="cannot be packed"):
            adapted.pack()
        return
    again = method.rule.unpack(method.learner, initial, adapted.pack(), task.context)
    for one, other in zip(answers, tf.nest.flatten(again.predict(task.query.inputs)[1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_another_rule_has_learned_is_refused():
    learner, task = smooth_mlp(), one_task(classification_episode(), 0)
    plain, learned = (GradientDescent(CLASSES, one, 2) for one in (SGD(0.1), MetaSGD(0.1)))
    for rule in (plain, learned):
        rule.build(learner)
    for rule, other, message in (
        (plain, learned, "hold 0 tensors for SGD"),
        (learned, plain, "for MetaSGD, received 0"),
    ):
        with pytest.raises(UserError, match=f"initial.meta must .*{message}"):
            rule.adapt(learner, other.initial(learner), task.support, task.context)


# ---- what the toys do besides


def test_a_rule_is_given_query_inputs_if_it_asks_and_never_else(float64):
    method, episode = ridge()
    task = one_task(episode, 0)
    outcome = method.outcome(method.rule.initial(method.learner), task)
    moved = task.query._replace(inputs=tf.concat([task.query.inputs[:-1], task.query.inputs[-1:] + 1.0], 0))
    other = method.outcome(method.rule.initial(method.learner), task._replace(query=moved))
    assert np.abs(outcome.query_forward[1][0] - other.query_forward[1][0]).max() > 1e-3
    with pytest.raises(UserError, match="RidgeRegression takes no inner steps, received 3"):
        method.rule.with_steps(3)

    class Blind(GradientDescent):
        def adapt(self, learner, initial, support, context, query_inputs=None):
            assert query_inputs is None
            return super().adapt(learner, initial, support, context, query_inputs)

    evaluate_losses(Method.of(smooth_mlp(), Blind(CLASSES, SGD(0.1)), [QueryLoss(CLASSES)]), classification_episode())


def test_the_context_vector_adapts_by_its_own_gradient(float64):
    """Two steps on the bias shift alone, written out: what the rule must have done."""
    method, episode = TOYS["a context vector"]()
    task, initial = one_task(episode, 0), method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    features = method.learner.extractor(task.support.inputs).numpy()
    kernel, bias = (value.numpy() for value in initial.parameters.head)
    shift = initial.meta[0].numpy()
    for _ in range(2):
        logits = features @ kernel + bias + shift
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        shift = shift - 0.4 * (probabilities - np.eye(3)[task.support.targets]).mean(0)
    np.testing.assert_allclose(adapted.parameters.head[-1], bias + shift, rtol=1e-12)
    np.testing.assert_array_equal(adapted.parameters.head[0], kernel)
