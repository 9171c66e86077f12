"""BUILD files: Starlark is read as the Python that it looks like."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cml_tf", "configs", "export", "examples", "benchmarks", "tools", "tests")
# What has an environment of its own, or is asked for only where it is there; and what is a part of another package.
ELSEWHERE = {
    *("torch", "jax", "diffrax", "optimistix", "ray", "atheris"),
    *("google", "tensorflow_serving", "packaging"),
}
DISTRIBUTIONS = {
    **{"PIL": "pillow", "absl": "absl_py", "sklearn": "scikit_learn", "yaml": "pyyaml"},
    **{"grpc": "grpcio", "grpc_health": "grpcio_health_checking"},
}


@functools.cache
def targets(package: str) -> dict[str, dict[str, Any]]:
    """The attributes of a package's rules by name, as far as they are plain values; `srcs` may be a glob."""
    found = {}
    for node in ast.parse((ROOT / package / "BUILD").read_text()).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            given = {one.arg: one.value for one in node.value.keywords}
            if "name" in given and "deps" in given:
                own = {key: ast.literal_eval(given[key]) for key in ("name", "deps", "main") if key in given}
                if isinstance(given["srcs"], ast.List):
                    own["srcs"] = ast.literal_eval(given["srcs"])
                found[own["name"]] = own | {"kind": node.value.func.id}
    return found


def needed(package: str) -> set[str]:
    """Everything that the targets of a package depend on, and what that depends on."""
    found, front = {package}, {package}
    while front:
        deps = {label for one in front for target in targets(one).values() for label in target["deps"]}
        found |= {label for label in deps if label.startswith("@")}
        front = {label[2:] for label in deps if label.startswith("//")} - found
        found |= front
    return found


def imported(package: str) -> Iterator[str]:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_depends_on_what_its_files_import(package):
    direct = {label.removeprefix("//") for target in targets(package).values() for label in target["deps"]}
    asked = set(imported(package)) - set(sys.stdlib_module_names) - ELSEWHERE
    assert asked & set(PACKAGES) <= direct | {package}
    known = {label.split("//")[1] for label in needed(package) if label.startswith("@")}
    assert {DISTRIBUTIONS.get(name, name) for name in asked - set(PACKAGES)} <= known


def programs(package: str) -> set[str]:
    """The modules that the package's binaries run."""
    paths = [one.get("main", one["srcs"][0]) for one in targets(package).values() if one["kind"] == "py_binary"]
    assert all((ROOT / package / path).is_file() for path in paths)
    names = (f"{package}.{path.removesuffix('.py').replace('/', '.')}" for path in paths)
    return {name.removesuffix(".__main__") for name in names}


@pytest.mark.parametrize("package", ["cml_tf", "export", "examples"])
def test_every_program_that_the_documents_run_is_a_target(package):
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]
    run = {name.rstrip(".") for text in texts for name in re.findall(rf"python -m ({package}\.[\w.]+)", text)}
    assert run and run <= programs(package)


def test_locks_that_bazel_reads_are_where_it_looks():
    labels = re.findall(r'requirements_lock = "//(.*?):(.*?)"', (ROOT / "MODULE.bazel").read_text())
    assert len(labels) == 3
    for package, name in labels:
        assert (ROOT / package / "BUILD").is_file() and (ROOT / package / name).is_file(), f"{package}:{name}"
