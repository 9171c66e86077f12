"""The axes, and their members by name: what registers, and what is given to the builder of a member."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cml_tf.errors import UserError
from cml_tf.problems import Problem

Settings = Mapping[str, Any]
"""A configuration by dotted key, such as `adaptation.rate`."""


class ConfigurationError(UserError):
    """A configuration that cannot be run.

    Example:
      >>> try:
      ...     member("update", "adam")
      ... except ConfigurationError as error:
      ...     print(error)
      adaptation.update must be one of context_scaling, meta_sgd, per_step_rates, sgd, received 'adam'. ...
    """


@dataclass(frozen=True)
class Axis:
    """Where a configuration says which member of an axis is chosen.

    Example:
      >>> AXES["update"].path
      'adaptation.update'

    Attributes:
      section: of the configuration that holds the name and the options of the chosen members.
      key: within the section, that holds the name (of objectives: the names).
      traits: what members may say of themselves besides, with what holds where they say nothing.
    """

    section: str
    key: str
    traits: Settings = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The dotted key."""
        return f"{self.section}.{self.key}" if self.section else self.key


_OF_LEARNERS = {
    # Kinds of examples: numbers, images, nodes.
    "reads": (),
    # Makes the co-learner that belongs to it, from its options, what is given, how many blocks, and whether the inner
    # loop adapts it.
    "co_learner": None,
    # Whether its co-learner has convolution blocks.
    "blocks": False,
    # Whether a normalisation follows each of its convolutions, so that the length of a kernel says nothing, unless its
    # mode is one that leaves lengths as they are.
    "normalised": False,
    # How far the features of a graph are propagated before it sees them, given the settings.
    "hops": lambda settings: 0,
}
_OF_RULES = {
    # Axes whose members it is made of.
    "parts": (),
    # Groups of the learner's parameters, `extractor` and `head`, that a task has of its own, given the settings.
    "adapts": lambda settings: frozenset(),
    # Whether it answers through the learner's head.
    "head": True,
    # Whether its tasks take a number of steps, which an evaluation may change (`AdaptationRule.with_steps`).
    "steps": False,
    # Whether its inner steps can be looked at one by one.
    "path": False,
    # Whether classes without a support example are left out, so that tasks may have any number of them.
    "any_ways": lambda settings: False,
    # Whether it adapts to the queries too, given the settings.
    "transductive": lambda settings: False,
    # Whether a task answers from the features alone (`AdaptedTask.answer`).
    "answers_features": True,
    # Options under which it leaves nothing out of the meta-gradient, which tests compare with differences then.
    "exact": MappingProxyType({}),
}
_OF_HYPERGRADIENTS = {
    # Whether derivatives are of second order.
    "second_order": True,
    # Whether the inner loop leaves its iterates behind.
    "path": True,
}
_OF_UPDATES = {
    # Whether it has variables of its own, which the outer loop learns.
    "learned": False,
    # Whether a step depends on those before it in the episode (counters, momenta).
    "remembers": False,
}
_OF_OBJECTIVES = {
    # Members of one slot take each other's place; exactly one of the slot "outer" is chosen.
    "slot": None,
    # Makes another learner of the one that there is, from its options, what is given, and that learner.
    "extends": None,
    # Whether its outer gradient is that of a query loss through the inner loop, which an analysis compares with that of
    # a co-learner's.
    "query_gradient": True,
}
AXES: Mapping[str, Axis] = MappingProxyType(
    {
        "learner": Axis("learner", "name", _OF_LEARNERS),
        "rule": Axis("adaptation", "rule", _OF_RULES),
        "update": Axis("adaptation", "update", _OF_UPDATES),
        "hypergradient": Axis("hypergradient", "name", _OF_HYPERGRADIENTS),
        "objective": Axis("objective", "terms", _OF_OBJECTIVES),
        "reducer": Axis("objective", "reducer"),
    }
)
"""By name: what a configuration chooses. Of objectives several can be chosen; of every other axis one."""

_OF_READOUTS = {
    # Whether it is what the learner's head gives that adapted, so that models with it can be saved and exported.
    "through_head": False,
    # Whether there must be a co-learner, so that runs without one are not scored through it.
    "needs_co_learner": False,
}
AFTER_TRAINING: Mapping[str, Axis] = MappingProxyType(
    {
        "readout": Axis("", "readout", _OF_READOUTS),
        "calibration": Axis("", "calibration"),
        "open_set": Axis("", "open_set"),
    }
)
"""Axes of what is chosen when a trained model is used, by flags such as `--readout`, and not by configurations."""
_ALL = {**AXES, **AFTER_TRAINING}


@dataclass(frozen=True)
class Given:
    """What a builder may use besides its options.

    Example:
      >>> Given(cml_tf.Classification(5), {}, head=False).outputs is None
      True

    Attributes:
      problem: what is learned.
      settings: the whole configuration by dotted key; keys of members that are not chosen are not there.
      input_shape: of one example; empty for nodes.
      node_features: how many features a node has; 0 where examples are no nodes.
      classes: how many training classes the dataset has; 0 where that is not known.
      restored: whether all variables will be given the values of a checkpoint.
      steps: inner steps in training; 0 for a rule without.
      head: whether the learner is to have a head of its own.
      parts: what is built already, by axis. `learner` and `rule` are there for objectives, `update` and `hypergradient`
        for rules that are made of them; `co_learner(blocks, adapted)` makes the learner's co-learner.
    """

    problem: Problem
    settings: Settings
    input_shape: tuple[int, ...] = ()
    node_features: int = 0
    classes: int = 0
    restored: bool = False
    steps: int = 0
    head: bool = True
    parts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outputs(self) -> int | None:
        """How wide the learner's head is; None for a learner without."""
        return self.problem.outputs if self.head else None


@dataclass(frozen=True)
class Member:
    """One choice on an axis; made by `register`.

    Example:
      >>> members("hypergradient")["reverse"].summary
      'Exact, by reverse mode through every inner step (arXiv 1703.03400).'

    Attributes:
      axis: of `AXES` or `AFTER_TRAINING`.
      name: what configurations call it, and the word that chooses it.
      options: a frozen dataclass, each field made by `option`.
      build: makes the member from its options and a `Given`. The first line of its docstring is the member's summary.
      faults: says of a whole configuration, by dotted key, why this member cannot be part of it.
      smoke: values of options that make it small, for tests.
      traits: what else it says of itself, by `Axis.traits`.
    """

    axis: str
    name: str
    options: type
    build: Callable[[Any, Given], Any]
    faults: Callable[[Settings], Iterable[str]]
    smoke: Settings
    traits: Settings

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return (self.build.__doc__ or "").strip().splitlines()[0]

    def chosen_options(self, settings: Settings) -> Any:
        """Its options, as a configuration has them."""
        section = _ALL[self.axis].section
        names = [one.name for one in dataclasses.fields(self.options)]
        found = {name: settings[key] for name in names if (key := f"{section}.{name}") in settings}
        return self.options(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})

    def make(self, given: Given) -> Any:
        """Builds it, with its options as the settings have them."""
        return self.build(self.chosen_options(given.settings), given)


_MEMBERS: dict[str, dict[str, Member]] = {axis: {} for axis in _ALL}


@dataclass(frozen=True)
class NoOptions:
    """The options of a member that has none.

    Example:
      >>> member("hypergradient", "reverse").options()
      NoOptions()
    """


def register(
    axis: str,
    name: str,
    options: type = NoOptions,
    *,
    faults: Callable[[Settings], Iterable[str]] = lambda settings: (),
    smoke: Settings = MappingProxyType({}),
    **traits: Any,
) -> Callable[[Callable[[Any, Given], Any]], Callable[[Any, Given], Any]]:
    """Registers the builder that it decorates.

    Example:
      >>> from cml_tf.registry import member
      >>> member("update", "meta_sgd").axis
      'update'

    Args:
      axis: of `AXES` or `AFTER_TRAINING`.
      name: letters, digits and underscores; no other member that a configuration may choose can have it, nor another
        one of the same axis.
      options: a frozen dataclass whose fields are made by `option`.
      faults: of `Member`.
      smoke: likewise.
      **traits: of the axis.

    Raises:
      UserError: for an unknown axis or trait, a name that is taken or is no word, options that are none, or a builder
        without a docstring.
    """
    if axis not in _ALL:
        raise UserError(f"axis must be one of {', '.join(_ALL)}, received {axis!r}.")
    known = _ALL[axis].traits
    if unknown := sorted(traits.keys() - known.keys()):
        raise UserError(f"a {axis} has no trait {unknown[0]!r} (its traits: {', '.join(known) or 'none'}).")
    if not name.isidentifier():
        raise UserError(f"a member's name must contain only letters, digits and underscores, received {name!r}.")
    fields = dataclasses.fields(options) if dataclasses.is_dataclass(options) else None
    if fields is None or any("option" not in one.metadata for one in fields):
        raise UserError(f"the options of {name!r} must be a dataclass with fields made by cml_tf.registry.option.")

    def decorate(build: Callable[[Any, Given], Any]) -> Callable[[Any, Given], Any]:
        if not build.__doc__:
            raise UserError(f"the builder of {name!r} has no docstring: describe the member in its first line.")
        rivals = AXES if axis in AXES else (axis,)
        taken = next((other for other in rivals if name in _MEMBERS[other]), None)
        if taken is not None and not (taken == axis and _is_again(build, _MEMBERS[axis][name].build)):
            raise UserError(
                f"the name {name!r} is already taken by a member of the axis {taken!r}: choose another name."
            )
        own = Member(axis, name, options, build, faults, smoke, {**known, **traits})
        # Sorted, since what is imported first differs from program to program.
        _MEMBERS[axis] = dict(sorted({**_MEMBERS[axis], name: own}.items()))
        return build

    return decorate


def _is_again(build: Callable[..., Any], known: Callable[..., Any]) -> bool:
    """Whether two builders are one: a module that is reloaded, or run and imported, registers twice."""
    modules = {build.__module__, known.__module__} - {"__main__"}
    return build.__qualname__ == known.__qualname__ and len(modules) < 2


def members(axis: str) -> Mapping[str, Member]:
    """The members of an axis by name, as far as the modules that register them are imported."""
    return MappingProxyType(_MEMBERS[axis])


def member(axis: str, name: str) -> Member:
    """A member.

    Raises:
      ConfigurationError: listing the names there are.
    """
    known = members(axis)
    if name not in known:
        raise ConfigurationError(
            f"{_ALL[axis].path} must be one of {', '.join(known)}, received {name!r}. To use a member of "
            "your own, import it first (--plugins=your.module)."
        )
    return known[name]


def axis_of(name: str) -> str | None:
    """The axis of configurations that has a member of this name; None without."""
    return next((axis for axis in AXES if name in members(axis)), None)


def import_members(package: str, paths: Sequence[str]) -> None:
    """Imports every module of a package, so that a new file on an axis is all that a new member takes.

    Args:
      package: its name.
      paths: its `__path__`.
    """
    for module in pkgutil.walk_packages(paths, f"{package}."):
        importlib.import_module(module.name)
