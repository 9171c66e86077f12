"""Choices of members that a configuration accepts, all of them tiny: what a new member is tested in, unasked."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from cml_tf.episodes import Episode
from cml_tf.experiments.configuration import check_config, default_config, flatten, keys_of
from cml_tf.experiments.settings import faults
from cml_tf.experiments.variants import set_options
from cml_tf.problems import Classification
from cml_tf.registry import AXES, Choice, ConfigurationError, Given, Member, faults_of, members, variants
from cml_tf.training.assembly import assemble
from cml_tf.training.method import Method
from tests.helpers.models import randomise
from tests.helpers.nodes import FEATURES, node_episode
from tests.helpers.seeded_episodes import CLASSES, classification_episode

DATASETS = {"numbers": "sinusoid", "images": "glyphs", "nodes": "graph"}
IMAGE_SHAPE = (16, 16, 1)
SIZES = {
    **{"train.meta_batch": 1, "dataset.shots": 1, "dataset.ways": 2, "learner.filters": 2, "adaptation.steps": 2},
    # Early losses count in both steps: without them the step would be another graph.
    "objective.multi_step_until": 3,
}


def small(choice: Choice, **values: object) -> ConfigDict:
    """The configuration of a choice, with few and small steps.

    Raises:
      ConfigurationError: if the members cannot go together.
    """
    config = default_config(choice)
    set_options(config, ["smoke"])
    keys = keys_of(choice)
    config.update_from_flattened_dict({key: value for key, value in {**SIZES, **values}.items() if key in keys})
    check_config(config)
    return config


@functools.cache
def legal_choices() -> list[Choice]:
    """Every choice of members that a configuration accepts, in a fixed order."""
    return list(_legal_choices())


def _legal_choices() -> Iterator[Choice]:
    slots: dict[str, list[Member]] = {}
    for one in members("objective").values():
        slots.setdefault(one.traits["slot"] or one.name, []).append(one)
    outer, others = slots.pop("outer"), [[None, *slot] for slot in slots.values()]
    for learner, rule, reducer, first, *rest in itertools.product(
        members("learner").values(), members("rule").values(), members("reducer"), outer, *others
    ):
        parts = [[{axis: name} for name in members(axis)] for axis in rule.traits["parts"]]
        terms = (first.name, *(term.name for term in rest if term))
        for chosen in itertools.product(*parts):
            named = {axis: name for part in chosen for axis, name in part.items()}
            dataset = DATASETS[learner.traits["reads"][0]]
            choice = Choice(dataset, learner.name, rule.name, **named, terms=terms, reducer=reducer)
            if _is_legal(choice):
                yield choice


def _is_legal(choice: Choice) -> bool:
    """Whether `small` accepts it: thousands are asked about whenever tests are collected, so without a ConfigDict."""
    try:
        keys = keys_of(choice)
    except ConfigurationError:
        return False
    settings = {key: one.default for key, one in keys.items()}
    settings |= variants()["smoke"].sets(settings)
    settings |= {key: value for key, value in SIZES.items() if key in keys}
    return not any(itertools.chain(faults(settings), faults_of(choice, settings)))


def names_of(choice: Choice) -> list[str]:
    """Of all members, which are the words that choose them."""
    return [*(one.name for one in choice.members().values()), *choice.terms]


def covering(first: str) -> list[Choice]:
    """Few choices that hold every legal pair of members between them.

    Args:
      first: the learner of all pairs that can be had with it, the cheapest one to trace.
    """
    # A set of pairs is the bits of a number, which are counted many times.
    bits: dict[frozenset[str], int] = {}
    left = {}
    for choice in legal_choices():
        pairs = map(frozenset, itertools.combinations(names_of(choice), 2))
        left[choice] = sum(1 << bits.setdefault(pair, len(bits)) for pair in pairs)
    kept = []
    while left:
        best = max(left, key=lambda choice: (choice.learner == first, left[choice].bit_count()))
        kept.append(best)
        found = left[best]
        left = {choice: rest for choice, own in left.items() if (rest := own & ~found)}
    return kept


def contract_choices() -> list[Choice]:
    """For every member a choice that has it, as plain as members go."""
    return list(dict.fromkeys(choice_with(axis, name) for axis in AXES for name in members(axis)))


def choice_with(axis: str, name: str) -> Choice:
    """A choice that has a member, as plain as members go."""
    return next(_around(axis, name))


def _around(axis: str, name: str) -> Iterator[Choice]:
    """Legal choices with a member, on images where its learner takes them."""
    learners = [name] if axis == "learner" else ["mlp", *members("learner")]
    both = ("query_loss", "co_learner")
    rules = ["gradient_descent", *members("rule")]
    orders = ("reverse", *members("hypergradient"))
    for learner, rule, terms, order in itertools.product(learners, rules, (both, both[:1]), orders):
        dataset = DATASETS[members("learner")[learner].traits["reads"][-1]]
        choice = Choice(dataset, learner, rule, "sgd", order, terms).with_members([(name, name)])
        if not members("rule")[choice.rule].traits["parts"]:
            choice = dataclasses.replace(choice, update=None, hypergradient=None)
        if name in names_of(choice) and _is_legal(choice):
            yield choice


def contract_case(choice: Choice) -> tuple[Method, Episode]:
    """The method of a choice and a meta-batch for it, every variable at a seeded random value, whatever Keras' floatx.

    Where the learner lets one choose, it is smooth and tiny; the rule's meta-gradient leaves nothing out.
    """
    smooth = {"learner.hidden": (4, 3), "learner.activation": "tanh", "objective.gamma": 0.7, "adaptation.rate": 0.3}
    keys = keys_of(choice)
    if "learner.hidden" in keys and not isinstance(keys["learner.hidden"].default, tuple):
        del smooth["learner.hidden"]
    exact = {f"adaptation.{name}": value for name, value in choice.members()["rule"].traits["exact"].items()}
    settings = dict(flatten(small(choice, **smooth, **exact).to_dict()))
    reads = choice.members()["learner"].traits["reads"]
    nodes, shape = "nodes" in reads, (2, 2, 1) if "numbers" in reads else IMAGE_SHAPE
    episode = node_episode() if nodes else classification_episode(shape=shape)
    given = Given(Classification(3), settings, () if nodes else shape, FEATURES if nodes else 0, CLASSES)
    method = assemble(choice, given)
    randomise(method.learner, 0)
    for seed, term in enumerate(method.terms, start=10):
        randomise(term.variables, seed)
    for position, variable in enumerate((*method.rule.meta_variables, *method.reducer.variables)):
        spread = np.linspace(1.0, 1.2, np.size(variable)).reshape(variable.shape)
        variable.assign(variable * (1.0 + 0.1 * (position + 1)) * spread)
    tasks = int(episode.support.targets.shape[0])
    return method, episode._replace(key=tf.constant([[0, number] for number in range(tasks)], tf.int64))
