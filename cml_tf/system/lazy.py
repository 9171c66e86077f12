"""Names of a package that are looked up when they are first used, so that importing it loads nothing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
      package: its name.
      modules: for each public name the module that has it, relative to the package. Modules of the package are found by
        themselves.

    Example:
      >>> look_up, names = lazy("cml_tf.system", {"write_json": "files"})
      >>> look_up("write_json").__module__
      'cml_tf.system.files'
    """

    def look_up(name: str) -> Any:
        if name in modules:
            value = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        elif importlib.util.find_spec(f"{package}.{name}"):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return look_up, names
