"""Recipes of a notebook: a learner and a method by name and options, built when the data is known.

`conv4()` says which network and how wide; how many outputs it has and which images it reads follows from the ways and
the dataset that `cml_tf.FewShot` is given. Every member of an axis (docs/CONFIGURATION.md) can stand in a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

import cml_tf.adaptation
import cml_tf.learners
import cml_tf.objectives  # noqa: F401 - what these rooms hold registers when they are imported
from cml_tf.datasets import FewShotDataset, NodeDataset
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.problems import Problem
from cml_tf.registry import AXES, Choice, Given, Settings, faults_of, member, members
from cml_tf.training.assembly import assemble, co_learner_of
from cml_tf.training.method import Method

# A learner that has every option that an objective can ask of one.
_ANY_LEARNER = "conv4"
# Evaluation takes its number of steps when it is called.
_OF_CALLS = "adaptation.eval_steps"


@dataclass(frozen=True)
class LearnerRecipe:
    """A member of the axis of learners, with its options.

    Example:
      >>> cml_tf.conv4(filters=32).options["filters"]
      32

    Attributes:
      name: of the member.
      options: by name; others have their default.

    Raises:
      UserError: for an unknown name or option, or a value out of range.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _completed(Choice(learner=self.name), self.settings)

    @property
    def settings(self) -> Settings:
        """The options by dotted key."""
        return {f"learner.{name}": value for name, value in self.options.items()}

    def check_reads(self, dataset: FewShotDataset) -> None:
        """Raises UserError unless the learner reads examples as the dataset has them."""
        of_nodes = isinstance(dataset, NodeDataset)
        if of_nodes != ("nodes" in member("learner", self.name).traits["reads"]):
            told = "nodes of a graph: take cml_tf.gcn() or cml_tf.sgc()" if of_nodes else "no nodes of a graph"
            raise UserError(f"{self.name} cannot read the examples of {dataset.name!r}, which are {told}.")

    def co_learner(self, problem: Problem, blocks: int) -> keras.Layer:
        """The co-learner that belongs to this learner, with as many blocks where it has any."""
        settings = _completed(Choice(learner=self.name), self.settings)
        return co_learner_of(member("learner", self.name), Given(problem, settings))(blocks, False)


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
        settings = {**_completed(choice, self.settings), "dataset.name": "", "dataset.ways": 2}
        if found := faults_of(choice, settings):
            raise UserError(found[0])

    @property
    def has_co_learner(self) -> bool:
        """Whether one of the objectives is a co-learner's."""
        return any(one.traits["slot"] == "co_learner" for one in self.choice.objectives())

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
            if make is None and self.has_co_learner:
                raise UserError(
                    "a learner of your own needs a co-learner of your own: give cml_tf.cml(rate, co_learner=make), "
                    "where make(outputs) is a Keras layer that reads the learner's features."
                )
        settings = {**_completed(choice, {**self.settings, **own}), "dataset.name": dataset.name}
        if hasattr(problem, "ways"):
            settings["dataset.ways"] = problem.ways
        if found := faults_of(choice, settings):
            raise UserError(found[0])
        nodes = dataset.graph.features.shape[1] if isinstance(dataset, NodeDataset) else 0
        given = Given(problem, settings, tuple(dataset.input_shape), nodes)
        instead = None if make is None else lambda blocks, adapted: make(problem.outputs)
        return assemble(choice, given, built, instead)


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
    attribute_matching: bool = False,
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
    attribute_matching: bool = False,
    initialisation: str = "glorot_uniform",
) -> LearnerRecipe:
    """A linear layer on propagated features, for nodes of a graph; the options are those of `cml_tf.learners.sgc`.

    Example:
      >>> cml_tf.sgc(hops=3).options["hops"]
      3
    """
    return LearnerRecipe("sgc", dict(locals()))


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
    chosen: dict[str, Any] = {}
    terms = {"outer": "query_loss"}
    for name in names:
        axis = next((axis for axis in AXES if name in members(axis)), None)
        if axis in (None, "learner"):
            known = ", ".join(one for axis in AXES if axis != "learner" for one in members(axis))
            raise UserError(f"a method is made of {known}; received {name!r}.")
        if axis == "objective":
            terms[member(axis, name).traits["slot"] or name] = name
        elif axis is not None and chosen.setdefault(axis, name) != name:
            raise UserError(f"{chosen[axis]!r} and {name!r} are both of the axis {axis!r}: take one of them.")
    choice = Choice(**chosen, terms=tuple(terms.values()), learner=_ANY_LEARNER)
    not_options = {_OF_CALLS, *(place.path for place in AXES.values())}
    own = [key for key in choice.all_keys() if key not in not_options and not key.startswith("learner.")]
    keys = {key.rpartition(".")[2]: key for key in own}
    if unknown := sorted(options.keys() - keys.keys()):
        raise UserError(f"the options of this method are {', '.join(keys)}; received {unknown[0]!r}.")
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


def _completed(choice: Choice, settings: Settings) -> dict[str, Any]:
    """All settings of the members, checked: those given, and the others' defaults.

    Raises:
      UserError: for an option that no member has, or a value that is out of range.
    """
    keys = choice.all_keys()
    if unknown := sorted(settings.keys() - keys.keys()):
        raise UserError(f"{unknown[0]} is not an option of what is chosen, which are {', '.join(keys)}.")
    for key, value in settings.items():
        if wanted := keys[key].option.fault(value, keys[key].kind):
            raise UserError(f"{key.rpartition('.')[2]} must be {wanted}, received {value!r}.")
    return {"learner.dtype_policy": keras.config.dtype_policy().name} | {
        key: settings.get(key, described.default) for key, described in keys.items()
    }
