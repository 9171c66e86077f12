"""Options: the fields of frozen dataclasses, with a meaning and a range, that configurations are made of."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Option:
    """What an option may be; made by `option`.

    Example:
      >>> Option("penalty of the weights", above=0).fault(-1.0, float)
      'positive'

    Attributes:
      text: what it means, without a full stop.
      least, most, above, below: bounds of a number, or of each one of a tuple.
      choices: the words that it may be.
      may_be_empty: whether a tuple may.
      only: says of the chosen members, by axis, whether there is this option at all.
    """

    text: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    may_be_empty: bool = False
    only: Callable[[Mapping[str, Any]], bool] | None = None

    def fault(self, value: Any, kind: Any) -> str | None:
        """What the value must be instead; None if it is sound."""
        if not _is_of(kind, value):
            return f"of type {type_name(kind)}"
        if self.choices and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if isinstance(value, (tuple, list)):
            if not value and not self.may_be_empty:
                return "at least one number"
            return next((f"{wanted} in every entry" for one in value if (wanted := self._bound(one))), None)
        return self._bound(value)

    def _bound(self, value: Any) -> str | None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        if not math.isfinite(value):
            return "finite"
        if self.above is not None and not value > self.above:
            return "positive" if self.above == 0 else f"above {self.above}"
        if self.least is not None and value < self.least:
            return f"{self.least} or more"
        if self.most is not None and value > self.most:
            return f"{self.most} or less"
        if self.below is not None and not value < self.below:
            return f"below {self.below}"
        return None


def option(default: Any, text: str, **limits: Any) -> Any:
    """A field of a dataclass of options.

    Example:
      >>> from dataclasses import dataclass
      >>> from cml_tf.registry import option
      >>> @dataclass(frozen=True)
      ... class Options:
      ...     ridge: float = option(0.1, "penalty of the weights", above=0)
      >>> Options().ridge
      0.1

    Args:
      default: its value where a configuration does not name it; its type is that of the annotation: bool, int, float,
        str or a tuple of one of them.
      text: what it means, without a full stop.
      **limits: of `Option`.
    """
    return dataclasses.field(default=default, metadata={"option": Option(text, **limits)})


def option_fields(options: type, chosen: Mapping[str, Any]) -> Iterator[tuple[str, Any, Option, Any]]:
    """Name, type, `Option` and default of each field of a dataclass of options, as far as it is there at all."""
    for row in _described(options):
        only = row[2].only
        if only is None or only(chosen):
            yield row


@functools.cache
def _described(options: type) -> tuple[tuple[str, Any, Option, Any], ...]:
    # Annotations are text, which is compiled each time that it is read; configurations read thousands.
    kinds = get_type_hints(options)
    fields = dataclasses.fields(options)
    return tuple((one.name, kinds[one.name], one.metadata["option"], one.default) for one in fields)


def _is_of(kind: Any, value: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, (tuple, list)) and all(_is_of(get_args(kind)[0], one) for one in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def type_name(kind: Any) -> str:
    """What a type is called in texts."""
    if get_origin(kind) is tuple:
        return f"tuple of {type_name(get_args(kind)[0])}"
    return {int: "int", float: "float", str: "str", bool: "bool", NoneType: "None"}.get(kind, str(kind))
