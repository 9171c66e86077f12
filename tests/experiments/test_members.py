"""Members of the axes: every legal pair makes steps, and one from outside the package is as good as ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from cml_tf.experiments.configuration import check_config, default_config, keys_of
from cml_tf.experiments.variants import set_options
from cml_tf.learners import Normalisation
from cml_tf.objectives import CoLearner
from cml_tf.registry import Choice, ConfigurationError, Member, members
from tests.helpers.small_configs import changed, load, trainer_of
from tests.helpers.steps import moved, smoked, steps_of

SLOW = {"resnet12": [pytest.mark.slow, pytest.mark.long], "conv4": [pytest.mark.slow]}


def small(choice):
    config = default_config(choice)
    set_options(config, ["smoke"])
    sizes = {"train.meta_batch": 1, "dataset.shots": 1, "dataset.ways": 2, "learner.filters": 2, "adaptation.steps": 2}
    # Early losses count in both steps: without them the step would be another graph.
    sizes["objective.multi_step_until"] = 3
    keys = keys_of(choice)
    config.update_from_flattened_dict({key: value for key, value in sizes.items() if key in keys})
    check_config(config)
    return config


def legal_choices() -> Iterator[Choice]:
    """Every choice of members that a configuration accepts, in a fixed order."""
    slots: dict[str, list[Member]] = {}
    for one in members("objective").values():
        slots.setdefault(one.traits["slot"] or one.name, []).append(one)
    outer, others = slots.pop("outer"), [[None, *slot] for slot in slots.values()]
    for learner, rule, reducer, first, *rest in itertools.product(
        members("learner").values(), members("rule").values(), members("reducer"), outer, *others
    ):
        dataset = {"numbers": "sinusoid", "images": "glyphs", "nodes": "graph"}[learner.traits["reads"][0]]
        parts = [[{axis: name} for name in members(axis)] for axis in rule.traits["parts"]]
        terms = (first.name, *(term.name for term in rest if term))
        for chosen in itertools.product(*parts):
            named = {axis: name for part in chosen for axis, name in part.items()}
            choice = Choice(dataset, learner.name, rule.name, **named, terms=terms, reducer=reducer)
            try:
                small(choice)
            except ConfigurationError:
                continue
            yield choice


def pairs(choice: Choice) -> set[frozenset[str]]:
    names = [*(one.name for one in choice.members().values()), *choice.terms]
    return {frozenset(pair) for pair in itertools.combinations(names, 2)}


def covering() -> list[Choice]:
    """Few choices that hold every legal pair of members between them."""
    left = {choice: pairs(choice) for choice in legal_choices()}
    kept = []
    while left:
        best = max(left, key=lambda choice: len(left[choice]))
        kept.append(best)
        left = {choice: rest for choice, own in left.items() if (rest := own - pairs(best))}
    return kept


COVERING = covering()


def test_every_member_is_in_one_of_them():
    chosen = {name for choice in COVERING for pair in pairs(choice) for name in pair}
    axes = ("learner", "rule", "update", "hypergradient", "objective", "reducer")
    assert chosen == {name for axis in axes for name in members(axis)}


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(
            choice,
            id="-".join([*(one.name for one in choice.members().values()), *choice.terms]),
            marks=SLOW.get(choice.learner, []),
        )
        for choice in COVERING
    ],
)
def test_every_legal_pair_of_members_makes_steps(choice):
    trainer, before, after = steps_of(small(choice))
    for group in trainer.method.trained_variables():
        assert moved(before, after, group), group
    assert "random_noise" not in choice.terms or not moved(before, after, "co_learner")


def normalisations(layers):
    flat = [part for layer in layers for part in layer._flatten_layers()]
    return {(part.mode, part.steps) for part in flat if isinstance(part, Normalisation)}


@pytest.mark.parametrize("learner", ["conv4", "resnet12"])
def test_heads_of_cl_count_inner_steps_and_co_learners_do_not(learner):
    for words in (f"{learner},maml_plus_plus,smoke", f"{learner},maml_plus_plus,cl,smoke"):
        method = trainer_of(smoked(load("glyphs", words), **{"learner.filters": 2})).method
        assert normalisations([method.learner.extractor]) == {("per_step", 5)}
        phi = [term.layer for term in method.terms if isinstance(term, CoLearner)]
        assert normalisations(phi) == ({("batch_transductive", 1)} if phi else set())
        assert phi or normalisations([method.learner.head]) == {("per_step", 5)}


def test_cl_begins_where_cml_does():
    """Of one seed psi, theta and phi are the same, so that differences are not those of other first weights."""
    starts = [steps_of(load("sinusoid", words), count=1)[1] for words in ("smoke", "smoke,cl")]
    one, other = ([value for group in start.values() for value in group] for start in starts)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("words", ["anil,meta_sgd", "cl,boil"])
def test_a_partition_freezes_the_other_group(words):
    method = "cml" if "cl" in words else "maml"
    trainer, _, _ = steps_of(smoked(load("sinusoid", f"{method},smoke,{words}")))
    rule = trainer.method.rule
    assert rule.adapts(trainer.method.learner) == {"head" if "anil" in words else "extractor"}


@pytest.mark.parametrize("words", ["g_meta", "amm_gnn", "amm_gnn,boil", "cl,anil"])
def test_bases_on_nodes_make_steps(words):
    _, before, after = steps_of(smoked(load("cora", f"smoke,{words}"), **{"adaptation.steps": 2}))
    assert moved(before, after, "learner")


def test_several_co_learners_at_once():
    config = changed(load("sinusoid", "smoke"), **{"objective.co_learners": 3})
    _, before, after = steps_of(config)
    assert all(moved(before, after, group) for group in ("co_learner", "co_learner_2", "co_learner_3"))
    assert not np.array_equal(after["co_learner"][0], after["co_learner_2"][0])


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("words", ["cml", "maml,kernel_ridge"])
def test_every_number_format_makes_steps(policy, words):
    config = changed(load("sinusoid", f"smoke,{words}"), **{"learner.dtype_policy": policy})
    trainer, before, after = steps_of(config)
    assert moved(before, after, "learner")
    assert trainer.method.learner.variables.extractor[0].dtype == ("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy("float32")
