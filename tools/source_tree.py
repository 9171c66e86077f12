"""Reads the checkout: which files there are, and what each Python file imports and names."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class SourceTree:
    """The files of a checkout, as paths relative to its root.

    Attributes:
      root: the directory of the checkout.
      files: every file that belongs to the project, Python or not.
    """

    root: Path
    files: frozenset[PurePosixPath]

    @classmethod
    def of_checkout(cls, root: Path) -> SourceTree:
        """Lists what git tracks and what it would track: new files count before they are added.

        Raises:
          subprocess.CalledProcessError: where `root` is no git checkout.
        """
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
        return cls(root, frozenset(PurePosixPath(name) for name in names if name and (root / name).is_file()))

    @cached_property
    def python_files(self) -> list[PurePosixPath]:
        """Every Python file, sorted."""
        return sorted(file for file in self.files if file.suffix == ".py")

    @cached_property
    def modules(self) -> dict[str, PurePosixPath]:
        """From dotted module name to file; a package is named by its directory."""
        return {module_name(file): file for file in self.python_files}

    @cached_property
    def packages(self) -> list[PurePosixPath]:
        """The directories that get a BUILD file, sorted: the root and all that hold Python files."""
        return sorted({PurePosixPath(), *(file.parent for file in self.python_files)})

    def package_of(self, file: PurePosixPath) -> PurePosixPath:
        """The nearest directory above a file that has a BUILD file; Bazel knows the file under that package."""
        return next(parent for parent in file.parents if parent in self.packages)

    def parse(self, file: PurePosixPath) -> ast.Module:
        """The syntax tree of one Python file.

        Raises:
          SyntaxError: where Python cannot read it.
        """
        return ast.parse((self.root / file).read_text(encoding="utf-8"), filename=str(file))


def module_name(file: PurePosixPath) -> str:
    """`cml_tf/learners/mlp.py` is `cml_tf.learners.mlp`, `cml_tf/__init__.py` is `cml_tf`."""
    return ".".join(file.parts[:-1] if file.name == "__init__.py" else file.with_suffix("").parts)


def imported_names(module: ast.Module, file: PurePosixPath) -> list[tuple[str, str | None]]:
    """What a file imports, wherever it does so: inside functions and for the type checker too.

    Returns:
      Pairs of dotted module and attribute: `import a.b` is `("a.b", None)`, `from a import b` is `("a", "b")`.
    """
    names: list[tuple[str, str | None]] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(file.parts[: len(file.parts) - node.level]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            names += [(origin, alias.name) for alias in node.names]
    return names


def named_strings(module: ast.Module) -> set[str]:
    """The string constants of a file: the data files and modules it names are among them."""
    return {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def is_program(module: ast.Module) -> bool:
    """Whether a file ends in an `if __name__ == "__main__":` block."""
    return any(
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        for node in module.body
    )
