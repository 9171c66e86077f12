"""Turns what a Python file imports and names into Bazel labels."""

from __future__ import annotations

import re
import sys
from pathlib import PurePosixPath

from tools.source_tree import SourceTree, module_name

# The locks in the order in which they are asked: whatever runs in production comes from the runtime lock.
_HUBS = {
    "requirements.txt": "pypi",
    "requirements-dev.txt": "pypi_dev",
    "benchmarks/peers/requirements.txt": "pypi_peers",
}

# Imports whose distribution is called something else; of a shared namespace, the part that the distribution owns.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "mpl_toolkits": "matplotlib",
    "sklearn": "scikit-learn",
    "tensorflow_serving": "tensorflow-serving-api",
    "tree": "dm-tree",
    "yaml": "pyyaml",
}


class UnresolvedImportError(Exception):
    """An import that is neither in the checkout, nor in a lock file, nor part of Python."""


class Labels:
    """The labels of one checkout, in full form: `//package:name`, `@hub//distribution`."""

    def __init__(self, tree: SourceTree):
        self._tree = tree
        self._own = {name.split(".")[0] for name in tree.modules}
        self._locked: dict[str, str] = {}
        for lock, hub in _HUBS.items():
            # Without a lock, an import of what it holds is reported as unresolved.
            if not (tree.root / lock).is_file():
                continue
            text = (tree.root / lock).read_text(encoding="utf-8")
            for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, flags=re.MULTILINE):
                self._locked.setdefault(_canonical(name), f"@{hub}//{_canonical(name).replace('-', '_')}")

    def of_python_file(self, file: PurePosixPath) -> str:
        """The target of a Python file is called as its module, so that of an `__init__.py` as the package."""
        return f"//{_path(file.parent)}:{module_name(file).rpartition('.')[2]}"

    def of_data_file(self, file: PurePosixPath) -> str:
        """The label of any other file, in the package whose BUILD file is next above it."""
        package = self._tree.package_of(file)
        return f"//{_path(package)}:{file.relative_to(package)}"

    def of_import(self, file: PurePosixPath, origin: str, attribute: str | None) -> str | None:
        """The label of one import; None for Python's own modules.

        Args:
          file: the file that imports.
          origin: the dotted module, made absolute.
          attribute: what is taken from it (`from origin import attribute`), which may be a module too.

        Raises:
          UnresolvedImportError: where there is no such thing.
        """
        first = origin.partition(".")[0]
        if first in self._own:
            for name in (f"{origin}.{attribute}", origin):
                if name in self._tree.modules:
                    return self.of_python_file(self._tree.modules[name])
            raise UnresolvedImportError(f"{file} imports {origin}, and no file of the checkout is that module.")
        if first in sys.stdlib_module_names:
            return None
        candidates = [f"{origin}.{attribute}", *_prefixes(origin)]
        distribution = next((_DISTRIBUTIONS[name] for name in candidates if name in _DISTRIBUTIONS), _canonical(first))
        if distribution not in self._locked:
            raise UnresolvedImportError(
                f"{file} imports {origin}, and no lock file has a distribution {distribution!r}; add it to "
                "pyproject.toml and `make lock`, or name its distribution in tools/labels.py."
            )
        return self._locked[distribution]

    def of_named_files(self, file: PurePosixPath, strings: set[str]) -> set[str]:
        """The labels of the data files that a file names: by path from the root, or by path or mere name below itself.

        A package owns its `py.typed`, which nobody names.
        """
        marker = file.with_name("py.typed") if file.name == "__init__.py" else None
        return {
            self.of_data_file(other)
            for other in self._tree.files
            if other.suffix != ".py"
            and other.name != "BUILD"
            and (other == marker or _is_named(other, file.parent, strings))
        }

    def of_named_modules(self, strings: set[str]) -> set[str]:
        """The labels of the modules that a file names (`"cml_tf.train"`), to run them in a process of their own."""
        names = strings & self._tree.modules.keys()
        return {self.of_python_file(self._tree.modules[name]) for name in names if "." in name}


def shorten(label: str, package: PurePosixPath) -> str:
    """A label as it is written in the BUILD file of `package`."""
    where, _, name = label.partition(":")
    if where == f"//{_path(package)}":
        return f":{name}"
    return where if name and where.rpartition("/")[2] == name else label


def _is_named(file: PurePosixPath, directory: PurePosixPath, strings: set[str]) -> bool:
    if str(file) in strings:
        return True
    # The root holds every file: there, a mere name would claim all that are called so.
    if directory == PurePosixPath() or not file.is_relative_to(directory):
        return False
    return file.name in strings or str(file.relative_to(directory)) in strings


def _prefixes(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _path(package: PurePosixPath) -> str:
    return "" if package == PurePosixPath() else str(package)
