"""Rules, terms and learners in forms that registered members do not come in; those are in `members.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, PerStepRates, UpdateRule, anil, boil
from cml_tf.episodes import Episode
from cml_tf.learners import Learner
from cml_tf.objectives import ObjectiveTerm, QueryLoss, QueryMixup, multi_step_terms
from cml_tf.problems import Classification, Problem
from cml_tf.training.method import Method
from tests.helpers.models import (
    CONV_SHAPE,
    MLP_SHAPE,
    SERIES_SHAPE,
    TOKENS,
    TOKENS_SHAPE,
    embedding,
    randomise,
    recurrent,
    residual_block,
    smooth_co_learner,
    smooth_conv,
    smooth_mlp,
    two_headed,
)
from tests.helpers.nodes import node_episode, random_gcn, random_sgc
from tests.helpers.seeded_episodes import classification_episode

PROBLEM = Classification(3)
RATE = 0.3
# As many steps with rates of their own as no parameter has entries.
UNUSUAL = 7


@dataclass(frozen=True)
class RuleRow:
    """An update rule and what is known about it.

    Attributes:
      make: makes the rule.
      moves: the groups that adaptation changes.
      rated: the groups whose inner rates are meta-learned.
    """

    make: Callable[[], UpdateRule]
    moves: tuple[str, ...]
    rated: tuple[str, ...] = ()


UPDATE_RULES = {
    "sgd": RuleRow(lambda: SGD(RATE), ("extractor", "head")),
    "meta_sgd": RuleRow(lambda: MetaSGD(RATE), ("extractor", "head"), ("extractor", "head")),
    "anil_sgd": RuleRow(lambda: anil(SGD(RATE)), ("head",)),
    "anil_meta_sgd": RuleRow(lambda: anil(MetaSGD(RATE)), ("head",), ("head",)),
    "boil_sgd": RuleRow(lambda: boil(SGD(RATE)), ("extractor",)),
    "boil_meta_sgd": RuleRow(lambda: boil(MetaSGD(RATE)), ("extractor",), ("extractor",)),
    "per_step_rates": RuleRow(lambda: PerStepRates(RATE, UNUSUAL), ("extractor", "head"), ("extractor", "head")),
    "anil_per_step_rates": RuleRow(lambda: anil(PerStepRates(RATE, UNUSUAL)), ("head",), ("head",)),
    "a_rule_for_each": RuleRow(
        lambda: Partition(MetaSGD(RATE), MetaSGD(0.2)), ("extractor", "head"), ("extractor", "head")
    ),
    "frozen": RuleRow(Partition, ()),
}


def _query_loss(problem: Problem) -> list[ObjectiveTerm]:
    return [QueryLoss(problem)]


def _co_learner(problem: Problem) -> list[ObjectiveTerm]:
    return [QueryLoss(problem), smooth_co_learner(problem)]


def _two_co_learners(problem: Problem) -> list[ObjectiveTerm]:
    second = smooth_co_learner(problem, name="second_co_learner", weight=0.3, prefix="second_co_")
    return [*_co_learner(problem), second]


def _both_heads(problem: Problem) -> list[ObjectiveTerm]:
    return [QueryLoss(problem), QueryLoss(problem, head=1, name="second_head", weight=0.7, prefix="second_")]


def _multi_step(problem: Problem) -> list[ObjectiveTerm]:
    # At outer step 0 each of two weighs a half.
    return [*multi_step_terms(problem, 2, until=4), smooth_co_learner(problem)]


def _query_mixup(problem: Problem) -> list[ObjectiveTerm]:
    return [QueryLoss(problem, weight=0.4), QueryMixup(problem, weight=0.6)]


TERMS = {
    "query_loss": _query_loss,
    "co_learner": _co_learner,
    "two_co_learners": _two_co_learners,
    "cl": _both_heads,
    "multi_step": _multi_step,
    "query_mixup": _query_mixup,
}


@dataclass(frozen=True)
class LearnerRow:
    """A learner, and meta-batches for it.

    Attributes:
      make: makes the learner, every variable of it at a seeded random value.
      episode: of a seed and a number of tasks.
    """

    make: Callable[[], Learner]
    episode: Callable[[int, int], Episode]


def _arrays(shape: tuple[int, ...]) -> Callable[[int, int], Episode]:
    return lambda seed, tasks: classification_episode(seed, tasks=tasks, shape=shape)


def _tokens(seed: int, tasks: int) -> Episode:
    """The numbers of `_arrays`, made whole and kept within the table."""
    episode = _arrays(TOKENS_SHAPE)(seed, tasks)
    parts = [
        part._replace(inputs=tf.cast(tf.math.floormod(10.0 * part.inputs, TOKENS), tf.int32))
        for part in (episode.support, episode.query)
    ]
    return Episode(*parts)


LEARNERS = {
    "mlp": LearnerRow(smooth_mlp, _arrays(MLP_SHAPE)),
    "conv": LearnerRow(smooth_conv, _arrays(CONV_SHAPE)),
    "per_step_normalisation": LearnerRow(lambda: smooth_conv(mode="per_step", steps=2), _arrays(CONV_SHAPE)),
    "residual": LearnerRow(residual_block, _arrays(CONV_SHAPE)),
    "embedding": LearnerRow(embedding, _tokens),
    "recurrent": LearnerRow(recurrent, _arrays(SERIES_SHAPE)),
    "gcn": LearnerRow(random_gcn, node_episode),
    "sgc": LearnerRow(random_sgc, node_episode),
}


# For `pytest.mark.parametrize`: those that take long are left out of the default run.
SLOW_LEARNERS = ("residual", "recurrent", "embedding")
LEARNER_CASES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_LEARNERS)) for name in LEARNERS]


def with_learners(first: str, *others: str) -> list[Any]:
    """For `pytest.mark.parametrize`: the first with every learner, the others with the perceptron and the conv net."""
    rows = [
        pytest.param(first, *case.values, marks=case.marks, id=f"{first}-{case.values[0]}") for case in LEARNER_CASES
    ]
    return rows + [(other, learner) for other in others if other != first for learner in ("mlp", "conv")]


def make_method(rule: str = "sgd", terms: str = "co_learner", learner: str = "mlp", steps: int = 2) -> Method:
    """A method from the tables, every variable of it at a seeded random value."""
    made = LEARNERS[learner].make()
    if terms == "cl":
        made = two_headed(made)
    descent = GradientDescent(PROBLEM, UPDATE_RULES[rule].make(), steps)
    method = Method.of(made, descent, TERMS[terms](PROBLEM))
    for seed, term in enumerate(method.terms, start=10):
        randomise(term.variables, seed)
    for position, rates in enumerate(method.rule.meta_variables):
        spread = np.linspace(1.0, 1.2, np.size(rates)).reshape(rates.shape)
        rates.assign(rates * (1.0 + 0.1 * (position + 1)) * spread)
    return method


def make_episode(learner: str = "mlp", seed: int = 0, tasks: int = 2) -> Episode:
    """A meta-batch for that learner."""
    key = tf.constant([[seed, number] for number in range(tasks)], tf.int64)
    return LEARNERS[learner].episode(seed, tasks)._replace(key=key)
