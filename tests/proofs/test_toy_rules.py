"""Toy methods through the real Method and MetaStep: the interfaces carry what later methods need."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, make_hypergradient
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.differences import (
    assert_matches_central_differences,
    assert_same_gradients,
    gradients_of,
)
from tests.helpers.models import randomise, smooth_co_learner, smooth_mlp
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode
from tests.helpers.stepping import steps_and_compiles_once
from tests.helpers.toy_rules import (
    ContextShift,
    Momentum,
    MultiStepLoss,
    RidgeRegression,
)

CLASSES = Classification(3)
NUMBERS = Regression(1)
EXACT = ["reverse", "reverse_rematerialised"]


# ---- a closed-form predictor that uses query inputs and owns a meta-variable


def ridge_method() -> Method:
    extractor = keras.Sequential([keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3, activation="tanh")])
    learner = Learner(extractor, keras.layers.Identity(), input_shape=(2,))
    randomise(learner, 0)
    method = Method.of(learner, RidgeRegression(), [QueryLoss(NUMBERS), smooth_co_learner(NUMBERS)])
    randomise(method.terms[1].variables, 1)
    return method


def test_closed_form_predictor(float64):
    method, episode = ridge_method(), regression_episode()
    assert set(method.trained_variables()) == {"learner", "adaptation", "co_learner"}
    assert_matches_central_differences(method, episode)
    steps_and_compiles_once(method, episode)


def test_closed_form_predictor_is_given_the_query_inputs(float64):
    """Another query example changes what the others are told: the rule asked for them and got them."""
    method = ridge_method()
    task = one_task(regression_episode(), 0)
    outcome = method.outcome(method.rule.initial(method.learner), task)
    moved = task.query._replace(inputs=tf.concat([task.query.inputs[:-1], task.query.inputs[-1:] + 1.0], 0))
    other = method.outcome(method.rule.initial(method.learner), task._replace(query=moved))
    assert np.abs(outcome.query_forward[1][0] - other.query_forward[1][0]).max() > 1e-3


def test_a_rule_that_adapts_to_the_queries_packs_nothing_and_has_no_steps():
    method, task = ridge_method(), one_task(regression_episode(), 0)
    adapted = method.outcome(method.rule.initial(method.learner), task).adapted
    assert adapted.path is None and method.rule.packed_spec(method.learner) is None
    with pytest.raises(UserError, match="RidgePredictor cannot be packed, since its rule has no task state"):
        adapted.pack()
    with pytest.raises(UserError, match="RidgeRegression takes no inner steps, received 3: leave out steps"):
        method.rule.with_steps(3)


def test_a_rule_that_does_not_ask_never_sees_query_inputs():
    class Blind(GradientDescent):
        def adapt(self, learner, initial, support, context, query_inputs=None):
            assert query_inputs is None
            return super().adapt(learner, initial, support, context, query_inputs)

    method = Method.of(smooth_mlp(), Blind(CLASSES, SGD(0.1)), [QueryLoss(CLASSES)])
    evaluate_losses(method, classification_episode())


# ---- update rules with state of one episode

STATEFUL = {
    "context_shift": lambda: ContextShift(0.4),
    "context_shift_in_a_partition": lambda: Partition(SGD(0.3), ContextShift(0.4)),
    "context_shift_beside_meta_sgd": lambda: Partition(MetaSGD(0.3), ContextShift(0.4)),
    "momentum": lambda: Momentum(0.3),
    "momentum_in_a_partition": lambda: Partition(Momentum(0.3), Momentum(0.2)),
}


def stateful_method(name: str, steps: int = 2) -> Method:
    rule = GradientDescent(CLASSES, STATEFUL[name](), steps)
    method = Method.of(smooth_mlp(), rule, [QueryLoss(CLASSES), smooth_co_learner(CLASSES)])
    randomise(method.terms[1].variables, 1)
    return method


@pytest.mark.parametrize("name", STATEFUL)
def test_update_rules_with_state(float64, name):
    method, episode = stateful_method(name), classification_episode()
    reverse = gradients_of(method, episode)
    assert_matches_central_differences(method, episode)
    method.rule.hypergradient = make_hypergradient("reverse_rematerialised")
    assert_same_gradients(gradients_of(method, episode), reverse)
    method.rule.hypergradient = make_hypergradient("first_order")
    assert all(gradient is not None for group in gradients_of(method, episode).values() for gradient in group)


@pytest.mark.parametrize("name", ["context_shift", "context_shift_in_a_partition"])
def test_update_rules_with_state_compile_once(name):
    steps_and_compiles_once(stateful_method(name), classification_episode())


@pytest.mark.parametrize("name", STATEFUL)
def test_update_rules_with_state_pack(name):
    method, task = stateful_method(name), one_task(classification_episode(), 0)
    initial = method.rule.initial(method.learner)
    adapted = method.outcome(initial, task).adapted
    again = method.rule.unpack(method.learner, initial, adapted.pack(), ())
    np.testing.assert_array_equal(again.predict(task.query.inputs)[1], adapted.predict(task.query.inputs)[1])
    unadapted = method.rule.with_steps(0).adapt(method.learner, initial, task.support, ())
    assert np.abs(unadapted.predict(task.query.inputs)[1] - adapted.predict(task.query.inputs)[1]).max() > 1e-3


def test_the_context_vector_adapts_by_its_own_gradient(float64):
    """Two steps on the bias shift alone, written out: what the rule must have done."""
    method, task = stateful_method("context_shift"), one_task(classification_episode(), 0)
    initial = method.rule.initial(method.learner)
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


# ---- a term that reads every iterate


@pytest.mark.parametrize("hypergradient", EXACT)
def test_a_term_reads_every_iterate(float64, hypergradient):
    rule = GradientDescent(CLASSES, MetaSGD(0.3), 3, make_hypergradient(hypergradient))
    method, episode = Method.of(smooth_mlp(), rule, [MultiStepLoss(CLASSES, 0.5)]), classification_episode()
    assert_matches_central_differences(method, episode)
    by_hand = 0.0
    for steps in range(4):
        fewer = Method.of(method.learner, rule.with_steps(steps), [QueryLoss(CLASSES)])
        by_hand += (steps + 1.0) * evaluate_losses(fewer, episode)[0][:, 0]
    np.testing.assert_allclose(evaluate_losses(method, episode)[0][:, 0], by_hand, rtol=1e-12)
    if hypergradient == "reverse":
        steps_and_compiles_once(method, episode)
