"""What things were called before the rooms: programs, sweeps and commands written then go on, with a warning.

A module of `MODULES` is found under its old name too; a configuration file of before, such as
`configs/omniglot_5way_1shot_cml.py:boil`, is read as `configs/omniglot.py:cml,5way,1shot,boil`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from cml_tf.system.shipped import shipped_file

MODULES = {
    "cml_tf.adaptation.base": "cml_tf.adaptation.rule",
    "cml_tf.adaptation.dense_gradients": "cml_tf.adaptation.gradients",
    "cml_tf.adaptation.rematerialisation": "cml_tf.adaptation.hypergradients.rematerialised",
    "cml_tf.adaptation.sharpness": "cml_tf.adaptation.gradients",
    "cml_tf.answers": "cml_tf.training.answers",
    "cml_tf.checkpoints": "cml_tf.training.checkpoints",
    "cml_tf.class_names": "cml_tf.boundary.labels",
    "cml_tf.command_line": "cml_tf.system.command_line",
    "cml_tf.datasets.archives": "cml_tf.datasets.storage.archives",
    "cml_tf.datasets.cache": "cml_tf.datasets.storage.cache",
    "cml_tf.datasets.class_splits": "cml_tf.datasets.benchmarks.class_splits",
    "cml_tf.datasets.download": "cml_tf.datasets.storage.downloads",
    "cml_tf.datasets.errors": "cml_tf.errors",
    "cml_tf.datasets.glyph_rendering": "cml_tf.datasets.glyphs",
    "cml_tf.datasets.graph_npz": "cml_tf.datasets.graphs.graph_npz",
    "cml_tf.datasets.graph_sizes": "cml_tf.datasets.graphs.nodes",
    "cml_tf.datasets.image_store": "cml_tf.datasets.benchmarks.store",
    "cml_tf.datasets.instructions": "cml_tf.datasets.benchmarks.catalogue",
    "cml_tf.datasets.nodes": "cml_tf.datasets.graphs.nodes",
    "cml_tf.datasets.omniglot_files": "cml_tf.datasets.omniglot.files",
    "cml_tf.datasets.omniglot_preparation": "cml_tf.datasets.omniglot.dataset",
    "cml_tf.datasets.own_graph": "cml_tf.datasets.graphs.own_graph",
    "cml_tf.datasets.picture_sources": "cml_tf.datasets.benchmarks.layouts",
    "cml_tf.datasets.planetoid": "cml_tf.datasets.graphs.planetoid",
    "cml_tf.datasets.preparation": "cml_tf.datasets.prepare",
    "cml_tf.datasets.preprocessing": "cml_tf.datasets.image_files",
    "cml_tf.datasets.published_archives": "cml_tf.datasets.benchmarks.archives",
    "cml_tf.datasets.published_sets": "cml_tf.datasets.benchmarks.tfds_sets",
    "cml_tf.datasets.restricted_pickle": "cml_tf.datasets.storage.pickles",
    "cml_tf.datasets.tables": "cml_tf.datasets.graphs.tables",
    "cml_tf.evaluator": "cml_tf.training.evaluator",
    "cml_tf.experiments.config_files": "cml_tf.experiments.configuration",
    "cml_tf.experiments.configured_trainer": "cml_tf.experiments.assembly",
    "cml_tf.experiments.cross_domain": "cml_tf.experiments.runs",
    "cml_tf.experiments.processes": "cml_tf.system.processes",
    "cml_tf.experiments.sweep_results": "cml_tf.studies.results",
    "cml_tf.experiments.sweeps": "cml_tf.studies.sweeps",
    "cml_tf.file_faults": "cml_tf.system.file_faults",
    "cml_tf.files": "cml_tf.system.files",
    "cml_tf.half_precision": "cml_tf.system.machine",
    "cml_tf.keras_features": "cml_tf.training.keras_features",
    "cml_tf.keras_settings": "cml_tf.system.settings",
    "cml_tf.learners.affine_relu": "cml_tf.learners.normalisation.fused",
    "cml_tf.learners.attribute_matching": "cml_tf.learners.layers.graph",
    "cml_tf.learners.channel_kernels": "cml_tf.learners.layers.convolution",
    "cml_tf.learners.convolution": "cml_tf.learners.layers.convolution",
    "cml_tf.learners.derivative_order": "cml_tf.learners.layers.derivative_order",
    "cml_tf.learners.graph_layers": "cml_tf.learners.layers.graph",
    "cml_tf.learners.initialisation": "cml_tf.learners.layers.initialisation",
    "cml_tf.learners.node_learners": "cml_tf.learners.nodes",
    "cml_tf.learners.prototypes": "cml_tf.learners.layers.heads",
    "cml_tf.learners.standardised_pool": "cml_tf.learners.normalisation.fused",
    "cml_tf.learners.two_heads": "cml_tf.learners.layers.heads",
    "cml_tf.machine": "cml_tf.system.machine",
    "cml_tf.meta_step": "cml_tf.training.meta_step",
    "cml_tf.method": "cml_tf.training.method",
    "cml_tf.models.readouts": "cml_tf.readouts",
    "cml_tf.models.task_context": "cml_tf.models.few_shot_model",
    "cml_tf.models.task_functions": "cml_tf.models.few_shot_model",
    "cml_tf.non_finite_loss": "cml_tf.training.meta_step",
    "cml_tf.objectives.base": "cml_tf.objectives.term",
    "cml_tf.running_means": "cml_tf.training.evaluator",
    "cml_tf.standard_output": "cml_tf.system.standard_output",
    "cml_tf.statistics": "cml_tf.training.evaluator",
    "cml_tf.structures": "cml_tf.boundary.arrays",
    "cml_tf.task_mapping": "cml_tf.training.task_mapping",
    "cml_tf.trainer": "cml_tf.training.trainer",
    "cml_tf.vectorising": "cml_tf.training.task_mapping",
    "cml_tf.whole_numbers": "cml_tf.boundary.labels",
    "export.client.array_files": "export.client.inputs",
    "export.client.settings": "export.client.interface",
    "export.client.tables": "export.client.printed",
}
"""By the old name: where what was in it is now."""

_CONFIG = re.compile(r"(?P<dataset>[a-z_]+?)(?:_(?P<ways>[0-9]+)way)?_(?P<shots>[0-9]+)shot_(?P<method>maml|cml)\.py")


def config_source(source: str) -> str:
    """The present name of a configuration file, with its arguments; itself if there is such a file.

    A file of `configs/` that the working directory does not have is the package's own.

    Args:
      source: path of the file, with arguments after a colon.
    """
    path, _, arguments = source.partition(":")
    match = _CONFIG.fullmatch(Path(path).name)
    if match is None or Path(path).exists():
        found = shipped_file(path)
        return source if found == path else f"{found}:{arguments}"
    ways = [f"{match['ways']}way"] if match["ways"] else []
    words = [match["method"], *ways, f"{match['shots']}shot", *filter(None, arguments.split(","))]
    present = shipped_file(str(Path(path).with_name(match["dataset"] + ".py")))
    return f"{present}:{','.join(words)}"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules under the names of `MODULES`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in MODULES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MODULES[spec.name]
        warnings.warn(f"{spec.name} has been renamed {new}: change the import.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        # The machinery of imports writes into what it is given: a module of its own that hands on every name.
        return _Alias(spec.name, module)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


class _Alias(ModuleType):
    def __init__(self, name: str, module: ModuleType) -> None:
        super().__init__(name)
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_module"], name)


def install() -> None:
    """Lets modules be found under their old names, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
