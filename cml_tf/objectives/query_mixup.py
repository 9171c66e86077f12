"""Query mixup: the outer loss on convex mixtures of a task's queries.

Details are ours, after the abstract of MetaMix (Chen et al.), whose paper could not be read. Queries (x, y) are paired
by a random permutation pi of the task; with lambda from Beta(concentration, concentration), one a pair,

    x~ = lambda x + (1 - lambda) x_pi,  y~ = lambda y + (1 - lambda) y_pi,

and the loss of the adapted learner is taken on (x~, y~). The inner loop sees the raw support set. What is drawn follows
from the episode's key alone, so that resumed trainings draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, member, option, register

# Draws of a task must differ from those of other terms with the same key.
_SALT = 0x3D1A


class QueryMixup(ObjectiveTerm):
    """Mean loss on mixed queries; nothing is reported: mixtures have no accuracy.

    Args:
      problem: gives the loss.
      concentration: of the Beta distribution, positive; small ones mix little.
      name: of the term.
      weight: in the outer loss.

    Raises:
      UserError: for a concentration that is not positive, and for inputs that cannot be mixed (whole numbers).
    """

    reported = False
    vectorisable = False

    def __init__(
        self, problem: Problem, concentration: float = 0.5, name: str = "query_mixup", weight: Weight = 1.0
    ) -> None:
        super().__init__(name, weight)
        if not concentration > 0:
            raise UserError(f"the concentration must be positive, received {concentration!r}: use 0.5, for example.")
        self.problem = problem
        self.concentration = concentration

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task."""
        targets = self.problem.as_vectors(outcome.query.targets, keras.config.floatx())
        shares, partners = self.drawn(outcome.key_of(_SALT), tf.shape(targets)[0])
        inputs = tf.nest.map_structure(lambda leaf: _mixed(leaf, shares, partners), outcome.query.inputs)
        _, outputs = outcome.adapted.predict(inputs)
        losses = self.problem.losses(tf.nest.flatten(outputs)[0], _mixed(targets, shares, partners))
        return TermLoss(tf.reduce_mean(losses), {})

    def drawn(self, key: tf.Tensor, count: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Shares `[count]` of each example in its mixture, and its partners `[count]`.

        Args:
          key: `[2]`, whole numbers.
          count: how many examples.
        """
        keys = tf.random.split(key, 3, alg="philox")
        # A Beta variable is one Gamma variable's share in the sum of two.
        first, second = (
            tf.random.stateless_gamma([count], one, alpha=self.concentration) for one in (keys[0], keys[1])
        )
        shares = tf.where(first + second > 0, first / tf.maximum(first + second, 1e-38), 0.5)
        return shares, tf.argsort(tf.random.stateless_uniform([count], keys[2], alg="philox"))


def _mixed(values: tf.Tensor, shares: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
    if not values.dtype.is_floating:
        raise UserError(
            f"mixed queries must be floats, received {values.dtype.name}: node or word numbers cannot be mixed."
        )
    own = tf.reshape(tf.cast(shares, values.dtype), [-1, *[1] * (values.shape.rank - 1)])
    return own * values + (1 - own) * tf.gather(values, partners)


@dataclass(frozen=True)
class QueryMixupOptions:
    """Options of query mixup."""

    mixup_share: float = option(1.0, "share of the loss on mixtures; the rest goes to the query loss", above=0, most=1)
    mixup_concentration: float = option(0.5, "concentration of the Beta distribution of mixing shares", above=0)


def _faults(settings: Settings) -> list[str]:
    if "nodes" in member("learner", settings["learner.name"]).traits["reads"]:
        return ["objective.terms must not contain 'query_mixup' on nodes of a graph, which cannot be mixed."]
    return []


@register("objective", "query_mixup", QueryMixupOptions, slot="outer", faults=_faults)
def _query_mixup(options: QueryMixupOptions, given: Given) -> list[ObjectiveTerm]:
    """The query loss on mixtures of queries (ours, after MetaMix)."""
    share = options.mixup_share
    plain = QueryLoss(given.problem, weight=1 - share if share < 1 else 1.0, differentiated=share < 1)
    return [plain, QueryMixup(given.problem, options.mixup_concentration, weight=share)]
