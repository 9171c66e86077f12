"""The configuration of an experiment: every key with its default, and the checks made before any work.

A configuration file is Python that defines `get_config(arguments) -> ConfigDict`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cml_tf.errors import UserError
from cml_tf.experiments.combinations import EXAMPLES, LEARNERS, combination_fault
from cml_tf.learners.layers.initialisation import INITIALISATIONS
from cml_tf.learners.nodes import HEADS
from cml_tf.learners.normalisation.layer import MODES
from cml_tf.system.files import parsed_json
from cml_tf.system.renamed import config_source


class ConfigurationError(UserError):
    """A configuration that cannot be run."""


VECTORISED = {"auto": None, "yes": True, "no": False}
CHOICES = {
    "dataset.name": tuple(EXAMPLES),
    "learner.name": tuple(LEARNERS),
    "learner.head": HEADS,
    "adaptation.rule": ("sgd", "meta_sgd", "per_step_rates"),
    "learner.initialisation": INITIALISATIONS,
    "learner.normalisation": MODES,
    "train.vectorised": tuple(VECTORISED),
    # mixed_float16 would need loss scaling.
    "learner.dtype_policy": ("float32", "float64", "mixed_bfloat16"),
    "adaptation.partition": ("all", "anil", "boil"),
    "hypergradient": ("reverse", "reverse_rematerialised", "first_order"),
    "objective.outer": ("query", "reptile"),
    "objective.co_learner": ("none", "cooperative", "random_noise", "adapted"),
}

POSITIVE = (
    "dataset.shots",
    "dataset.queries",
    "learner.filters",
    "adaptation.rate",
    "objective.co_learners",
    "train.steps",
    "train.meta_batch",
    "train.rate",
    "train.epsilon",
    "train.validate_every",
)

NOT_NEGATIVE = (
    "seed",
    "learner.extra_blocks",
    "learner.head_blocks",
    "learner.hops",
    "dataset.class_seed",
    "adaptation.steps",
    "adaptation.eval_steps",
    "adaptation.sharpness",
    "objective.co_learner_blocks",
    "objective.gamma",
    "train.clip_norm",
    "train.sharpness",
    "train.cosine_steps",
    "train.final_rate",
    "train.first_order_steps",
    "objective.multi_step_until",
    "train.task_chunk",
    "train.patience",
    "eval.seed",
    "eval.queries",
)


def default_config() -> ConfigDict:
    """All keys. Unknown ones are errors: the dictionary is locked."""
    config = ConfigDict()
    config.seed = 0
    # An empty root means: made on this machine, or downloaded.
    config.dataset = ConfigDict({"name": "sinusoid", "root": "", "ways": 5, "shots": 5, "queries": 15})
    # image_folder's.
    config.dataset.update({"image_size": (84, 84), "channels": 3})
    # Of datasets of nodes: how many classes each split gets (empty for the dataset's own), and which.
    config.dataset.update({"classes": (), "class_seed": 0, "normalise_features": False})
    config.learner = ConfigDict(
        {
            "name": "mlp",
            "filters": 64,
            "hidden": (40, 40),
            "extra_blocks": 0,
            "head_blocks": 0,
            "normalisation": "batch_transductive",
            "initialisation": "glorot_uniform",
            "dtype_policy": "float32",
            # Of learners of nodes.
            "hops": 2,
            "head": "linear",
            "attribute_matching": False,
        }
    )
    config.adaptation = ConfigDict({"rule": "sgd", "partition": "all", "rate": 0.01, "steps": 1, "eval_steps": 1})
    # Radius of the ball in whose worst point each inner gradient is taken (Sharp-MAML); 0 for where the parameters are.
    config.adaptation.sharpness = 0.0
    config.hypergradient = "reverse"
    # co_learner: none (MAML), cooperative (CML), random_noise (never updated), adapted (CL: in the inner loop too).
    config.objective = ConfigDict({"co_learner": "none", "co_learners": 1, "co_learner_blocks": 2, "gamma": 1.0})
    # query: the adapted learner's query loss (MAML); reptile: the distance that adaptation went.
    config.objective.outer = "query"
    # Outer steps in which early inner steps have a share in the query loss (MAML++); 0 for none.
    config.objective.multi_step_until = 0
    config.train = ConfigDict(
        {
            "steps": 1000,
            "meta_batch": 4,
            # Episodes in work at a time, which bounds the memory; 0 chooses.
            "task_chunk": 0,
            # All episodes at once, every operation with a task axis: auto, yes, no. XLA: for GPUs, slower on CPUs.
            "vectorised": "auto",
            "jit_compile": False,
            # As adaptation.sharpness, of the meta-gradient.
            "sharpness": 0.0,
            "rate": 1e-3,
            # Adam's, which keeps a step finite where gradients vanish.
            "epsilon": 1e-7,
            # Steps over which the outer rate falls to final_rate, by half a cosine; 0 for a constant rate.
            "cosine_steps": 0,
            "final_rate": 1e-5,
            # Outer steps before which the meta-gradient is of first order (MAML++).
            "first_order_steps": 0,
            "clip_norm": 0.0,
            "validate_every": 100,
            "validation_episodes": 100,
            # Epochs without a better validation score before training stops; 0 never stops early.
            "patience": 0,
        }
    )
    # queries: a class, 0 for as many as in training.
    config.eval = ConfigDict({"episodes": 600, "seed": 0, "queries": 0})
    return config.lock()


def check_config(config: ConfigDict) -> None:
    """Raises ConfigurationError for the first value that cannot be run."""
    flat = dict(flatten(config.to_dict()))
    _check_types(flat)
    for key, choices in CHOICES.items():
        if flat[key] not in choices:
            raise ConfigurationError(f"{key} must be one of {', '.join(choices)}, received {flat[key]!r}.")
    for key in POSITIVE:
        if not flat[key] > 0:
            raise ConfigurationError(f"{key} must be positive, received {flat[key]!r}.")
    for key in NOT_NEGATIVE:
        if flat[key] < 0:
            raise ConfigurationError(f"{key} must be 0 or more, received {flat[key]!r}.")
    for key in ("seed", "eval.seed"):
        if flat[key] >= 2**32:
            raise ConfigurationError(f"{key} must be below 2**32, received {flat[key]!r}.")
    for key in ("train.validation_episodes", "eval.episodes"):
        if flat[key] < 2:
            raise ConfigurationError(f"{key} must be at least 2, since an interval needs two, received {flat[key]!r}.")
    for key in ("learner.hidden", "dataset.image_size", "dataset.classes"):
        may_be_empty = key == "dataset.classes"
        if not (flat[key] or may_be_empty) or not all(isinstance(size, int) and size > 0 for size in flat[key]):
            raise ConfigurationError(f"{key} must be positive integers, received {tuple(flat[key])}.")
    if fault := combination_fault(flat):
        raise ConfigurationError(fault)


def _check_types(flat: Mapping[str, Any]) -> None:
    """What ml_collections lets through: keys of a file that made its own dictionary, None, NaN."""
    known = dict(flatten(default_config().to_dict()))
    if set(flat) != set(known):
        raise ConfigurationError(
            f"the configuration must have the keys of cml_tf.experiments.configuration.default_config(); it differs in "
            f"{', '.join(sorted(set(flat) ^ set(known)))}."
        )
    for key, value in flat.items():
        expected = type(known[key])
        fits = isinstance(value, (int, float) if expected is float else expected)
        if not fits or (isinstance(value, bool) and expected is not bool):
            raise ConfigurationError(f"{key} must be of type {expected.__name__}, received {value!r}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{key} must be finite, received {value!r}.")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted key, value)` pairs of a nested mapping; tuples come as lists, as in JSON."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def config_from_json(text: str) -> ConfigDict:
    """A configuration from the JSON that a run wrote.

    Keys that came after the run was written get their default, which is always what was done before there was a key.

    Raises:
      ConfigurationError: if it is not JSON, or has keys or types that this version does not know.
    """
    config = default_config()
    try:
        loaded = dict(flatten(parsed_json(text)))
        known = dict(flatten(config.to_dict()))
        if unknown := sorted(set(loaded) - set(known)):
            raise ValueError(f"the keys {', '.join(unknown)} are unknown; was it written by a later version?")
        for key, value in loaded.items():
            section, _, name = key.rpartition(".")
            target = config[section] if section else config
            target[name or key] = tuple(value) if isinstance(value, list) else value
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigurationError(f"config.json cannot be read: {error}.") from error
    return config


def config_to_json(config: ConfigDict) -> dict[str, Any]:
    """The plain dictionary that `config.json` holds."""
    return config.to_dict()


def load_config(source: str) -> ConfigDict:
    """The configuration that a file gives. The file is executed.

    Args:
      source: path of the file, with arguments after a colon: `configs/cora.py:maml,smoke`.

    Raises:
      ConfigurationError: if there is no such file, or it gives something else.
    """
    path, _, arguments = config_source(source).partition(":")
    specification = importlib.util.spec_from_file_location(f"configuration_{Path(path).stem}", path)
    if not Path(path).is_file() or specification is None or specification.loader is None:
        raise ConfigurationError(f"the configuration file {path} does not exist; paths are from the working directory.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    config = module.get_config(arguments) if hasattr(module, "get_config") else None
    if not isinstance(config, ConfigDict):
        raise ConfigurationError(
            f"{path} must define get_config(arguments) -> ConfigDict, received {type(config).__name__}."
        )
    return config
