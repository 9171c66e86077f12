"""Members of the axes: every legal pair makes steps, and one from outside the package is as good as ours."""

from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest

from cml_tf.learners import Normalisation
from cml_tf.objectives import CoLearner
from cml_tf.registry import AXES, members
from tests.helpers.members import covering, names_of, small
from tests.helpers.small_configs import load, trainer_of, waves
from tests.helpers.steps import eagerly, moved, smoked, steps_of, variables_of

# To trace layers and inner steps is what costs time: all pairs that a dense learner can make steps with make them with
# it, and of its choices those are traced that have a member for the first time. The others make their steps eagerly.
CHEAPEST = "mlp"
SLOW = [pytest.mark.slow]
MARKS = {"resnet12": [*SLOW, pytest.mark.long]}
CHEAP = {"mlp": {"learner.hidden": (4,)}, "gcn": {"learner.hidden": (4,)}}
CHEAP |= dict.fromkeys(("conv4", "resnet12"), {"adaptation.steps": 1})
COVERING = covering(first=CHEAPEST)


def traced():
    seen = set()
    for choice in COVERING:
        if choice.learner == CHEAPEST and not seen >= {*names_of(choice)}:
            seen |= {*names_of(choice)}
            yield choice


TRACED = [*traced()]


def test_every_member_is_in_one_of_them():
    there = {name for axis in AXES for name in members(axis)}
    assert {name for choice in COVERING for name in names_of(choice)} == there


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The smallest network that can have been trained before: one of keras.applications takes ten seconds a step."""
    path = tmp_path_factory.mktemp("networks") / "own.keras"
    keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(3, 5, activation="relu")]).save(path)
    return {"learner.network": str(path), "learner.size": 0, "learner.width": 1.0}


@pytest.mark.parametrize(
    "choice",
    [pytest.param(choice, id="-".join(names_of(choice)), marks=MARKS.get(choice.learner, SLOW)) for choice in COVERING],
)
def test_every_legal_pair_of_members_makes_steps(choice, network):
    # Losses on the way need a way.
    cheap = {} if {"multi_step", "mixed_trajectory"} & {*choice.terms} else CHEAP.get(choice.learner, {})
    config = small(choice, **network, **cheap, **{"hypergradient.solver": "euler"})
    with contextlib.nullcontext() if choice in TRACED else eagerly():
        trainer, before, after = steps_of(config)
    # What a rule learns has a gradient of zero where nothing adapts.
    still = {"adaptation"} if "all_classes" in choice.terms else set()
    for group in trainer.method.trained_variables():
        assert moved(before, after, group) != (group in still), group
    assert "random_noise" not in choice.terms or not moved(before, after, "co_learner")


def normalisations(layers):
    flat = [part for layer in layers for part in layer._flatten_layers()]
    return {(part.mode, part.steps) for part in flat if isinstance(part, Normalisation)}


@pytest.mark.parametrize(("learner", "head"), [("conv4", ""), ("conv4", "cl"), ("resnet12", "cl")])
def test_heads_of_cl_count_inner_steps_and_co_learners_do_not(learner, head):
    words = ",".join(filter(None, (learner, "maml_plus_plus", head, "smoke")))
    method = trainer_of(smoked(load("glyphs", words), **{"learner.filters": 2})).method
    assert normalisations([method.learner.extractor]) == {("per_step", 5)}
    phi = [term.layer for term in method.terms if isinstance(term, CoLearner)]
    assert normalisations(phi) == (set() if head else {("batch_transductive", 1)})
    assert not head or normalisations([method.learner.head]) == {("per_step", 5)}


def test_cl_begins_where_cml_does():
    """Of one seed psi, theta and phi are the same, so that differences are not those of other first weights."""
    starts = [variables_of(trainer_of(load("sinusoid", words))) for words in ("smoke", "smoke,cl")]
    one, other = ([value for group in start.values() for value in group] for start in starts)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("name", "words", "adapts"),
    [
        ("sinusoid", "maml,smoke,anil,meta_sgd", {"head"}),
        ("sinusoid", "cml,smoke,cl,boil", {"extractor"}),
        ("cora", "smoke,amm_gnn,boil", {"extractor"}),
    ],
)
def test_partitions_and_bases_make_steps_and_adapt_what_they_say(name, words, adapts):
    trainer, before, after = steps_of(smoked(load(name, words), **{"adaptation.steps": 1, "learner.hidden": (4,)}))
    assert moved(before, after, "learner") and trainer.method.rule.adapts(trainer.method.learner) == adapts


def test_bases_of_two_graph_methods_adapt_what_they_say():
    method = trainer_of(load("cora", "smoke,g_meta")).method
    assert method.rule.adapts(method.learner) == {"extractor"}


def test_several_co_learners_at_once():
    _, before, after = steps_of(smoked(waves(), **{"objective.co_learners": 2}))
    assert moved(before, after, "co_learner") and moved(before, after, "co_learner_2")
    assert not np.array_equal(after["co_learner"][0], after["co_learner_2"][0])


# The proofs solve kernel ridge regressions in float64.
@pytest.mark.parametrize(
    ("policy", "words"),
    [("float64", "cml"), ("mixed_bfloat16", "cml"), ("mixed_bfloat16", "maml,kernel_ridge")],
)
def test_every_number_format_makes_steps(policy, words):
    config = smoked(load("sinusoid", f"smoke,{words}"), **{"learner.dtype_policy": policy, "learner.hidden": (4,)})
    trainer, before, after = steps_of(config)
    assert moved(before, after, "learner")
    assert trainer.method.learner.variables.extractor[0].dtype == ("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy("float32")
