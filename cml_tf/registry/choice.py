"""A choice of members, one an axis and several objectives, and the keys that a configuration of them has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from cml_tf.registry.members import AXES, ConfigurationError, Member, Settings, axis_of, member
from cml_tf.registry.options import Option, option_fields


class Key(NamedTuple):
    """What a configuration may hold under a dotted key: a type, an `Option`, a default, and which member's it is.

    Example:
      >>> Choice("sinusoid").all_keys()["adaptation.rate"].default
      0.01
    """

    kind: Any
    option: Option
    default: Any
    owner: str


@dataclass(frozen=True)
class Choice:
    """A dataset, and which members of the axes are chosen.

    Example:
      >>> from cml_tf.experiments.configuration import Choice, default_config
      >>> config = default_config(Choice("glyphs", learner="mlp", rule="kernel_ridge"))
      >>> config.adaptation.ridge, "steps" in config.adaptation
      (0.1, False)

    Attributes:
      dataset: its name.
      learner: a member of this axis, like the others.
      rule: likewise.
      update: likewise; None for `sgd` where the rule is made of one.
      hypergradient: likewise; None for `reverse` where the rule is made of one.
      terms: several of them, of objectives; exactly one is of slot `outer`.
      reducer: likewise.
    """

    dataset: str = "sinusoid"
    learner: str = "mlp"
    rule: str = "gradient_descent"
    update: str | None = None
    hypergradient: str | None = None
    terms: tuple[str, ...] = ("query_loss",)
    reducer: str = "mean"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What a configuration names, by dotted key; ConfigurationError if it does not say."""
        named = {"dataset": "dataset.name"} | {axis: place.path for axis, place in AXES.items()}
        values = {axis: settings.get(key) for axis, key in named.items()}
        terms = values.pop("objective")
        needed = ("dataset", "learner", "rule", "reducer")
        if absent := [named[axis] for axis in needed if not isinstance(values[axis], str)]:
            raise ConfigurationError(
                f"{absent[0]} must be a name, received {settings.get(absent[0])!r}: start from "
                "cml_tf.experiments.configuration.default_config()."
            )
        if not isinstance(terms, (list, tuple)) or not terms or len(set(terms)) != len(terms):
            raise ConfigurationError(f"objective.terms must be names without duplicates, received {terms!r}.")
        return cls(terms=tuple(terms), **values)  # type: ignore[arg-type]

    def members(self) -> dict[str, Member]:
        """The chosen members of all axes but `objective`, by axis.

        Raises:
          ConfigurationError: for a name that is none, or a part that the rule does not have.
        """
        chosen = {"learner": member("learner", self.learner), "rule": member("rule", self.rule)}
        parts = chosen["rule"].traits["parts"]
        for axis, default in (("update", "sgd"), ("hypergradient", "reverse")):
            name = getattr(self, axis)
            if name is not None and axis not in parts:
                raise ConfigurationError(f"{AXES[axis].path} must be left out with {self.rule!r}, received {name!r}.")
            if axis in parts:
                chosen[axis] = member(axis, name or default)
        return chosen | {"reducer": member("reducer", self.reducer)}

    def objectives(self) -> list[Member]:
        """The chosen objectives.

        Raises:
          ConfigurationError: for a name that is none, or unless exactly one is of slot `outer`, and none shares one.
        """
        terms = [member("objective", name) for name in self.terms]
        slots = [_slot(name) for name in self.terms]
        if slots.count("outer") != 1 or len(set(slots)) != len(slots):
            raise ConfigurationError(
                "objective.terms must contain exactly one outer loss (such as query_loss) and at most one term of "
                f"every other kind, received {', '.join(self.terms)}."
            )
        return terms

    @property
    def has_co_learner(self) -> bool:
        """Whether one of the objectives is a co-learner's."""
        return any(one.traits["slot"] == "co_learner" for one in self.objectives())

    def with_members(self, asked: Iterable[tuple[str, str]]) -> Choice:
        """This choice with other members; an objective takes the place of the one of its slot, or is added.

        Args:
          asked: a word that the user gave, and the name of a member that it stands for.

        Raises:
          ConfigurationError: if two words want different members of one axis, of objectives of one slot.
        """
        places: dict[str, tuple[str, str, str]] = {}
        terms = {_slot(name): name for name in self.terms}
        for word, name in asked:
            axis = axis_of(name)
            assert axis is not None, f"{name!r} is no member: check words first"
            place = f"objective {_slot(name)}" if axis == "objective" else axis
            other, _, wanted = places.setdefault(place, (word, axis, name))
            if wanted != name:
                raise ConfigurationError(f"{other!r} and {word!r} cannot be combined: use only one of them.")
            if axis == "objective":
                terms[_slot(name)] = name
        axes = {axis: name for _, axis, name in places.values() if axis != "objective"}
        return replace(self, **axes, terms=tuple(terms.values()))

    def all_keys(self) -> dict[str, Key]:
        """The keys of the axes' sections: the names of the chosen members, and their options.

        Raises:
          ConfigurationError: as of `members` and `objectives`, or if two members have an option of one name.
        """
        chosen, terms = self.members(), self.objectives()
        keys: dict[str, Key] = {}
        for axis in ("learner", "rule", "update", "hypergradient"):
            if axis in chosen:
                keys[AXES[axis].path] = Key(str, Option(f"which {axis}"), chosen[axis].name, "")
                _add(keys, chosen[axis], chosen)
        keys[AXES["objective"].path] = Key(tuple[str, ...], Option("terms whose sum is the outer loss"), self.terms, "")
        keys[AXES["reducer"].path] = Key(str, Option("how the losses of all tasks are combined"), self.reducer, "")
        for one in (*terms, chosen["reducer"]):
            _add(keys, one, chosen)
        return keys


def _slot(name: str) -> str:
    return member("objective", name).traits["slot"] or name


def _add(keys: dict[str, Key], one: Member, chosen: dict[str, Member]) -> None:
    for name, kind, described, default in option_fields(one.options, chosen):
        key = f"{AXES[one.axis].section}.{name}"
        if key in keys:
            raise ConfigurationError(
                f"{keys[key].owner} and {one.name} cannot be combined: both have the option {key!r}."
            )
        keys[key] = Key(kind, described, default, one.name)


def faults_of(choice: Choice, settings: Settings) -> list[str]:
    """Why the chosen members cannot go together with these settings; empty if they can."""
    return [fault for one in (*choice.members().values(), *choice.objectives()) for fault in one.faults(settings)]
