"""Which values of a configuration fit together: what a learner can read, what a dataset can give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cml_tf.datasets.benchmarks import BENCHMARKS

# What episodes are made of, by dataset, and what a learner can read.
EXAMPLES = {
    "sinusoid": "numbers",
    "glyphs": "images",
    "omniglot": "images",
    "image_folder": "images",
    "cora": "nodes",
    "citeseer": "nodes",
    "amazon_computer": "nodes",
    "cora_full": "nodes",
    "graph": "nodes",
    **dict.fromkeys(BENCHMARKS, "images"),
}
LEARNERS = {"mlp": ("numbers", "images"), "conv4": ("images",), "gcn": ("nodes",), "sgc": ("nodes",)}
# Keys that only some learners have, with the value that they must keep for the others.
_OWN_KEYS = {
    "learner.extra_blocks": (("conv4",), 0),
    "learner.normalisation": (("conv4",), "batch_transductive"),
    "learner.hops": (("sgc",), 2),
    "learner.head": (("gcn", "sgc"), "linear"),
    "learner.attribute_matching": (("gcn", "sgc"), False),
}


def combination_fault(flat: Mapping[str, Any]) -> str | None:
    """The first fault of a configuration whose single values are sound, by dotted key; None if there is none."""
    return _examples_fault(flat) or _learner_fault(flat) or _objective_fault(flat)


def _examples_fault(flat: Mapping[str, Any]) -> str | None:
    dataset, learner = flat["dataset.name"], flat["learner.name"]
    kind = EXAMPLES[dataset]
    if kind != "numbers" and flat["dataset.ways"] < 2:
        return f"dataset.ways must be at least 2, received {flat['dataset.ways']!r}."
    if kind not in LEARNERS[learner]:
        fitting = [name for name, kinds in LEARNERS.items() if kind in kinds]
        return (
            f"learner.name must be one of {', '.join(fitting)} for dataset {dataset!r}, whose examples are {kind}, "
            f"received {learner!r}."
        )
    if kind == "nodes" and flat["train.jit_compile"]:
        return "train.jit_compile must be False for learners of nodes: XLA has no sparse products, received True."
    if learner == "conv4" and dataset == "image_folder" and min(flat["dataset.image_size"]) < 16:
        return f"dataset.image_size must be at least 16x16 for conv4, received {tuple(flat['dataset.image_size'])}."
    if flat["dataset.classes"] and (kind != "nodes" or len(flat["dataset.classes"]) != 3):
        return (
            "dataset.classes must be three numbers (training, validation, test), and only of a dataset of nodes, "
            f"received {tuple(flat['dataset.classes'])} for {dataset!r}."
        )
    return None


def _learner_fault(flat: Mapping[str, Any]) -> str | None:
    learner = flat["learner.name"]
    for key, (owners, default) in _OWN_KEYS.items():
        if learner not in owners and flat[key] != default:
            return f"{key} must be {default!r} for learner {learner!r}, which has none, received {flat[key]!r}."
    if learner == "sgc" and len(flat["learner.hidden"]) != 1:
        return (
            f"learner.hidden must be one width for sgc, which has one layer, received {tuple(flat['learner.hidden'])}."
        )
    if flat["learner.head"] == "prototypes" and flat["adaptation.partition"] != "all":
        return (
            "adaptation.partition must be 'all' with learner.head 'prototypes', which has no weights to adapt, "
            f"received {flat['adaptation.partition']!r}."
        )
    return None


def _objective_fault(flat: Mapping[str, Any]) -> str | None:
    if flat["objective.co_learner"] != "adapted":
        return None
    if flat["objective.co_learners"] != 1:
        return "objective.co_learners must be 1 when the co-learner is adapted (CL has two heads)."
    if flat["learner.head"] == "prototypes":
        return "learner.head must be 'linear' when the co-learner is adapted: prototypes cannot be one of two heads."
    return None
