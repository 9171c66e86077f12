"""Query mixup: the outer loss on convex mixtures of a task's queries.

Details are ours, after the abstract of MetaMix (Chen et al.), whose paper could not be read; not a reproduction of it.
Queries (x, y) are paired by a random permutation pi of the task; with lambda from Beta(concentration, concentration),
one a pair,

    x~ = lambda x + (1 - lambda) x_pi,  y~ = lambda y + (1 - lambda) y_pi,

and the loss of the adapted learner is taken on (x~, y~). What is mixed is the input, or what the head reads (`hidden`).
The abstract also speaks of consistency, which may mean another loss: with p for the predictions,

    |p(x~) - stop(lambda p(x) + (1 - lambda) p(x_pi))|^2.

The inner loop sees the raw support set. What is drawn follows from the episode's key alone, so that resumed trainings
draw the same, and has no gradient. Layers that normalise by their batch see mixtures without raw queries among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, member, option, register, setting, variant

# Draws of a task must differ from those of other terms with the same key.
_SALT = 0x3D1A
MIXED = ("input", "hidden")
LOSSES = ("targets", "consistency")


class QueryMixup(ObjectiveTerm):
    """Mean loss on mixed queries; nothing is reported: mixtures have no accuracy.

    Example:
      >>> problem = cml_tf.Classification(5)
      >>> terms = [QueryLoss(problem, weight=0.5), QueryMixup(problem, mix="hidden", weight=0.5)]

    Args:
      problem: gives the loss.
      concentration: of the Beta distribution, positive; small ones mix little.
      mix: what is mixed: "input", or "hidden", the features between the learner's extractor and its head.
      loss: "targets" compares with mixed targets, "consistency" with mixed predictions, which are constants.
      name: of the term.
      weight: in the outer loss.

    Raises:
      UserError: for a concentration that is not positive, or another word; and, when it is called, for inputs that
        cannot be mixed (whole numbers).
    """

    reported = False
    vectorisable = False

    def __init__(
        self,
        problem: Problem,
        concentration: float = 0.5,
        mix: str = "input",
        loss: str = "targets",
        name: str = "query_mixup",
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(name, weight)
        if not concentration > 0:
            raise UserError(f"the concentration must be positive, received {concentration!r}: use 0.5, for example.")
        for what, value, known in (("mix", mix, MIXED), ("loss", loss, LOSSES)):
            if value not in known:
                raise UserError(f"{what} must be one of {', '.join(known)}, received {value!r}.")
        self.problem = problem
        self.concentration = concentration
        self.mix = mix
        self.loss = loss

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task."""
        targets = self.problem.as_vectors(outcome.query.targets, keras.config.floatx())
        drawn = self.drawn(outcome.key_of(_SALT), tf.shape(targets)[0])
        outputs = self._outputs(outcome, *drawn)
        if self.loss == "targets":
            losses = self.problem.losses(outputs, _mixed(targets, *drawn))
        else:
            raw = self.problem.predictions(_first(outcome.query_forward[1]))
            wanted = tf.stop_gradient(_mixed(raw, *drawn))
            losses = tf.reduce_sum(tf.square(self.problem.predictions(outputs) - wanted), -1)
        return TermLoss(tf.reduce_mean(losses), {})

    def _outputs(self, outcome: TaskOutcome, shares: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
        """What the adapted learner gives for the mixtures."""
        raw = outcome.query.inputs if self.mix == "input" else outcome.query_forward[0]
        mixtures = tf.nest.map_structure(lambda leaf: _mixed(leaf, shares, partners), raw)
        if self.mix == "hidden":
            return _first(outcome.adapted.answer(mixtures))
        return _first(outcome.adapted.predict(mixtures)[1])

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
        # TensorFlow gives the least number of the format for all that are smaller. Two of those say nothing of their
        # share, but that it is all but 0 or 1.
        lost = tf.maximum(first, second) <= np.finfo(first.dtype.as_numpy_dtype).tiny
        coin = tf.random.stateless_uniform([count], tf.random.fold_in(keys[0], 0, alg="philox"), alg="philox") < 0.5
        shares = tf.where(lost, tf.cast(coin, first.dtype), first / tf.maximum(first + second, 1e-38))
        return shares, tf.argsort(tf.random.stateless_uniform([count], keys[2], alg="philox"))


def _first(outputs: Any) -> tf.Tensor:
    """The outputs of the learner's (first) head."""
    return tf.nest.flatten(outputs)[0]


def _mixed(values: tf.Tensor, shares: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
    if not values.dtype.is_floating:
        raise UserError(
            f"mixed queries must be floats, received {values.dtype.name}: set mix to 'hidden', which mixes "
            "the features of nodes or words."
        )
    own = tf.reshape(tf.cast(shares, values.dtype), [-1, *[1] * (values.shape.rank - 1)])
    return own * values + (1 - own) * tf.gather(values, partners)


@dataclass(frozen=True)
class QueryMixupOptions:
    """Options of query mixup."""

    mixup_share: float = option(1.0, "share of the loss on mixtures; the rest goes to the query loss", above=0, most=1)
    mixup_concentration: float = option(0.5, "concentration of the Beta distribution of mixing shares", above=0)
    mixup_mix: str = option("input", "what is mixed: inputs, or the features that the head reads", choices=MIXED)
    mixup_loss: str = option(
        "targets", "what mixtures are compared with: mixed targets, or mixed predictions", choices=LOSSES
    )


def _faults(settings: Settings) -> list[str]:
    faults = []
    nodes = "nodes" in member("learner", settings["learner.name"]).traits["reads"]
    if nodes and settings["objective.mixup_mix"] == "input":
        faults.append(
            "objective.mixup_mix must be 'hidden' with 'query_mixup' on nodes of a graph, whose numbers cannot be "
            "mixed, received 'input': set it to 'hidden', which mixes their features."
        )
    rule = settings["adaptation.rule"]
    if settings["objective.mixup_mix"] == "hidden" and not member("rule", rule).traits["answers_features"]:
        faults.append(
            f"objective.mixup_mix must be 'input' with {rule}, whose tasks do not answer from features alone, received "
            "'hidden'."
        )
    if settings["objective.mixup_loss"] == "consistency" and settings["objective.mixup_share"] == 1:
        faults.append(
            "objective.mixup_share must be below 1 with the loss 'consistency', which sees no targets, received "
            f"{settings['objective.mixup_share']!r}: use 0.5, for example."
        )
    return faults


@register("objective", "query_mixup", QueryMixupOptions, slot="outer", faults=_faults)
def _query_mixup(options: QueryMixupOptions, given: Given) -> list[ObjectiveTerm]:
    """The query loss on mixtures of queries (ours, after MetaMix)."""
    share = options.mixup_share
    plain = QueryLoss(given.problem, weight=1 - share, differentiated=share < 1)
    numbers = options.mixup_concentration, options.mixup_mix, options.mixup_loss
    return [plain, QueryMixup(given.problem, *numbers, weight=share)]


variant("hidden_mixup", chooses=("query_mixup",))(
    setting("Query mixup of the features that the head reads.", objective__mixup_mix="hidden")
)
variant("consistent_mixup", chooses=("query_mixup",))(
    setting(
        "Query mixup with half the loss on agreement with mixed predictions.",
        objective__mixup_loss="consistency",
        objective__mixup_share=0.5,
    )
)
