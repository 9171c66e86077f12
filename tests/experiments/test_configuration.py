"""Configurations: the default one is sound, and what cannot be run is refused."""

from __future__ import annotations

import re

import pytest

from cml_tf.experiments.configuration import ConfigurationError, check_config, default_config


def test_the_default_configuration_is_sound_and_locked():
    config = default_config()
    check_config(config)
    with pytest.raises(AttributeError):
        config.train.stepz = 3
    with pytest.raises(AttributeError):
        config.speed = 3


BAD_VALUES = {
    "train.steps": (0, -1, None, True, float("nan"), "5"),
    "train.rate": (0.0, -1e-3, float("inf"), None),
    "train.clip_norm": (-1.0, float("nan")),
    "train.task_chunk": (-1,),
    "train.vectorised": ("maybe",),
    "train.patience": (-1,),
    "train.validation_episodes": (0, 1),
    "seed": (-1, 2**32, 0.5, None),
    "dataset.name": ("mnist", None),
    "dataset.shots": (0,),
    "dataset.queries": (0,),
    "dataset.image_size": ((0, 3), (2.5, 2), (), None),
    "dataset.classes": ((0, 1, 2), (2.5, 2, 2), None),
    "dataset.class_seed": (-1, 0.5),
    "dataset.normalise_features": (1, "yes"),
    "learner.name": ("resnet",),
    "learner.head": ("cosine",),
    "learner.hops": (-1,),
    "learner.attribute_matching": (1,),
    "learner.hidden": ((), (0,), (8, -1), (2.5,)),
    "learner.normalisation": ("batch", ""),
    "learner.dtype_policy": ("float8", "mixed_float16"),
    "learner.extra_blocks": (-1,),
    "adaptation.rule": ("adam",),
    "adaptation.partition": ("head",),
    "adaptation.rate": (0.0, -0.1),
    "adaptation.steps": (-1,),
    "hypergradient": ("implicit",),
    "objective.co_learner": ("yes",),
    "objective.co_learners": (0,),
    "objective.co_learner_blocks": (-1,),
    "objective.gamma": (-0.5, float("nan")),
    "eval.episodes": (1,),
    "eval.seed": (-1, 2**64),
    "eval.queries": (-1,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values])
def test_values_that_cannot_be_run_are_refused(key, value):
    config = default_config()
    with config.unlocked(), config.ignore_type():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    with pytest.raises(ConfigurationError, match=rf"^{re.escape(key)} must be .*received"):
        check_config(config)


BAD_COMBINATIONS = {
    "learner.name must be one of mlp for dataset 'sinusoid'": {"learner.name": "conv4"},
    "learner.name must be one of mlp, conv4, resnet12 for": {"dataset.name": "glyphs", "learner.name": "gcn"},
    "learner.name must be one of gcn, sgc for dataset 'cora'": {"dataset.name": "cora", "learner.name": "mlp"},
    "learner.hidden must be one width for sgc": {"dataset.name": "cora", "learner.name": "sgc"},
    "learner.head must be 'linear' for learner 'mlp'": {"learner.head": "prototypes"},
    "learner.attribute_matching must be False for learner 'mlp'": {"learner.attribute_matching": True},
    "objective.co_learner_blocks must be 2 for learner 'mlp'": {"objective.co_learner_blocks": 3},
    "learner.hops must be 2 for learner 'gcn'": {"dataset.name": "cora", "learner.name": "gcn", "learner.hops": 3},
    "train.jit_compile must be False for learners of nodes": {
        "dataset.name": "cora",
        "learner.name": "gcn",
        "train.jit_compile": True,
    },
    "dataset.classes must be three numbers": {"dataset.name": "cora", "learner.name": "gcn", "dataset.classes": (3, 4)},
    "only of a dataset of nodes": {"dataset.classes": (3, 2, 2)},
    "adaptation.partition must be 'all' with learner.head 'prototypes'": {
        "dataset.name": "cora",
        "learner.name": "gcn",
        "learner.head": "prototypes",
        "adaptation.partition": "anil",
    },
    "learner.head must be 'linear' when the co-learner is adapted": {
        "dataset.name": "cora",
        "learner.name": "gcn",
        "learner.head": "prototypes",
        "objective.co_learner": "adapted",
    },
    "dataset.ways must be at least 2": {"dataset.name": "glyphs", "dataset.ways": 1},
    "at least 16x16": {"dataset.name": "image_folder", "learner.name": "conv4", "dataset.image_size": (8, 30)},
    "hypergradient must be 'first_order' with objective.outer 'reptile'": {"objective.outer": "reptile"},
    "adaptation.partition must be 'all' with objective.outer 'reptile'": {
        "objective.outer": "reptile",
        "hypergradient": "first_order",
        "adaptation.partition": "anil",
    },
    "adaptation.rule must be 'sgd' with objective.outer 'reptile'": {
        "objective.outer": "reptile",
        "hypergradient": "first_order",
        "adaptation.rule": "meta_sgd",
    },
    "objective.co_learner must not be 'adapted' with objective.outer 'reptile'": {
        "objective.outer": "reptile",
        "hypergradient": "first_order",
        "objective.co_learner": "adapted",
    },
    "objective.multi_step_until must be 0 with objective.outer 'reptile'": {
        "objective.outer": "reptile",
        "hypergradient": "first_order",
        "objective.multi_step_until": 3,
    },
    "adaptation.steps must be at least 1 with learner.normalisation 'per_step'": {
        "dataset.name": "glyphs",
        "learner.name": "conv4",
        "learner.normalisation": "per_step",
        "adaptation.steps": 0,
    },
    "adaptation.steps must be at least 1 with adaptation.rule 'per_step_rates'": {
        "adaptation.rule": "per_step_rates",
        "adaptation.steps": 0,
    },
    "adaptation.steps must be at least 2 with objective.multi_step_until": {"objective.multi_step_until": 3},
    r"end within train.steps \(15000\), received train.first_order_steps = 15000:": {
        "train.first_order_steps": 15000,
        "train.steps": 15000,
    },
    r"end within train.steps \(2000\), received objective.multi_step_until = 4500:": {
        "adaptation.steps": 5,
        "objective.multi_step_until": 4500,
        "train.steps": 2000,
    },
    r"end within train.steps \(2000\), received train.cosine_steps = 2001:": {
        "train.cosine_steps": 2001,
        "train.steps": 2000,
    },
    "adaptation.partition must not be 'anil' with a co-learner": {
        "adaptation.partition": "anil",
        "objective.co_learner": "cooperative",
    },
    "train.final_rate must be at most train.rate": {"train.cosine_steps": 3, "train.final_rate": 0.1},
    "CL has two heads": {"objective.co_learner": "adapted", "objective.co_learners": 2},
}


@pytest.mark.parametrize("message", BAD_COMBINATIONS)
def test_combinations_that_cannot_be_run_are_refused(message):
    config = default_config()
    config.update_from_flattened_dict(BAD_COMBINATIONS[message])
    with pytest.raises(ConfigurationError, match=message):
        check_config(config)
