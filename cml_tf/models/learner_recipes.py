"""Recipes of learners: a network and its options, built when the data is known.

`conv4()` says which network and how wide; how many outputs it has and which images it reads follows from the ways and
the dataset that `cml_tf.FewShot` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

import cml_tf.adaptation
import cml_tf.learners
import cml_tf.objectives  # noqa: F401 - what these rooms hold registers when they are imported
from cml_tf.datasets import FewShotDataset, NodeDataset
from cml_tf.errors import UserError
from cml_tf.problems import Problem
from cml_tf.registry import Choice, Given, Settings, member
from cml_tf.training.assembly import co_learner_of


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
        completed(Choice(learner=self.name), self.settings)

    @property
    def settings(self) -> Settings:
        """The options by dotted key."""
        return {f"learner.{name}": value for name, value in self.options.items()}

    def check_reads(self, dataset: FewShotDataset) -> None:
        """Raises UserError unless the learner reads examples as the dataset has them."""
        of_nodes = isinstance(dataset, NodeDataset)
        if of_nodes != ("nodes" in member("learner", self.name).traits["reads"]):
            kind = "nodes of a graph" if of_nodes else "not nodes of a graph"
            remedy = "cml_tf.gcn() or cml_tf.sgc()" if of_nodes else "cml_tf.conv4() for images, or cml_tf.mlp()"
            raise UserError(
                f"{self.name} cannot read the examples of {dataset.name!r}, which are {kind}: use {remedy}."
            )

    def co_learner(self, problem: Problem, blocks: int) -> keras.Layer:
        """The co-learner that belongs to this learner, with as many blocks where it has any."""
        settings = completed(Choice(learner=self.name), self.settings)
        return co_learner_of(member("learner", self.name), Given(problem, settings))(blocks, False)


def conv4(
    *,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    extra_blocks: int = 0,
    head_blocks: int = 0,
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> LearnerRecipe:
    """Four convolution blocks, for images of at least 16x16; the options are those of `cml_tf.learners.conv4`.

    Example:
      >>> cml_tf.conv4(filters=32).name
      'conv4'
    """
    return LearnerRecipe("conv4", dict(locals()))


def resnet12(
    *,
    filters: int = 64,
    normalisation: str = "batch_transductive",
    initialisation: str = "fan_in_uniform",
    groups: int = 8,
) -> LearnerRecipe:
    """Four residual blocks, for images of at least 16x16; the options are those of `cml_tf.learners.resnet12`.

    Example:
      >>> cml_tf.resnet12().options["filters"]
      64
    """
    return LearnerRecipe("resnet12", dict(locals()))


def mlp(
    *,
    hidden: Sequence[int] = (40, 40),
    activation: str = "relu",
    initialisation: str = "glorot_uniform",
    normalisation: str = "none",
    groups: int = 8,
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
    normalisation: str = "none",
    groups: int = 8,
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


def completed(choice: Choice, settings: Settings) -> dict[str, Any]:
    """All settings of the members, checked: those given, and the others' defaults.

    Raises:
      UserError: for an option that no member has, or a value that is out of range.
    """
    keys = choice.all_keys()
    if unknown := sorted(settings.keys() - keys.keys()):
        raise UserError(f"the chosen members have no option {unknown[0]} (their options: {', '.join(keys)}).")
    for key, value in settings.items():
        if wanted := keys[key].option.fault(value, keys[key].kind):
            raise UserError(f"{key.rpartition('.')[2]} must be {wanted}, received {value!r}.")
    return {"learner.dtype_policy": keras.config.dtype_policy().name} | {
        key: settings.get(key, described.default) for key, described in keys.items()
    }
