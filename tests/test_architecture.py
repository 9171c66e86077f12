"""Imports between rooms point one way, and each file stands in a room."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From left to right: a room imports rooms before it, never one after it.
ROOMS = (
    *("cml_tf.errors", "cml_tf.system", "cml_tf.boundary", "cml_tf.problems", "cml_tf.registry", "cml_tf.graphs"),
    "cml_tf.episodes",
    *("cml_tf.datasets", "cml_tf.learners", "cml_tf.adaptation", "cml_tf.bilevel", "cml_tf.objectives"),
    "cml_tf.training",
    *("cml_tf.readouts", "cml_tf.models", "cml_tf.experiments", "cml_tf", "cml_tf.studies"),
    *(
        "cml_tf.train",
        "cml_tf.evaluate",
        "cml_tf.calibrate",
        "cml_tf.sweep",
        "cml_tf.report",
        "cml_tf.analyse",
        "configs",
    ),
    *("export.errors", "export.status", "export.versions", "export.requests", "export.graph", "export.gate"),
    *("export.card", "export.exporter", "export.savedmodel", "export", "export.playground", "export.device"),
    "export.deploy",
    *("export.server", "export.serve", "export.client", "export.rollout", "export.quickstart"),
    *("export.autopilot", "examples", "benchmarks"),
)
# What stands on the left, but is not for everybody on its right.
KNOWS_ONLY = {
    "cml_tf.datasets": ("cml_tf.errors", "cml_tf.system", "cml_tf.boundary", "cml_tf.episodes", "cml_tf.graphs")
    + ("cml_tf.problems",),
    # What talks to a server knows it by its protocol alone: so it works with TensorFlow Serving too.
    "export.client": ("export.status", "cml_tf.errors", "cml_tf.boundary", "cml_tf.system", "cml_tf.datasets"),
    "export.rollout": ("cml_tf.errors", "cml_tf.system"),
    "export.playground": (),
}


@functools.cache
def modules() -> dict[str, Path]:
    paths = [
        path
        for folder in ("cml_tf", "configs", "export", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
    ]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path) -> set[str]:
    known = modules().keys()
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= whole or {node.module}
    return found & known


def room(module: str) -> str:
    found = [name for name in ROOMS if module == name or (module.startswith(f"{name}.") and name not in WHOLE)]
    assert found, f"{module} stands in no room: add its package to the table."
    return max(found, key=len)


# The package itself stands to the right of its rooms, whose face it is.
WHOLE = ("cml_tf", "export")


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_to_the_left_without_circles(module):
    own, allowed = room(module), KNOWS_ONLY.get(room(module))
    assert "cml_tf.training.trainer" in imports(modules()["cml_tf.experiments.assembly"]), "nothing would be noticed"
    for imported in imports(modules()[module]):
        other = room(imported)
        assert ROOMS.index(other) <= ROOMS.index(own), f"{module} must not import {imported}, which is on its right."
        assert allowed is None or other in (own, *allowed), f"{module} must not import {imported}."
    seen, front = set(), {module}
    while front:
        front = {i for m in front for i in imports(modules()[m]) if i != m} - seen
        assert module not in front, f"{module} imports itself, through {seen}."
        seen |= front


# The axes, each with the folder that alone may ask what kind of member it has. Of learners that is one class: analyses
# do ask which layers of a graph they name.
AXES = {
    "cml_tf.adaptation": ("AdaptationRule", "AdaptedTask", "UpdateRule", "Hypergradient"),
    "cml_tf.objectives": ("ObjectiveTerm", "TaskReducer"),
    "cml_tf.learners": ("Learner",),
    "cml_tf.readouts": ("Readout",),
}


def members(axis: str, bases: tuple[str, ...]) -> set[str]:
    """The classes of an axis and all below them."""
    classes = [
        node
        for module, path in modules().items()
        if module.startswith(axis)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef)
    ]
    known: set[str] = set()
    found = set(bases)
    while found > known:
        known = found
        found = known | {n.name for n in classes if {getattr(base, "id", "") for base in n.bases} & known}
    return known


@functools.cache
def kinds_asked_for(path: Path) -> set[str]:
    """The names in the second arguments of all calls of isinstance, and in comparisons of types."""
    nodes = [*ast.walk(parsed(path))]
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "isinstance"]
    types = [n for n in nodes if isinstance(n, ast.Compare) and "id='type'" in ast.dump(n.left)]
    asked = [*(call.args[1] for call in calls), *(part for compare in types for part in compare.comparators)]
    return {name.id for part in asked for name in ast.walk(part) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("axis", AXES)
def test_nobody_outside_an_axis_asks_for_the_type_of_a_member(axis):
    names = members(axis, AXES[axis])
    for module, path in modules().items():
        if not module.startswith(axis):
            asked = kinds_asked_for(path) & names
            assert not asked, f"{module} asks for the type {asked}: let members of {axis} say what must be known."


def test_the_classes_of_an_axis_are_known_down_to_the_last():
    of_rules = members("cml_tf.adaptation", ("AdaptationRule",))
    assert {"HeadRule", "KernelRidge", "GradientFlow"} <= of_rules and "SGD" not in of_rules
    assert {"StepLoss", "TaskWeights"} <= members("cml_tf.objectives", AXES["cml_tf.objectives"])
    assert {"CoLearnerAsHead", "LearnerReadout"} <= members("cml_tf.readouts", ("Readout",))


# Words that mean something else too: an axis, a slot of objectives.
AMBIGUOUS = {"learner", "co_learner"}
# Configurations of before there were members.
OF_OLD = "cml_tf.experiments.renamed_keys"


@functools.cache
def registered() -> dict[str, str]:
    """The names that members register under, each with the room of its axis."""
    found = {}
    for module, path in modules().items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register":
                found[ast.literal_eval(node.args[1])] = room(module)
    return {name: own for name, own in found.items() if name not in AMBIGUOUS}


def names_compared(path: Path) -> set[str]:
    """The words that something is compared with, alone or in a list."""
    sides = [side for n in ast.walk(parsed(path)) if isinstance(n, ast.Compare) for side in (n.left, *n.comparators)]
    lists = [side.elts if isinstance(side, (ast.Tuple, ast.List, ast.Set)) else [side] for side in sides]
    return {n.value for n in sum(lists, []) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_nobody_outside_an_axis_asks_for_a_member_by_its_name():
    own = registered()
    assert own["reptile"] == "cml_tf.objectives" and own["kernel_ridge"] == "cml_tf.adaptation"
    assert "sgc" in names_compared(modules()[OF_OLD]), "nothing would be noticed"
    for module, path in modules().items():
        if module.startswith(("cml_tf", "export")) and module != OF_OLD:
            asked = {name for name in names_compared(path) & own.keys() if own[name] != room(module)}
            assert not asked, f"{module} asks for {asked} by name: give its axis a trait (cml_tf.registry.AXES)."
