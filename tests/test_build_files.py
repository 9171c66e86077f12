"""The BUILD files against the Python files, read here once more and without the tool that writes them."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tools import build_files

ROOT = Path(__file__).resolve().parent.parent
# What benchmarks compare with has an environment of its own, which is not this one.
PEERS_LOCK = "benchmarks/peers/requirements.txt"
RULES = ("py_binary", "py_library", "py_test")


@cache
def checkout() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files belong to the project")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(name for name in set(names) if (ROOT / name).is_file())


@cache
def python_files() -> list[str]:
    return [name for name in checkout() if name.endswith(".py")]


@cache
def targets() -> dict[str, dict]:
    """From full label to the arguments of the call, its rule and its package."""
    found = {}
    for name in checkout():
        if name.rpartition("/")[2] != "BUILD":
            continue
        package = name.rpartition("/")[0]
        for statement in ast.parse((ROOT / name).read_text()).body:
            call = statement.value
            if isinstance(call, ast.Call) and call.func.id in RULES:
                arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
                label = f"//{package}:{arguments['name']}"
                assert label not in found, f"{label} is defined twice"
                found[label] = {**arguments, "rule": call.func.id, "package": package}
    return found


def full(label: str, package: str) -> str:
    if label.startswith("@"):
        return label
    if label.startswith(":"):
        return f"//{package}{label}"
    return label if ":" in label else f"{label}:{label.rpartition('/')[2]}"


def file_of(target: dict) -> str:
    (source,) = target["srcs"]
    return f"{target['package']}/{source}".lstrip("/")


def owners() -> dict[str, str]:
    return {file_of(target): label for label, target in targets().items() if "srcs" in target}


def first_party(dotted: str) -> str | None:
    path = dotted.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in python_files()), None)


@cache
def provided_imports() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def hub_labels(dotted: str) -> set[str]:
    """Every label under which a distribution of this environment could provide a third-party import."""
    first = dotted.partition(".")[0]
    provided = provided_imports().get(first, [])
    if not provided and re.search(rf"^{re.escape(first)}==", (ROOT / PEERS_LOCK).read_text(), re.MULTILINE):
        return {f"@pypi_peers//{first}"}
    names = {re.sub(r"[-_.]+", "_", name).lower() for name in provided}
    return {f"@{hub}//{name}" for hub in ("pypi", "pypi_dev") for name in names}


def imports(file: str) -> set[str]:
    """Dotted names that a file imports, each as deep as it is a module here."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = file.split("/")[: -node.level] if node.level else []
            origin = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:
                deeper = f"{origin}.{alias.name}"
                found.add(deeper if first_party(deeper) else origin)
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}


def test_every_python_file_belongs_to_exactly_one_target():
    counts = Counter(file_of(target) for target in targets().values() if "srcs" in target)
    assert sorted(counts) == python_files()
    assert [file for file, count in counts.items() if count > 1] == []


def test_no_build_file_stands_in_a_directory_without_python_files():
    directories = {name.rpartition("/")[0] for name in checkout() if name.rpartition("/")[2] == "BUILD"}
    assert directories == {"", *(file.rpartition("/")[0] for file in python_files())}


def test_dependencies_are_the_imports():
    wrong = {}
    for file, label in owners().items():
        target = targets()[label]
        declared = {full(dependency, target["package"]) for dependency in target.get("deps", [])}
        for name in imports(file):
            own = first_party(name)
            wanted = {owners()[own]} if own else hub_labels(name)
            if wanted == {label}:
                continue
            if not wanted & declared:
                wrong.setdefault(label, []).append(f"imports {name}, and deps lack {wanted or 'its distribution'}")
        known = {owners()[own] for name in imports(file) if (own := first_party(name))}
        known = known.union(*(hub_labels(name) for name in imports(file) if not first_party(name)))
        wrong.setdefault(label, []).extend(f"has {extra}, and imports nothing of it" for extra in declared - known)
    assert {label: problems for label, problems in wrong.items() if problems} == {}


def test_each_kind_of_file_has_its_rule():
    expected, actual = {}, {}
    for file, label in owners().items():
        guarded = re.search(r"""^if __name__ == ["']__main__["']:""", (ROOT / file).read_text(), re.MULTILINE)
        is_test = file.startswith("tests/") and file.rpartition("/")[2].startswith("test_")
        expected[file] = "py_test" if is_test else "py_binary" if guarded else "py_library"
        actual[file] = targets()[label]["rule"]
    assert actual == expected


def test_every_label_leads_somewhere_and_nothing_in_a_circle():
    """Bazel refuses circles, through data as through deps."""
    edges = {}
    for label, target in targets().items():
        listed = target.get("deps", []) + target.get("data", [])
        edges[label] = {name for entry in listed if not (name := full(entry, target["package"])).startswith("@")}
        for other in edges[label] - targets().keys():
            path = other.removeprefix("//").replace(":", "/").lstrip("/")
            assert path in checkout(), f"{label} names {other}, which is neither a target nor a file"
    done: set[str] = set()

    def visit(label: str, above: tuple[str, ...]) -> None:
        assert label not in above, f"a circle: {' -> '.join([*above, label])}"
        if label not in done:
            for other in edges.get(label, ()):
                visit(other, (*above, label))
            done.add(label)

    for label in edges:
        visit(label, ())


def test_data_files_of_the_packages_are_in_a_target():
    shipped = [target for target in targets().values() if target["package"].startswith(("cml_tf", "export"))]
    data = {full(entry, target["package"]) for target in shipped for entry in target.get("data", [])}
    packages = {name.rpartition("/")[0] for name in checkout() if name.rpartition("/")[2] == "BUILD"} - {""}
    for name in checkout():
        if name.startswith(("cml_tf/", "export/")) and not name.endswith((".py", "/BUILD")):
            package = max((package for package in packages if name.startswith(f"{package}/")), key=len)
            assert f"//{package}:{name.removeprefix(f'{package}/')}" in data, f"no target has {name} in its data"


def write_project(root: Path, files: dict[str, str]) -> None:
    for name, text in {"requirements.txt": "numpy==2\n", "requirements-dev.txt": "pytest==9\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


def test_tool_writes_what_check_then_accepts_and_notices_a_new_import(tmp_path, capsys):
    write_project(
        tmp_path, {"a/__init__.py": "", "a/one.py": "import numpy\n", "a/two.py": "", "tests/test_one.py": ""}
    )
    assert build_files.main(tmp_path, ["--check"]) == 1
    assert build_files.main(tmp_path, []) == 0
    assert build_files.main(tmp_path, ["--check"]) == 0
    (tmp_path / "a/two.py").write_text("def late():\n    from a.one import numpy\n")
    capsys.readouterr()
    assert build_files.main(tmp_path, ["--check"]) == 1
    assert "a/BUILD" in capsys.readouterr().err
    assert 'deps = [":one"]' not in (tmp_path / "a/BUILD").read_text()
    assert build_files.main(tmp_path, []) == 0
    assert 'deps = [":one"]' in (tmp_path / "a/BUILD").read_text()


def test_tool_refuses_an_import_that_nobody_provides(tmp_path, capsys):
    write_project(tmp_path, {"a/one.py": "import scipy\n"})
    assert build_files.main(tmp_path, []) == 1
    assert "a/one.py imports scipy" in capsys.readouterr().err
    assert not (tmp_path / "a/BUILD").exists()


def test_tool_removes_the_build_file_of_a_directory_that_lost_its_python_files(tmp_path):
    write_project(tmp_path, {"a/one.py": "", "b/two.py": ""})
    assert build_files.main(tmp_path, []) == 0
    (tmp_path / "b/two.py").unlink()
    assert build_files.main(tmp_path, ["--check"]) == 1
    assert build_files.main(tmp_path, []) == 0
    assert not (tmp_path / "b/BUILD").exists()
