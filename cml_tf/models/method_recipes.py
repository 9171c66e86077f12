"""Recipes of methods: members of the axes but the learner's, with their options (docs/CONFIGURATION.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from cml_tf.datasets import FewShotDataset, NodeDataset
from cml_tf.datasets.base import check_integer
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.models.learner_recipes import LearnerRecipe, completed
from cml_tf.problems import Problem
from cml_tf.registry import AXES, Choice, Given, Settings, axis_of, faults_of, members
from cml_tf.training.assembly import assemble
from cml_tf.training.method import Method

# A learner that has every option that an objective can ask of one.
_ANY_LEARNER = "conv4"
# Evaluation takes its number of steps when it is called.
_OF_CALLS = "adaptation.eval_steps"


@dataclass(frozen=True)
class MethodRecipe:
    """How a learner adapts and what its outer loss is: members of the other axes, with their options.

    Example:
      >>> cml_tf.cml(rate=0.4).settings["objective.gamma"]
      1.0

    Attributes:
      choice: of members; its learner and dataset count for nothing.
      settings: options of the members, by dotted key; others have their default.
      make_co_learner: makes the co-learner from its number of outputs; None for that of the learner's kind.

    Raises:
      UserError: for an option that no chosen member has, a value out of range, or members that do not go together.
    """

    choice: Choice
    settings: Settings = field(default_factory=dict, hash=False)
    make_co_learner: Callable[[int], keras.Layer] | None = None

    def __post_init__(self) -> None:
        choice = replace(self.choice, learner=_ANY_LEARNER)
        # Which dataset it is for is not known yet.
        settings = {**completed(choice, self.settings), "dataset.name": "", "dataset.ways": 2}
        if found := faults_of(choice, settings):
            raise UserError(found[0])

    def build(self, learner: LearnerRecipe | Learner, dataset: FewShotDataset, problem: Problem) -> Method:
        """The method for the examples of a dataset.

        Raises:
          UserError: if the learner cannot read such examples, or parts do not go together.
        """
        make = self.make_co_learner
        if isinstance(learner, LearnerRecipe):
            learner.check_reads(dataset)
            choice, own, built = replace(self.choice, learner=learner.name), learner.settings, None
        else:
            choice, own, built = replace(self.choice, learner="mlp"), {}, learner
            if make is None and self.choice.has_co_learner:
                raise UserError(
                    "a learner of your own needs a co-learner of your own: pass cml_tf.cml(rate, co_learner=make), "
                    "where make(outputs) returns a Keras layer that reads the learner's features."
                )
        settings = {**completed(choice, {**self.settings, **own}), "dataset.name": dataset.name}
        if hasattr(problem, "ways"):
            settings["dataset.ways"] = problem.ways
        # Of a learner of one's own no key of a configuration says anything: rules look at it when they are built.
        found = [fault for fault in faults_of(choice, settings) if built is None or not fault.startswith("learner.")]
        if found:
            raise UserError(found[0])
        nodes = dataset.graph.features.shape[1] if isinstance(dataset, NodeDataset) else 0
        given = Given(problem, settings, tuple(dataset.input_shape), nodes, len(dataset.class_names("train")))
        instead = None if make is None else lambda blocks, adapted: make(problem.outputs)
        return assemble(choice, given, built, instead)


def method_of(*names: str, co_learner: Callable[[int], keras.Layer] | None = None, **options: Any) -> MethodRecipe:
    """Any members of the axes, by name, with their options: what `maml`, `cml` and the others are short for.

    Example:
      >>> cml_tf.method_of("kernel_ridge", ridge=0.01).settings
      {'adaptation.ridge': 0.01}
      >>> cml_tf.method_of("co_learner", "meta_sgd", rate=0.4, steps=5).choice.terms
      ('query_loss', 'co_learner')

    Args:
      *names: of members: of an axis that has none among them `gradient_descent`, `sgd`, `reverse`, `query_loss` and
        `mean` are taken, where there is such a choice.
      co_learner: makes the co-learner from its number of outputs; None for that of the learner's kind.
      **options: of these members.

    Raises:
      UserError: for an unknown name or option, or members that do not go together.
    """
    for name in names:
        if axis_of(name) in (None, "learner"):
            known = ", ".join(one for axis in AXES if axis != "learner" for one in members(axis))
            raise UserError(f"the parts of a method must be among {known}, received {name!r}.")
    if "steps" in options:
        check_integer("steps", options["steps"], minimum=1)
    choice = Choice(learner=_ANY_LEARNER).with_members((name, name) for name in names)
    not_options = {_OF_CALLS, *(place.path for place in AXES.values())}
    own = [key for key in choice.all_keys() if key not in not_options and not key.startswith("learner.")]
    keys = {key.rpartition(".")[2]: key for key in own}
    if unknown := sorted(options.keys() - keys.keys()):
        raise UserError(f"this method has no option {unknown[0]!r} (its options: {', '.join(keys)}).")
    return MethodRecipe(choice, {keys[name]: value for name, value in options.items()}, co_learner)


def maml(rate: float, *, steps: int = 1, first_order: bool = False, sharpness: float = 0.0) -> MethodRecipe:
    """MAML (Finn et al. 2017, arXiv 1703.03400).

    Example:
      >>> cml_tf.maml(rate=0.4, steps=5).settings["adaptation.steps"]
      5

    Args:
      rate: the inner rate.
      steps: inner steps.
      first_order: whether inner gradients are constants of the outer loop.
      sharpness: radius within which each inner gradient is taken at the worst point; 0 for none.
    """
    return method_of(*_order(first_order), rate=rate, steps=steps, sharpness=sharpness)


def cml(
    rate: float,
    *,
    gamma: float = 1.0,
    steps: int = 1,
    first_order: bool = False,
    sharpness: float = 0.0,
    update: str = "sgd",
    partition: str = "all",
    blocks: int | None = None,
    co_learner: Callable[[int], keras.Layer] | None = None,
) -> MethodRecipe:
    """Cooperative Meta-Learning (Shin et al. 2024, arXiv 2406.04639).

    Example:
      >>> cml_tf.cml(rate=0.4, gamma=0.5, partition="boil").settings["adaptation.partition"]
      'boil'

    Args:
      rate: the inner rate, or what learned ones start from.
      gamma: weight of the co-learner's loss.
      steps: inner steps.
      first_order: whether inner gradients are constants of the outer loop.
      sharpness: radius within which each inner gradient is taken at the worst point; 0 for none.
      update: a member of this axis, such as "meta_sgd".
      partition: what adapts: "all" or "boil" (the extractor).
      blocks: convolution blocks of the co-learner, on a convolutional learner; None for 2.
      co_learner: makes the co-learner from its number of outputs; None for that of the learner's kind.
    """
    options = {} if blocks is None else {"co_learner_blocks": blocks}
    return method_of(
        *("co_learner", update, *_order(first_order)),
        **{"rate": rate, "gamma": gamma, "steps": steps, "sharpness": sharpness, "partition": partition, **options},
        co_learner=co_learner,
    )


def anil(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """ANIL: only the head adapts (Raghu et al. 2020, arXiv 1909.09157).

    Example:
      >>> cml_tf.anil(rate=0.4).settings["adaptation.partition"]
      'anil'
    """
    return method_of(*_order(first_order), rate=rate, steps=steps, partition="anil")


def boil(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """BOIL: only the extractor adapts (Oh et al. 2021, arXiv 2008.08882).

    Example:
      >>> cml_tf.boil(rate=0.4).settings["adaptation.partition"]
      'boil'
    """
    return method_of(*_order(first_order), rate=rate, steps=steps, partition="boil")


def meta_sgd(rate: float, *, steps: int = 1, first_order: bool = False) -> MethodRecipe:
    """Meta-SGD: a learned inner rate for each parameter (Li et al. 2017, arXiv 1707.09835).

    Example:
      >>> cml_tf.meta_sgd(rate=0.4).choice.update
      'meta_sgd'
    """
    return method_of("meta_sgd", *_order(first_order), rate=rate, steps=steps)


def reptile(rate: float, *, steps: int = 5) -> MethodRecipe:
    """Reptile: the outer loop follows the adapted weights (Nichol et al. 2018, arXiv 1803.02999).

    Example:
      >>> cml_tf.reptile(rate=0.1).choice.terms
      ('reptile',)
    """
    return method_of("reptile", "first_order", rate=rate, steps=steps)


def _order(first_order: bool) -> tuple[str, ...]:
    return ("first_order",) if first_order else ()
