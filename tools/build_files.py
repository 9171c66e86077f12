"""Writes the BUILD file of every directory from the imports of its Python files.

    python -m tools.build_files [--check]

One target a file: `py_test` for tests/**/test_*.py, `py_binary` for programs, `py_library` for the rest. `deps` are the
imports and nothing else. `data` are the files that a file names in its strings; for programs and tests also the modules
they name and the configs, which they are given by path; for tests also the conftest.py files, which nobody imports.
With `--check` nothing is written and any difference is an error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tools.labels import Labels, UnresolvedImportError, shorten
from tools.source_tree import SourceTree, imported_names, is_program, named_strings

_HEADER = "# Written by `make build-files` from the imports of the Python files; not meant to be edited."
_LOADS = {
    "@rules_python//python:defs.bzl": ("py_binary", "py_library"),
    # Bazel's own py_test would import a test file and call that a success; this one runs it under pytest.
    "//tools:pytest.bzl": ("py_test",),
}


_CONFIGS = PurePosixPath("configs")


@dataclass
class Target:
    """One call of a rule; labels in full form."""

    rule: str
    name: str
    srcs: list[str] = field(default_factory=list)
    data: set[str] = field(default_factory=set)
    deps: set[str] = field(default_factory=set)

    def render(self, package: PurePosixPath) -> str:
        """The call as it stands in the BUILD file of `package`, in the layout of Bazel's formatter."""
        lines = [f"{self.rule}(", f'    name = "{self.name}",', *_render_list("srcs", self.srcs)]
        for attribute in ("data", "deps"):
            labels = {shorten(label, package) for label in getattr(self, attribute)}
            lines += _render_list(attribute, _in_bazel_order(labels))
        return "\n".join([*lines, ")"])


def build_files(tree: SourceTree) -> dict[PurePosixPath, str]:
    """The text of every BUILD file.

    Args:
      tree: the checkout.

    Returns:
      From path to text.

    Raises:
      UnresolvedImportError: for an import that is neither in the checkout, nor in a lock file, nor Python's own.
      ValueError: where two files of a directory would give targets of one name.
      SyntaxError: for a file that Python cannot read.
    """
    labels = Labels(tree)
    targets = {package: _targets(tree, labels, package) for package in tree.packages}
    data_files = {labels.of_data_file(file) for file in tree.files if file.suffix != ".py"}
    texts = {}
    for package, group in targets.items():
        # A file that another package names has to be exported, so every package is looked at before one is written.
        others = {label for other in targets if other != package for target in targets[other] for label in target.data}
        exports = {shorten(label, package) for label in others & data_files}
        texts[package / "BUILD"] = _render(package, group, [name[1:] for name in exports if name.startswith(":")])
    return texts


def _targets(tree: SourceTree, labels: Labels, package: PurePosixPath) -> list[Target]:
    targets = [_target(tree, labels, file) for file in tree.python_files if file.parent == package]
    if package == _CONFIGS:
        # Programs are given a config by path, so they need every one of them.
        targets.append(Target("py_library", "configs", deps={f"//configs:{target.name}" for target in targets}))
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{package} would have several targets called {name!r}; rename one of the files.")
    return sorted(targets, key=lambda target: target.name)


def _target(tree: SourceTree, labels: Labels, file: PurePosixPath) -> Target:
    module = tree.parse(file)
    imports = imported_names(module, file)
    own = labels.of_python_file(file)
    deps = {label for name in imports if (label := labels.of_import(file, *name)) not in (None, own)}
    rule = "py_binary" if is_program(module) else "py_library"
    if file.parts[0] == "tests" and file.name.startswith("test_"):
        rule = "py_test"
    strings = named_strings(module)
    data = labels.of_named_files(file, strings)
    if rule != "py_library":
        data |= labels.of_named_modules(strings)
        if _CONFIGS in tree.packages and _reads_configs(imports, strings):
            data.add("//configs:configs")
    if rule == "py_test":
        conftests = {directory / "conftest.py" for directory in file.parents} & tree.files
        data |= {labels.of_python_file(conftest) for conftest in conftests}
    return Target(rule, own.rpartition(":")[2], [file.name], data - deps - {own}, deps)


def _reads_configs(imports: list[tuple[str, str | None]], strings: set[str]) -> bool:
    by_flag = any(attribute == "config_flags" for _, attribute in imports)
    return by_flag or any(string == "configs" or string.startswith("configs/") for string in strings)


def _render(package: PurePosixPath, targets: list[Target], exports: list[str]) -> str:
    used = {target.rule for target in targets}
    loads = []
    for origin, rules in _LOADS.items():
        if names := [f'"{rule}"' for rule in rules if rule in used]:
            loads.append(f'load("{origin}", {", ".join(names)})')
    paragraphs = [_HEADER, "\n".join(loads), 'package(default_visibility = ["//visibility:public"])']
    if exports:
        paragraphs.append("\n".join(["exports_files([", *(f'    "{name}",' for name in sorted(exports)), "])"]))
    paragraphs += [target.render(package) for target in targets]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _render_list(attribute: str, values: list[str]) -> list[str]:
    if len(values) < 2:
        return [f'    {attribute} = ["{value}"],' for value in values]
    return [f"    {attribute} = [", *(f'        "{value}",' for value in values), "    ],"]


def _in_bazel_order(labels: Iterable[str]) -> list[str]:
    """Bazel's formatter puts the same package first, then the same repository, then others."""
    return sorted(labels, key=lambda label: (":/@".index(label[0]), label.replace(":", "!")))


def _write(path: Path, text: str) -> None:
    """Replaces a file at once, so that nobody ever reads half of it."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def main(root: Path, arguments: list[str]) -> int:
    """Writes or checks the BUILD files under `root`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_files", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a BUILD file is not as it should"
    )
    check = parser.parse_args(arguments).check
    tree = SourceTree.of_checkout(root)
    try:
        wanted = build_files(tree)
    except (UnresolvedImportError, ValueError, SyntaxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    present = {file: (root / file).read_text(encoding="utf-8") for file in tree.files if file.name == "BUILD"}
    different = sorted(file for file in wanted.keys() | present.keys() if wanted.get(file) != present.get(file))
    if check and different:
        names = ", ".join(map(str, different))
        print(
            f"error: these BUILD files do not match the Python files; run `make build-files`: {names}", file=sys.stderr
        )
        return 1
    for file in [] if check else different:
        if file in wanted:
            _write(root / file, wanted[file])
        else:
            (root / file).unlink()
        print(f"{'wrote' if file in wanted else 'removed'} {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent, sys.argv[1:]))
