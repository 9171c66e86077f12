"""Variants: words that set options, or choose several members at once; each registers beside what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cml_tf.errors import UserError
from cml_tf.registry.members import Settings

Sets = Callable[[Settings], Mapping[str, Any]]
"""From a configuration by dotted key to the values that it gets."""


@dataclass(frozen=True)
class Variant:
    """What a word changes; made by `variant`.

    Example:
      >>> variants()["anil"].chooses, variants()["reptile"].chooses
      ((), ('reptile', 'first_order'))

    Attributes:
      name: the word.
      chooses: members, by name.
      sets: what it changes of their options. The first line of its docstring is the variant's summary.
      only: the kind of examples that it is for (`numbers`, `images`, `nodes`); empty for all.
    """

    name: str
    chooses: tuple[str, ...]
    sets: Sets
    only: str

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return (self.sets.__doc__ or "").strip().splitlines()[0]


_VARIANTS: dict[str, Variant] = {}


def variant(name: str, *, chooses: tuple[str, ...] = (), only: str = "") -> Callable[[Sets], Sets]:
    """Registers the function that it decorates, which sets options.

    Example:
      >>> from cml_tf.registry import variants
      >>> variants()["anil"].sets({})
      {'adaptation.partition': 'anil'}

    Args:
      name: letters, digits and underscores.
      chooses: of `Variant`.
      only: likewise.

    Raises:
      UserError: for a name that is no word or is taken, or a function without a docstring.
    """

    def decorate(sets: Sets) -> Sets:
        known = _VARIANTS.get(name)
        if not name.isidentifier():
            raise UserError(f"a variant's name must contain only letters, digits and underscores, received {name!r}.")
        if not sets.__doc__:
            raise UserError(f"the variant {name!r} has no docstring: describe it in its first line.")
        if known is not None and _origin(known.sets) != _origin(sets):
            raise UserError(f"the name {name!r} is already taken by another variant: choose another name.")
        _VARIANTS[name] = Variant(name, chooses, sets, only)
        return sets

    return decorate


def _origin(sets: Sets) -> tuple[str | None, ...]:
    """What is equal of a function and the same one in a module that is reloaded."""
    return sets.__module__, sets.__qualname__, sets.__doc__


def setting(text: str, **values: Any) -> Sets:
    """Sets options to values, whatever the configuration.

    Args:
      text: the variant's summary.
      **values: by dotted key, with two underscores in the place of a dot.
    """

    def sets(settings: Settings) -> Mapping[str, Any]:
        return {key.replace("__", "."): value for key, value in values.items()}

    sets.__doc__ = text
    return sets


def variants() -> Mapping[str, Variant]:
    """The variants by name, `smoke` first: schedules of other variants are shares of its few steps then."""
    return MappingProxyType(dict(sorted(_VARIANTS.items(), key=lambda item: (item[0] != "smoke", item[0]))))
