"""The co-learner of Cooperative Meta-Learning (Shin et al., UAI 2024, arXiv 2406.04639)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.example import called
from cml_tf.learners.layer_state import check_layer_state, threaded_variables
from cml_tf.learners.layers.heads import TwoHeads
from cml_tf.learners.learner import Learner, functional_call
from cml_tf.objectives.query_loss import QueryLoss, scored
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, Member, Settings, member, option, register, setting, variant


class CoLearner(ObjectiveTerm):
    """A second head phi on the adapted query features: `L(phi(psi'(x_query)), y)`.

    The inner loop neither sees nor changes phi. Its outer gradient with respect to the initial extractor is a learned
    noise that regularises the meta-gradient.

    Example:
      >>> term = CoLearner(keras.layers.Dense(2), cml_tf.Classification(2), weight=0.5)
      >>> term.build(learner)
      >>> sorted(term(outcome, term.variables).metrics)
      ['co_accuracy', 'co_loss']

    Args:
      layer: any Keras layer from the learner's features to outputs.
      problem: gives loss and metric.
      name: of the term and of its variable group.
      weight: gamma.
      trained: False makes it the paper's random-noise co-learner, which is never updated at all.
      prefix: before the names of the reported metrics.
    """

    layer: keras.Layer
    of_co_learner = True

    def __init__(
        self,
        layer: keras.Layer,
        problem: Problem,
        name: str = "co_learner",
        weight: Weight = 1.0,
        trained: bool = True,
        prefix: str = "co_",
    ) -> None:
        super().__init__(name, weight, trained)
        self.layer = layer
        self.problem = problem
        self.prefix = prefix

    def build(self, learner: Learner) -> None:
        """Builds phi on the learner's features."""
        if self.variables:
            return
        called("co-learner", self.layer, learner.example_features)
        check_layer_state(self.layer, learner.example_features)
        if any(threaded_variables(self.layer)):
            raise UserError(
                "a co-learner never sees a support set, so its layers cannot have state from one: use the "
                "normalisation mode batch_transductive in it."
            )
        self.variables = tuple(self.layer.trainable_variables)
        self.constants = tuple(self.layer.non_trainable_weights)

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The co-learner's loss on one task."""
        outputs = outcome.adapted.among_present(self.read(outcome.query_forward, values))
        return scored(self.problem, outputs, outcome.query.targets, self.prefix)

    def read(self, forward: tuple[Any, Any], values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Phi's outputs on the features."""
        return functional_call(self.layer, self.variables, values, (), forward[0], training=False)[0]


def _has_blocks(chosen: Mapping[str, Member]) -> bool:
    return bool(chosen["learner"].traits["blocks"])


@dataclass(frozen=True)
class AdaptedCoLearnerOptions:
    """Options of a co-learner that the inner loop adapts."""

    gamma: float = option(1.0, "weight of the co-learner's loss in the outer loss", least=0)
    co_learner_blocks: int = option(2, "convolution blocks of the co-learner", least=0, only=_has_blocks)


@dataclass(frozen=True)
class CoLearnerOptions(AdaptedCoLearnerOptions):
    """Options of co-learners."""

    co_learners: int = option(1, "number of co-learners, each with the weight gamma", least=1)


def _terms(options: CoLearnerOptions, given: Given, trained: bool) -> list[ObjectiveTerm]:
    return [
        CoLearner(
            given.parts["co_learner"](options.co_learner_blocks, adapted=False),
            given.problem,
            name="co_learner" if number == 1 else f"co_learner_{number}",
            weight=options.gamma,
            trained=trained,
            prefix="co_" if number == 1 else f"co_{number}_",
        )
        for number in range(1, options.co_learners + 1)
    ]


def _faults(settings: Settings) -> list[str]:
    learner, rule = member("learner", settings["learner.name"]), member("rule", settings["adaptation.rule"])
    if learner.traits["co_learner"] is None:
        return [f"objective.terms must not contain a co-learner with {learner.name}, which has none: use maml."]
    if "extractor" in rule.traits["adapts"](settings):
        return []
    adapted = settings.get("adaptation.partition", rule.name)
    return [
        "objective.terms must not contain a co-learner if the features do not adapt, since it could only guess, "
        f"received {adapted!r}: use maml, or cl if the head adapts."
    ]


@register("objective", "co_learner", CoLearnerOptions, slot="co_learner", faults=_faults)
def _co_learner(options: CoLearnerOptions, given: Given) -> list[ObjectiveTerm]:
    """A second head on the adapted query features, trained only by the outer loop (CML, arXiv 2406.04639)."""
    return _terms(options, given, trained=True)


@register("objective", "random_noise", CoLearnerOptions, slot="co_learner", faults=_faults)
def _random_noise(options: CoLearnerOptions, given: Given) -> list[ObjectiveTerm]:
    """A co-learner that is never trained: the paper's contrast."""
    return _terms(options, given, trained=False)


def _two_heads(options: AdaptedCoLearnerOptions, given: Given, learner: Learner) -> Learner:
    heads = TwoHeads(learner.head, given.parts["co_learner"](options.co_learner_blocks, adapted=True), name="head")
    return Learner(learner.extractor, heads, example_inputs=learner.example_inputs, context=learner.context)


def _adapted_faults(settings: Settings) -> list[str]:
    if "update" not in member("rule", settings["adaptation.rule"]).traits["parts"]:
        return [
            "adaptation.rule must be a rule with inner steps (gradient_descent) with cl, received "
            f"{settings['adaptation.rule']!r}."
        ]
    if "reptile" in settings["objective.terms"]:
        return ["objective.terms must not contain both cl and reptile, which has no second head."]
    if settings.get("learner.head") == "prototypes":
        return ["learner.head must be 'linear' with cl, since prototypes cannot be one of two heads."]
    return []


@register("objective", "cl", AdaptedCoLearnerOptions, slot="co_learner", extends=_two_heads, faults=_adapted_faults)
def _adapted(options: AdaptedCoLearnerOptions, given: Given) -> list[ObjectiveTerm]:
    """A co-learner that the inner loop adapts too, as a second head of the learner: the paper's contrast CL."""
    return [QueryLoss(given.problem, head=1, name="second_head", weight=options.gamma, prefix="co_")]


for _gamma in (0.2, 0.5, 0.8):
    variant(f"gamma_{round(10 * _gamma):02d}")(
        setting(f"Weight {_gamma} of the co-learner (paper, table 5).", objective__gamma=_gamma)
    )
for _blocks in range(5):
    variant(f"co_blocks_{_blocks}", only="images")(
        setting(f"Depth of the co-learner in blocks: {_blocks} (paper, table 8).", objective__co_learner_blocks=_blocks)
    )
