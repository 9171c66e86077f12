"""The lock files, the project's metadata, the wheel and the scripts that set a machine up."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.txt", "requirements-dev.txt")
# What only some users need: each extra has a lock of its own.
EXTRAS = {"ray": "requirements-ray.txt"}
# Where the project's own code lives; what it imports must be declared.
PACKAGES = ("cml_tf", "configs", "export", "benchmarks", "examples")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_names(requirements: list[str]) -> set[str]:
    return {canonical(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in requirements}


def entries(lock: str) -> list[str]:
    lines = (ROOT / lock).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_locks_hold_all_that_is_declared_exactly_for_the_one_platform_and_name_no_index():
    for lock in (*LOCKS, *EXTRAS.values()):
        for line in entries(lock):
            assert re.fullmatch(r"[a-z0-9._-]+==[^\s;*]+ ; .*", line), line
            assert "sys_platform == 'linux'" in line and "platform_machine == 'x86_64'" in line, line
        assert re.findall(r"://|^\s*-", (ROOT / lock).read_text(), flags=re.MULTILINE) == []
    runtime, development = (declared_names(entries(lock)) for lock in LOCKS)
    assert declared_names(PROJECT["project"]["dependencies"]) <= runtime
    assert declared_names(PROJECT["project"]["optional-dependencies"]["dev"]) <= development
    # Installing one on top of the other then changes no version, in whichever order.
    assert set(entries(LOCKS[0])) <= set(entries(LOCKS[1]))
    for extra, lock in EXTRAS.items():
        assert declared_names(PROJECT["project"]["optional-dependencies"][extra]) <= declared_names(entries(lock))


def test_lock_is_complete_for_the_installed_distributions():
    """Each locked distribution that is installed here finds its requirements in the lock as well."""
    locked = declared_names(entries(LOCKS[1]))
    for name in sorted(locked):
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for text in requires:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonical(requirement.name) in locked, f"{name} needs {requirement.name}"


def test_every_import_of_the_project_is_a_declared_dependency():
    provided = importlib.metadata.packages_distributions()
    declared = declared_names(PROJECT["project"]["dependencies"])
    extras = {name: found for name, found in PROJECT["project"]["optional-dependencies"].items() if name != "dev"}
    declared |= declared_names(sum(extras.values(), []))
    # They run in an environment of their own.
    peers = declared_names(entries("benchmarks/peers/requirements.txt"))
    for file in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for first in {module.partition(".")[0] for module in modules}:
                if first in sys.stdlib_module_names or (ROOT / first).is_dir():
                    continue
                distributions = {canonical(name) for name in provided.get(first, [first])}
                known = declared | peers if file.parent.name == "peers" else declared
                assert distributions & known, f"{file.relative_to(ROOT)} imports {first}, which is not declared"


def test_supported_pythons_agree_everywhere():
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "tools/find_python.sh").read_text()
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert 'python_version = "3.11"' in (ROOT / "MODULE.bazel").read_text()


def test_one_version_is_written_everywhere():
    version, citation = PROJECT["project"]["version"], yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f'"{version}",\n' in (ROOT / "MODULE.bazel").read_text()
    assert (citation["version"], citation["license"]) == (version, PROJECT["project"]["license"])
    assert citation["abstract"] == PROJECT["project"]["description"]
    assert f": {version}\n" in (found := (ROOT / "CHANGELOG.md").read_text()) or f"## [{version}] - " in found


@pytest.fixture
def project(tmp_path):
    """A checkout with just what sets a machine up, and locks that need no network."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for lock in LOCKS:
        (tmp_path / lock).write_text("")
    return tmp_path


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake_python(directory: Path, venv: str) -> str:
    """A Python that passes the check of versions and runs `venv` when asked for an environment."""
    program = script(directory / "python-of-the-test", f'[ "$1" = -m ] || exit 0\n{venv}')
    return f"PYTHON={program}"


def installing(directory: Path, pip: str) -> str:
    """One that makes a .venv whose Python runs `pip` whatever it is asked."""
    venv = f"mkdir -p .venv/bin\nprintf '#!/bin/sh\\n{pip}\\n' >.venv/bin/python\nchmod +x .venv/bin/python"
    return fake_python(directory, venv)


def made(directory: Path, *arguments: str, target: str = "runtime") -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    command = ["make", *arguments, f".venv/.installed-{target}"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def test_unsuitable_pythons_and_platforms_are_told_before_anything_is_made(project):
    """On a foreign platform the markers of the lock would exclude every package, and pip would call that a success."""
    result = made(project, "PYTHON=/bin/false")
    (message,) = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0 and message.startswith("error: ") and "make PYTHON=" in message
    assert "3.11, 3.12 or 3.13" in message
    script(project / "bin/uname", '[ "$1" = -s ] && echo Darwin || echo arm64')
    result = made(project, f"PATH={project}/bin:{os.environ['PATH']}")
    assert "error: cml_tf needs Linux on x86_64; this machine is Darwin arm64." in result.stderr
    assert result.returncode != 0 and not (project / ".venv").exists()


def test_second_run_installs_nothing_and_a_changed_lock_does(project):
    python, runs = installing(project, '[ "$2" != pip ] || echo ran >>runs-of-pip'), project / "runs-of-pip"
    # The development lock holds the runtime lock, so there is nothing left to do for it.
    for target in ("dev", "dev", "runtime"):
        assert made(project, python, target=target).returncode == 0
        assert runs.read_text().splitlines() == ["ran"]
    later = (project / ".venv/.installed-dev").stat().st_mtime_ns + 10**9
    os.utime(project / "requirements.txt", ns=(later, later))
    assert made(project, python, target="dev").returncode == 0
    assert len(runs.read_text().splitlines()) == 2


def test_an_installation_that_cannot_be_imported_is_told_and_not_taken_for_done(project):
    result = made(project, installing(project, '[ "$2" = pip ] || { echo "Illegal instruction"; exit 1; }'))
    assert result.returncode != 0 and not (project / ".venv/.installed-runtime").exists()
    assert "Illegal instruction\nerror: the packages of requirements.txt are installed, but cannot be" in result.stderr
    assert not (project / ".venv/.installing").exists(), "what pip installed is whole"


def test_installation_that_failed_or_was_killed_is_not_taken_for_done_and_one_under_way_waited_for(project):
    left_over, installed = project / ".venv/left-over", project / ".venv/.installed-runtime"
    half = fake_python(project, "mkdir -p .venv/bin; touch .venv/left-over; exit 1")
    assert made(project, half).returncode != 0
    assert made(project, installing(project, "exit 1")).returncode != 0
    assert not left_over.exists() and not installed.exists()
    # A marker with no living process behind it: what pip left there is not to be trusted.
    (project / ".venv/.installing").write_text("")
    left_over.touch()
    assert made(project, installing(project, "exit 0")).returncode == 0
    assert not left_over.exists() and installed.exists()
    installed.unlink()
    (project / ".venv/.installing").write_text(str(os.getpid()))
    result = made(project, fake_python(project, "exit 1"))
    assert f"error: process {os.getpid()} is installing into .venv" in result.stderr
    assert result.returncode != 0 and (project / ".venv/.installing").exists()


def run_in(directory: Path, *command: object, **environment: str) -> subprocess.CompletedProcess:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without isolation and without dependencies, so without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("cml_tf", "export", "configs"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir=out"]
    built = run_in(folder, "-m", "pip", "wheel", *options, "./source")
    assert built.returncode == 0, built.stderr
    return next((folder / "out").glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_the_packages_their_data_and_the_type_marker_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = wheel.parents[1] / "source"
    files = (file for name in ("cml_tf", "export", "configs") for file in (source / name).rglob("*") if file.is_file())
    wanted = {str(file.relative_to(source)) for file in files if file.name != "BUILD"}
    assert names == {re.sub("^configs/", "cml_tf/configs/", name) for name in wanted}
    assert {"cml_tf/py.typed", "cml_tf/configs/glyphs.py", "export/playground/static/index.html"} <= names


@pytest.mark.slow
def test_programs_of_the_wheel_run_from_an_empty_folder(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    options = ["--no-deps", "--no-index", "--quiet", "--no-compile", f"--target={installed}"]
    result = run_in(empty, "-m", "pip", "install", *options, wheel)
    assert result.returncode == 0, result.stderr

    def program(*words):
        done = run_in(empty, "-m", *words, PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run_in(empty, "-c", "import cml_tf, export; print(cml_tf.__file__)", PYTHONPATH=str(installed)).stdout
    assert where.startswith(str(installed)), "not this checkout's"
    program("cml_tf.train", "--config=configs/sinusoid.py:cml,smoke", "--workdir=run", "--verbose=0")
    program("export.savedmodel", "--workdir=run", "--model_dir=models/waves")
    assert (empty / "models/waves/1/saved_model.pb").is_file()
    assert "--workdir" in program("export.quickstart", "--help")
    assert not (empty / "configs").exists()
