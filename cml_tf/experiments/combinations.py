"""Which values of a configuration fit together: what a learner can read, what a dataset can give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS

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
LEARNERS = {
    "mlp": ("numbers", "images"),
    "conv4": ("images",),
    "resnet12": ("images",),
    "gcn": ("nodes",),
    "sgc": ("nodes",),
}
# Learners with four pools.
CONVOLUTIONAL = ("conv4", "resnet12")
# Keys that only some learners have, with the value that they must keep for the others.
_OWN_KEYS = {
    "learner.extra_blocks": (("conv4",), 0),
    "learner.head_blocks": (("conv4",), 0),
    "learner.normalisation": (CONVOLUTIONAL, "batch_transductive"),
    "learner.hops": (("sgc",), 2),
    "learner.head": (("gcn", "sgc"), "linear"),
    "learner.attribute_matching": (("gcn", "sgc"), False),
    "objective.co_learner_blocks": (CONVOLUTIONAL, 2),
}
# Outer steps after which something ends, and how many steps there must be at least from then on.
_SCHEDULES = {"objective.multi_step_until": 1, "train.first_order_steps": 1, "train.cosine_steps": 0}


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
    if learner in CONVOLUTIONAL and dataset == "image_folder" and min(flat["dataset.image_size"]) < 16:
        size = tuple(flat["dataset.image_size"])
        return f"dataset.image_size must be at least 16x16 for {learner}, received {size}."
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
    if flat["learner.head"] == "prototypes" and flat["learner.initialisation"] == "zero_head":
        return "learner.initialisation must not be 'zero_head' with learner.head 'prototypes', which has no weights."
    return None


def _reptile_fault(flat: Mapping[str, Any]) -> str | None:
    if flat["objective.outer"] != "reptile":
        return None
    needed = {
        "hypergradient": ("first_order", "it takes no derivative of the inner loop"),
        "adaptation.partition": ("all", "what is not adapted would never be trained"),
        "adaptation.rule": ("sgd", "the distance that adaptation went has no gradient for meta-learned rates"),
        "objective.multi_step_until": (0, "it has no query loss to weigh"),
    }
    for key, (value, reason) in needed.items():
        if flat[key] != value:
            return f"{key} must be {value!r} with objective.outer 'reptile', since {reason}; received {flat[key]!r}."
    if flat["objective.co_learner"] == "adapted":
        return "objective.co_learner must not be 'adapted' with objective.outer 'reptile', which reads no second head."
    return None


def _schedule_fault(flat: Mapping[str, Any]) -> str | None:
    for key, value in (("adaptation.rule", "per_step_rates"), ("learner.normalisation", "per_step")):
        if flat[key] == value and flat["adaptation.steps"] < 1:
            return f"adaptation.steps must be at least 1 with {key} {value!r}, received 0."
    if flat["objective.multi_step_until"] and flat["adaptation.steps"] < 2:
        return (
            "adaptation.steps must be at least 2 with objective.multi_step_until, which weighs early steps against the "
            f"last one, received {flat['adaptation.steps']!r}."
        )
    if unending := {key: flat[key] for key, least in _SCHEDULES.items() if flat["train.steps"] < flat[key] + least}:
        received = ", ".join(f"{key} = {value!r}" for key, value in unending.items())
        return (
            f"what is to end after some outer steps must end within train.steps ({flat['train.steps']!r}), received "
            f"{received}: set that along with train.steps."
        )
    if flat["train.cosine_steps"] and flat["train.final_rate"] > flat["train.rate"]:
        return (
            f"train.final_rate must be at most train.rate ({flat['train.rate']!r}), received "
            f"{flat['train.final_rate']!r}."
        )
    return None


def _objective_fault(flat: Mapping[str, Any]) -> str | None:
    if fault := _reptile_fault(flat) or _schedule_fault(flat):
        return fault
    if flat["adaptation.partition"] == "anil" and flat["objective.co_learner"] in ("cooperative", "random_noise"):
        return (
            "adaptation.partition must not be 'anil' with a co-learner: features that do not adapt tell it nothing of "
            "the support set's labels, so it could only guess. Use objective.co_learner 'none' (maml) or 'adapted' "
            f"(CL), received {flat['objective.co_learner']!r}."
        )
    if flat["objective.co_learner"] != "adapted":
        return None
    if flat["objective.co_learners"] != 1:
        return "objective.co_learners must be 1 when the co-learner is adapted (CL has two heads)."
    if flat["learner.head"] == "prototypes":
        return "learner.head must be 'linear' when the co-learner is adapted: prototypes cannot be one of two heads."
    return None
