"""Imports point one way: config, dataset, episode, adaptation, objective, trainer, checkpoint, export."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From left to right. A module imports its own layer and those before it, never one after it.
LAYERS = (
    (
        "cml_tf.class_names",
        "cml_tf.standard_output",
        "cml_tf.whole_numbers",
        "cml_tf.file_faults",
        "cml_tf.keras_settings",
        "cml_tf.files",
        "cml_tf.statistics",
        "cml_tf.problems",
        "cml_tf.structures",
        "cml_tf.running_means",
        "cml_tf.half_precision",
        "cml_tf.machine",
    ),
    ("cml_tf.graphs",),
    ("cml_tf.episodes",),
    ("cml_tf.learners",),
    ("cml_tf.adaptation",),
    ("cml_tf.objectives",),
    ("cml_tf.method", "cml_tf.keras_features", "cml_tf.answers"),
    ("cml_tf.task_mapping", "cml_tf.vectorising", "cml_tf.meta_step", "cml_tf.non_finite_loss"),
    ("cml_tf.checkpoints",),
    ("cml_tf.models", "cml_tf.evaluator", "cml_tf.callbacks.host", "cml_tf.callbacks.state"),
    ("cml_tf.trainer",),
    ("cml_tf.callbacks",),
    ("cml_tf.experiments",),
    ("cml_tf",),
    ("cml_tf.command_line", "cml_tf.reporting"),
    ("cml_tf.analyses",),
    ("cml_tf.train", "cml_tf.evaluate", "cml_tf.sweep", "cml_tf.report", "cml_tf.analyse", "cml_tf.quickstart"),
    ("cml_tf.datasets.prepare",),
    ("configs", "export"),
    ("export.deploy", "export.server", "export.playground", "export.client", "export.rollout"),
    ("export.savedmodel", "export.serve", "export.quickstart"),
    ("benchmarks",),
)
# What talks to a server knows it by its protocol alone: so it works with TensorFlow Serving too.
KNOWS_ONLY = {
    "export.client": (
        "export.client",
        "export.status",
        "cml_tf.class_names",
        "cml_tf.whole_numbers",
        "cml_tf.files",
        "cml_tf.file_faults",
        "cml_tf.datasets",
        "cml_tf.command_line",
    ),
    "export.rollout": ("export.rollout", "cml_tf.files", "cml_tf.command_line"),
    "export.playground": ("export.playground",),
}
# Datasets stand beside the layers: they make episodes and know nothing of learning. Their program is in a layer.
BESIDE = {
    "cml_tf.datasets": (
        "cml_tf.datasets",
        "cml_tf.class_names",
        "cml_tf.episodes",
        "cml_tf.graphs",
        "cml_tf.problems",
        "cml_tf.files",
    ),
}


def modules() -> dict[str, Path]:
    paths = [path for folder in ("cml_tf", "configs", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports(path: Path, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= whole or {node.module}
    return found & known


def layer(module: str) -> int:
    exact = [i for i, names in enumerate(LAYERS) if module in names]
    if exact:
        return exact[0]
    matches = [
        (len(n), i) for i, names in enumerate(LAYERS) for n in names if n != "cml_tf" and module.startswith(f"{n}.")
    ]
    assert matches, f"{module} stands in no layer: add it to the table."
    return max(matches)[1]


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_to_the_left(module):
    known = modules()
    for imported in imports(known[module], set(known)):
        in_a_layer = any(module in names for names in LAYERS)
        beside = next((allowed for name, allowed in BESIDE.items() if module.startswith(name) and not in_a_layer), None)
        if beside is not None:
            assert imported.startswith(beside), f"{module} must not import {imported}: datasets know only episodes."
        elif not imported.startswith(tuple(BESIDE)):
            assert layer(imported) <= layer(module), f"{module} must not import {imported}, which stands to its right."


@pytest.mark.parametrize("part", KNOWS_ONLY)
def test_clients_know_no_server(part):
    known = modules()
    members = [module for module in known if module == part or module.startswith(f"{part}.")]
    assert members
    for module in members:
        for imported in imports(known[module], set(known)):
            assert imported.startswith(KNOWS_ONLY[part]), f"{module} must not import {imported}."


def test_the_check_would_notice():
    assert layer("cml_tf.learners.learner") < layer("cml_tf.adaptation.base") < layer("cml_tf.trainer")
    assert layer("cml_tf.trainer") < layer("cml_tf.experiments.runs") < layer("export.savedmodel")
    known = modules()
    assert "cml_tf.trainer" in imports(known["cml_tf.experiments.configured_trainer"], set(known))
