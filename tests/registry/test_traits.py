"""What a member says when it registers is what the thing that it builds says of itself.

A rule says some facts twice: as traits, which a configuration asks before anything is built, and as attributes, which
training, scoring and export ask. Here one that forgets a trait fails by the trait's name.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cml_tf.errors import UserError
from cml_tf.experiments.configuration import flatten, keys_of
from cml_tf.problems import Classification
from cml_tf.readouts import read_through
from cml_tf.registry import members
from tests.helpers import members as made
from tests.helpers.members import choice_with, contract_case, small
from tests.helpers.seeded_episodes import one_task

CLASSES = Classification(3)
# Options on which a trait depends; of rules that have them.
TURNED = {
    "adaptation.partition": ("anil", "boil"),
    "adaptation.class_rows": ("shared",),
    "adaptation.transductive": (True,),
    "adaptation.enhanced": (True,),
}
ROWS = [(axis, name, {}) for axis in ("rule", "update", "hypergradient") for name in members(axis)]
ROWS += [
    ("rule", name, {key: value})
    for name in members("rule")
    for key, values in TURNED.items()
    if key in keys_of(choice_with("rule", name))
    for value in values
]


@pytest.mark.parametrize(("axis", "name", "turned"), ROWS, ids=lambda one: str(one) if one else "plain")
def test_a_rule_declares_what_it_is(monkeypatch, axis, name, turned):
    for key, value in turned.items():
        monkeypatch.setitem(made.SIZES, key, value)
    choice = choice_with(axis, name)
    method, episode = contract_case(choice)
    settings, chosen, rule = dict(flatten(small(choice).to_dict())), choice.members(), method.rule
    task = one_task(episode, 0)
    adapted = method.outcome(rule.initial(method.learner), task).adapted
    traits = chosen["rule"].traits
    assert {
        "steps": traits["steps"],
        "transductive": traits["transductive"](settings),
        "any_ways": traits["any_ways"](settings),
        "adapts": traits["adapts"](settings),
        "head": traits["head"],
        "path": all(chosen[part].traits["path"] for part in ("rule", "hypergradient") if part in chosen),
        "answers_features": traits["answers_features"],
    } == {
        "steps": rule.steps is not None,
        "transductive": rule.uses_query_inputs,
        "any_ways": rule.any_ways,
        "adapts": rule.adapts(method.learner),
        "head": rule.answers_through_head,
        "path": adapted.path is not None,
        "answers_features": _answers_features(adapted, task.query.inputs),
    }
    if "update" in chosen:
        assert chosen["update"].traits["learned"] == bool(rule.update_rule.meta_variables)
    if "hypergradient" in chosen:
        assert chosen["hypergradient"].traits["second_order"] == rule.hypergradient.second_order


def _answers_features(adapted, inputs):
    features, outputs = adapted.predict(inputs)
    try:
        answered = adapted.answer(features)
    except UserError:
        return False
    np.testing.assert_allclose(answered, outputs, rtol=1e-5, atol=1e-6)
    return True


@pytest.mark.parametrize("name", members("readout"))
def test_a_readout_declares_what_it_is(name):
    traits = members("readout")[name].traits
    choice = choice_with("objective", "co_learner")
    with_one, _ = contract_case(choice)
    alone, _ = contract_case(replace(choice, terms=("query_loss",)))
    assert traits["through_head"] == read_through(with_one, CLASSES, name).terms[0].answers_through_head
    try:
        read_through(alone, CLASSES, name)
    except UserError as error:
        assert traits["needs_co_learner"] and "trained without a co-learner" in str(error)
    else:
        assert not traits["needs_co_learner"]
