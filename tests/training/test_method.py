"""A method is one choice on each axis: what it refuses, which variables it names, what it leaves alone."""

from __future__ import annotations

import keras
import pytest

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_method
from tests.helpers.models import smooth_mlp


@pytest.mark.parametrize("terms", [[], [QueryLoss(PROBLEM), QueryLoss(PROBLEM)]], ids=["none", "one name twice"])
def test_terms_need_different_names(terms):
    with pytest.raises(ValueError, match="objective terms of different names, received"):
        Method(smooth_mlp(), GradientDescent(PROBLEM, SGD(0.1)), terms)


@pytest.mark.parametrize("name", ["learner", "adaptation", "learner_state"])
def test_terms_do_not_take_the_names_of_other_groups(name):
    """They would replace that group in a checkpoint."""
    terms = [QueryLoss(PROBLEM), CoLearner(keras.layers.Dense(3), PROBLEM, name=name)]
    with pytest.raises(ValueError, match=rf"received \['{name}'\]"):
        Method(smooth_mlp(), GradientDescent(PROBLEM, SGD(0.1)), terms)


def test_groups_hold_every_variable_once():
    method = make_method("meta_sgd", "two_co_learners")
    groups = method.trained_variables()
    assert list(groups) == ["learner", "adaptation", "co_learner", "second_co_learner"]
    everything = [id(variable) for variables in groups.values() for variable in variables]
    assert len(everything) == len(set(everything)) == 6 + 6 + 4 + 4
    assert groups["learner"] == (*method.learner.variables.extractor, *method.learner.variables.head)
    assert {name: len(variables) for name, variables in method.all_variables().items()} == {
        name: len(variables) for name, variables in groups.items()
    }


def test_the_learner_never_refers_to_terms():
    """Export strips by construction: nothing of a term hangs on the learner or the rule."""
    method = make_method("meta_sgd", "co_learner")
    of_terms = {id(variable) for term in method.terms for variable in term.variables}
    learner = method.learner
    of_learner = {id(v) for layer in (learner.extractor, learner.head) for v in layer.variables}
    of_rule = {id(v) for v in method.rule.meta_variables}
    assert of_terms and not of_terms & (of_learner | of_rule)


def test_two_methods_may_share_a_learner_and_a_rule():
    learner, rule = smooth_mlp(), GradientDescent(PROBLEM, MetaSGD(0.1))
    first = Method(learner, rule, [QueryLoss(PROBLEM)])
    second = Method(learner, rule, [QueryLoss(PROBLEM), CoLearner(keras.layers.Dense(3), PROBLEM)])
    assert first.trained_variables()["adaptation"] == second.trained_variables()["adaptation"]
