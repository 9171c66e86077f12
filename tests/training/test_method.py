"""A method is one choice on each axis: what it refuses, which variables it names, what it leaves alone."""

from __future__ import annotations

import keras
import pytest

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_method
from tests.helpers.models import smooth_mlp


def co_learner(name="co_learner"):
    return CoLearner(keras.layers.Dense(3), PROBLEM, name=name)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (lambda: [], "terms must have different names, received"),
        (lambda: [QueryLoss(PROBLEM), QueryLoss(PROBLEM)], "terms must have different names, received"),
        # These would replace that group in a checkpoint.
        *(
            (lambda name=name: [QueryLoss(PROBLEM), co_learner(name)], rf"received \['{name}'\]")
            for name in ("learner", "adaptation", "learner_state")
        ),
    ],
)
def test_terms_need_names_of_their_own(terms, message):
    with pytest.raises(ValueError, match=message):
        Method.of(smooth_mlp(), GradientDescent(PROBLEM, SGD(0.1)), terms())


def test_groups_hold_every_variable_once_and_the_learner_none_of_a_term():
    method = make_method("meta_sgd", "two_co_learners")
    groups = method.trained_variables()
    assert {name: len(variables) for name, variables in groups.items()} == {
        "learner": 6, "adaptation": 6, "co_learner": 4, "second_co_learner": 4
    }  # fmt: skip
    assert len({id(variable) for variables in groups.values() for variable in variables}) == 20
    assert groups["learner"] == (*method.learner.variables.extractor, *method.learner.variables.head)
    assert method.all_variables() == groups
    of_terms = {id(variable) for term in method.terms for variable in term.variables}
    layers = (method.learner.extractor, method.learner.head)
    assert not of_terms & {id(v) for layer in layers for v in layer.variables}, "export strips by construction"


def test_two_methods_may_share_a_learner_and_a_rule():
    learner, rule = smooth_mlp(), GradientDescent(PROBLEM, MetaSGD(0.1))
    first, second = (Method.of(learner, rule, [QueryLoss(PROBLEM), *terms]) for terms in ([], [co_learner()]))
    assert first.trained_variables()["adaptation"] == second.trained_variables()["adaptation"]
