"""Rules, terms and learners in forms that registered members do not come in; those are in `members.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD, Partition, PerStepRates, UpdateRule, anil, boil
from cml_tf.episodes import Episode
from cml_tf.learners import Learner
from cml_tf.learners.normalisation.mode import MODES
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


class RuleRow(NamedTuple):
    """Makes an update rule; the groups that adaptation changes, and those whose inner rates are meta-learned."""

    make: Callable[[], UpdateRule]
    moves: tuple[str, ...]
    rated: tuple[str, ...] = ()


BOTH = ("extractor", "head")
UPDATE_RULES = {
    "sgd": RuleRow(lambda: SGD(RATE), BOTH),
    "meta_sgd": RuleRow(lambda: MetaSGD(RATE), BOTH, BOTH),
    "anil_sgd": RuleRow(lambda: anil(SGD(RATE)), ("head",)),
    "anil_meta_sgd": RuleRow(lambda: anil(MetaSGD(RATE)), ("head",), ("head",)),
    "boil_sgd": RuleRow(lambda: boil(SGD(RATE)), ("extractor",)),
    "boil_meta_sgd": RuleRow(lambda: boil(MetaSGD(RATE)), ("extractor",), ("extractor",)),
    "per_step_rates": RuleRow(lambda: PerStepRates(RATE, UNUSUAL), BOTH, BOTH),
    "anil_per_step_rates": RuleRow(lambda: anil(PerStepRates(RATE, UNUSUAL)), ("head",), ("head",)),
    "a_rule_for_each": RuleRow(lambda: Partition(MetaSGD(RATE), MetaSGD(0.2)), BOTH, BOTH),
    "frozen": RuleRow(Partition, ()),
}


def _with_co_learners(problem: Problem, *others: ObjectiveTerm) -> list[ObjectiveTerm]:
    return [QueryLoss(problem), smooth_co_learner(problem), *others]


TERMS: dict[str, Callable[[Problem], list[ObjectiveTerm]]] = {
    "query_loss": lambda problem: [QueryLoss(problem)],
    "co_learner": _with_co_learners,
    "two_co_learners": lambda problem: _with_co_learners(
        problem, smooth_co_learner(problem, name="second_co_learner", weight=0.3, prefix="second_co_")
    ),
    "cl": lambda problem: [
        QueryLoss(problem),
        QueryLoss(problem, head=1, name="second_head", weight=0.7, prefix="second_"),
    ],
    # At outer step 0 each of two weighs a half.
    "multi_step": lambda problem: [*multi_step_terms(problem, 2, until=4), smooth_co_learner(problem)],
    "query_mixup": lambda problem: [QueryLoss(problem, weight=0.4), QueryMixup(problem, weight=0.6)],
}


class LearnerRow(NamedTuple):
    """Makes a learner, every variable of it at a seeded random value, and its meta-batches of a seed and a number."""

    make: Callable[[], Learner]
    episode: Callable[[int, int], Episode]


def _arrays(shape: tuple[int, ...]) -> Callable[[int, int], Episode]:
    return lambda seed, tasks: classification_episode(seed, tasks=tasks, shape=shape)


def _tokens(seed: int, tasks: int) -> Episode:
    """The numbers of `_arrays`, made whole and kept within the table."""
    parts = [
        part._replace(inputs=tf.cast(tf.math.floormod(10.0 * part.inputs, TOKENS), tf.int32))
        for part in _arrays(TOKENS_SHAPE)(seed, tasks)[:2]
    ]
    return Episode(*parts)


LEARNERS = {
    "mlp": LearnerRow(smooth_mlp, _arrays(MLP_SHAPE)),
    "conv": LearnerRow(smooth_conv, _arrays(CONV_SHAPE)),
    **{
        f"{name}_normalisation": LearnerRow(
            lambda name=name, mode=mode: smooth_conv(mode=name, steps=2 if mode.counts_steps else 1),
            _arrays(CONV_SHAPE),
        )
        for name, mode in MODES.items()
        if name != "batch_transductive"  # "conv"
    },
    "residual": LearnerRow(residual_block, _arrays(CONV_SHAPE)),
    "embedding": LearnerRow(embedding, _tokens),
    "recurrent": LearnerRow(recurrent, _arrays(SERIES_SHAPE)),
    "gcn": LearnerRow(random_gcn, node_episode),
    "sgc": LearnerRow(random_sgc, node_episode),
}


def with_learners(first: str, learners: Sequence[str], *others: str) -> list[tuple[str, str]]:
    """For `pytest.mark.parametrize`: the first with learners, the others with the perceptron."""
    return [*((first, learner) for learner in learners), *((other, "mlp") for other in others)]


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
