"""Recipes of a notebook: a learner and a method by name and options, built when the data is known.

`conv4()` says which network and how wide; how many outputs it has and which images it reads follows from the ways and
the dataset that `cml_tf.FewShot` is given. Each is thin over a builder of `cml_tf.learners` or over the axes' members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from cml_tf import learners
from cml_tf.adaptation import SGD, FirstOrder, GradientDescent, MetaSGD, PerStepRates, Reverse, UpdateRule
from cml_tf.adaptation import anil as only_head
from cml_tf.adaptation import boil as only_body
from cml_tf.datasets import FewShotDataset, NodeDataset
from cml_tf.datasets.base import check_integer
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.learners.co_learners import co_learner_of
from cml_tf.objectives import CoLearner, ObjectiveTerm, QueryLoss, Reptile
from cml_tf.problems import Problem

_OF_NODES = ("gcn", "sgc")
_UPDATES = ("sgd", "meta_sgd", "per_step_rates")
_PARTITIONS = ("all", "anil", "boil")


@dataclass(frozen=True)
class LearnerRecipe:
    """A builder of `cml_tf.learners` and its options.

    Example:
      >>> cml_tf.conv4(filters=32).options["filters"]
      32

    Attributes:
      name: of the builder.
      options: all of them, by name.
    """

    name: str
    options: Mapping[str, Any] = field(hash=False)

    def build(self, dataset: FewShotDataset, outputs: int, inner_steps: int = 1) -> Learner:
        """The learner for the examples of a dataset.

        Args:
          dataset: whose examples it reads.
          outputs: width of its head.
          inner_steps: of the method, for `normalisation="per_step"`.

        Raises:
          UserError: if it cannot read such examples, or an option is out of range.
        """
        of_nodes = isinstance(dataset, NodeDataset)
        if of_nodes != (self.name in _OF_NODES):
            told = "nodes of a graph: take cml_tf.gcn() or cml_tf.sgc()" if of_nodes else "no nodes of a graph"
            raise UserError(f"{self.name} cannot read the examples of {dataset.name!r}, which are {told}.")
        options = dict(self.options)
        if options.get("normalisation") == "per_step":
            options["steps"] = inner_steps
        shape = dataset.graph.features.shape[1] if isinstance(dataset, NodeDataset) else tuple(dataset.input_shape)
        return getattr(learners, self.name)(outputs, shape, **options)

    def co_learner(self, outputs: int, blocks: int) -> keras.Layer:
        """The co-learner that belongs to this learner."""
        return co_learner_of(self.name, outputs, self.options, blocks)


def conv4(
    *,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    extra_blocks: int = 0,
    head_blocks: int = 0,
    initialisation: str = "fan_in_uniform",
) -> LearnerRecipe:
    """Four convolution blocks, for images of at least 16x16; the options are those of `cml_tf.learners.conv4`.

    Example:
      >>> cml_tf.conv4(filters=32).name
      'conv4'
    """
    return LearnerRecipe("conv4", dict(locals()))


def resnet12(
    *, filters: int = 64, normalisation: str = "batch_transductive", initialisation: str = "fan_in_uniform"
) -> LearnerRecipe:
    """Four residual blocks, for images of at least 16x16; the options are those of `cml_tf.learners.resnet12`.

    Example:
      >>> cml_tf.resnet12().options["filters"]
      64
    """
    return LearnerRecipe("resnet12", dict(locals()))


def mlp(
    *, hidden: Sequence[int] = (40, 40), activation: str = "relu", initialisation: str = "glorot_uniform"
) -> LearnerRecipe:
    """Hidden layers on numbers or on flattened images; the options are those of `cml_tf.learners.mlp`.

    Example:
      >>> cml_tf.mlp(hidden=(80, 80)).options["hidden"]
      (80, 80)
    """
    return LearnerRecipe("mlp", dict(locals()))


def gcn(
    *,
    hidden: Sequence[int] = (16, 16),
    head: str = "linear",
    matching: bool = False,
    initialisation: str = "glorot_uniform",
) -> LearnerRecipe:
    """Graph convolutions, for nodes of a graph; the options are those of `cml_tf.learners.gcn`.

    Example:
      >>> cml_tf.gcn(head="prototypes").options["head"]
      'prototypes'
    """
    return LearnerRecipe("gcn", dict(locals()))


def sgc(
    *,
    hidden: int = 16,
    hops: int = 2,
    head: str = "linear",
    matching: bool = False,
    initialisation: str = "glorot_uniform",
) -> LearnerRecipe:
    """A linear layer on propagated features, for nodes of a graph; the options are those of `cml_tf.learners.sgc`.

    Example:
      >>> cml_tf.sgc(hops=3).options["hops"]
      3
    """
    return LearnerRecipe("sgc", dict(locals()))


@dataclass(frozen=True, kw_only=True)
class MethodRecipe:
    """How a learner adapts and what its outer loss is; `maml`, `cml` and the others make one.

    Example:
      >>> cml_tf.cml(rate=0.4).gamma
      1.0

    Attributes:
      rate: the inner rate, or what learned ones start from.
      steps: inner steps, at least 1.
      update: "sgd", "meta_sgd" (a learned rate for each parameter) or "per_step_rates" (for each step and tensor).
      partition: what adapts: "all", "anil" (the head) or "boil" (the extractor).
      first_order: whether inner gradients are constants of the outer loop.
      sharpness: radius within which each inner gradient is taken at the worst point; 0 for none.
      gamma: weight of the co-learner's loss; None for no co-learner.
      blocks: convolution blocks of the co-learner, on a convolutional learner.
      co_learner: makes the co-learner from its number of outputs; None for that of the learner's kind.
      reptile: whether the outer loop follows the adapted weights instead of the query loss.

    Raises:
      UserError: for a value that is out of range, or those that do not go together.
    """

    rate: float
    steps: int = 1
    update: str = "sgd"
    partition: str = "all"
    first_order: bool = False
    sharpness: float = 0.0
    gamma: float | None = None
    blocks: int = 2
    co_learner: Callable[[int], keras.Layer] | None = None
    reptile: bool = False

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=1)
        check_integer("blocks", self.blocks, minimum=0)
        _check_number("rate", self.rate, positive=True)
        _check_number("sharpness", self.sharpness)
        for name, choices in (("update", _UPDATES), ("partition", _PARTITIONS)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}, received {getattr(self, name)!r}.")
        if self.reptile and not (self.first_order and self.update == "sgd" and self.partition == "all"):
            raise UserError("reptile needs first_order, update 'sgd' and partition 'all': take cml_tf.reptile(rate).")
        if self.gamma is None:
            return
        _check_number("gamma", self.gamma)
        if self.partition == "anil":
            raise UserError(
                "partition must not be 'anil' with a co-learner, which would read features that do not adapt and could "
                "only guess: take 'all' or 'boil', or cml_tf.anil() without a co-learner."
            )

    def rule(self, problem: Problem) -> GradientDescent:
        """The adaptation rule; each call gives a new one."""
        hypergradient = FirstOrder() if self.first_order else Reverse()
        return GradientDescent(problem, self._updates(), self.steps, hypergradient, self.sharpness)

    def terms(self, problem: Problem, co_learner: keras.Layer | None) -> list[ObjectiveTerm]:
        """The terms of the outer loss, around a co-learner if this method has one."""
        terms: list[ObjectiveTerm] = [QueryLoss(problem, differentiated=not self.reptile)]
        if self.reptile:
            terms.append(Reptile())
        if co_learner is not None and self.gamma is not None:
            terms.append(CoLearner(co_learner, problem, weight=self.gamma))
        return terms

    def _updates(self) -> UpdateRule:
        rule: UpdateRule
        if self.update == "per_step_rates":
            rule = PerStepRates(self.rate, self.steps)
        else:
            rule = {"sgd": SGD, "meta_sgd": MetaSGD}[self.update](self.rate)
        return {"all": lambda rule: rule, "anil": only_head, "boil": only_body}[self.partition](rule)


def maml(rate: float, *, steps: int = 1, first_order: bool = False, sharpness: float = 0.0) -> MethodRecipe:
    """MAML (Finn et al. 2017, arXiv 1703.03400); see `MethodRecipe` for the options.

    Example:
      >>> cml_tf.maml(rate=0.4, steps=5).steps
      5
    """
    return MethodRecipe(rate=rate, steps=steps, first_order=first_order, sharpness=sharpness)


def cml(
    rate: float,
    *,
    gamma: float = 1.0,
    steps: int = 1,
    first_order: bool = False,
    sharpness: float = 0.0,
    update: str = "sgd",
    partition: str = "all",
    blocks: int = 2,
    co_learner: Callable[[int], keras.Layer] | None = None,
) -> MethodRecipe:
    """Cooperative Meta-Learning (Shin et al. 2024, arXiv 2406.04639); see `MethodRecipe` for the options.

    Example:
      >>> cml_tf.cml(rate=0.4, gamma=0.5, partition="boil").partition
      'boil'
    """
    return MethodRecipe(**locals())


def anil(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """ANIL: only the head adapts (Raghu et al. 2020, arXiv 1909.09157).

    Example:
      >>> cml_tf.anil(rate=0.4).partition
      'anil'
    """
    return MethodRecipe(rate=rate, steps=steps, first_order=first_order, partition="anil")


def boil(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """BOIL: only the extractor adapts (Oh et al. 2021, arXiv 2008.08882).

    Example:
      >>> cml_tf.boil(rate=0.4).partition
      'boil'
    """
    return MethodRecipe(rate=rate, steps=steps, first_order=first_order, partition="boil")


def meta_sgd(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """Meta-SGD: a learned inner rate for each parameter (Li et al. 2017, arXiv 1707.09835).

    Example:
      >>> cml_tf.meta_sgd(rate=0.4).update
      'meta_sgd'
    """
    return MethodRecipe(rate=rate, steps=steps, first_order=first_order, update="meta_sgd")


def reptile(rate: float, *, steps: int = 5) -> MethodRecipe:
    """Reptile: the outer loop follows the adapted weights (Nichol et al. 2018, arXiv 1803.02999).

    Example:
      >>> cml_tf.reptile(rate=0.1).first_order
      True
    """
    return MethodRecipe(rate=rate, steps=steps, first_order=True, reptile=True)


def _check_number(name: str, value: Any, positive: bool = False) -> None:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not sound or value < 0 or (positive and value == 0):
        wanted = "a positive number" if positive else "a number of 0 or more"
        raise UserError(f"{name} must be {wanted}, received {value!r}.")
