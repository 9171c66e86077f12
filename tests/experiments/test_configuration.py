"""Configurations: the keys of what is chosen and no others, each with its type and range; those of older runs load."""

from __future__ import annotations

import json

import pytest

from cml_tf.experiments.configuration import (
    check_config,
    config_from_json,
    config_to_json,
    default_config,
    flatten,
    keys_of,
)
from cml_tf.registry import AXES, Choice, ConfigurationError, members
from tests.helpers.programs import ROOT
from tests.helpers.small_configs import load

WAVES, PICTURES = Choice(), Choice("glyphs", learner="conv4")
NODES = Choice("graph", learner="gcn")
FOLDER = Choice("image_folder", learner="conv4", terms=("query_loss", "co_learner"))


def with_values(choice, **values):
    config = default_config(choice)
    with config.unlocked(), config.ignore_type():
        for key, value in values.items():
            section, _, name = key.replace("__", ".").rpartition(".")
            (config[section] if section else config)[name] = value
    return config


def test_a_configuration_has_the_options_of_what_is_chosen_and_no_others():
    config = default_config(Choice("glyphs", learner="mlp", rule="kernel_ridge"))
    check_config(config)
    assert set(config.adaptation) == {"rule", "bandwidth", "ridge", "scale"} and "hypergradient" not in config
    assert set(config.learner) == {"name", "dtype_policy", "hidden", "activation", "initialisation"}
    assert "gamma" not in config.objective and "image_size" not in config.dataset
    for section in (config, config.train):
        with pytest.raises(AttributeError):
            section.speed = 3


def outer_and(name):
    return (name,) if members("objective")[name].traits["slot"] == "outer" else ("query_loss", name)


ALL_KEYS = {key: (choice, described) for choice in (NODES, FOLDER, WAVES) for key, described in keys_of(choice).items()}
OPTIONS = {
    **ALL_KEYS,
    **{
        f"{AXES[axis].section}.{name}": (choice, described)
        for axis, choice_of in {
            "learner": lambda name: Choice("graph" if name in ("gcn", "sgc") else "glyphs", learner=name),
            "rule": lambda name: Choice("glyphs", "conv4", rule=name),
            "update": lambda name: Choice("glyphs", "conv4", update=name),
            "hypergradient": lambda name: Choice("glyphs", "conv4", hypergradient=name),
            "objective": lambda name: Choice("glyphs", "conv4", terms=outer_and(name)),
            "reducer": lambda name: Choice("glyphs", "conv4", reducer=name),
        }.items()
        for member in members(axis).values()
        for choice in [choice_of(member.name)]
        for key, described in keys_of(choice).items()
        for section, _, name in [key.rpartition(".")]
        if described.owner == member.name
    },
}


def wrong_values(described):
    """Values of the wrong type, and out of every bound that the option declares."""
    option = described.option
    wrong = [None]
    # ml_collections makes 1.0 of True where a float is expected.
    wrong += [] if described.kind in (bool, float) else [True]
    wrong += ["a word"] if option.choices or described.kind in (int, float, bool) else []
    wrong += [2.5] if described.kind is int else []
    wrong += [float("nan"), float("inf")] if described.kind is float else []
    beyond = {
        "least": lambda bound: bound - 1,
        "above": lambda bound: bound,
        "most": lambda bound: bound + 1,
        "below": lambda bound: bound,
    }
    of_tuple = isinstance(described.default, tuple)
    for name, outside in beyond.items():
        if (bound := getattr(option, name)) is not None:
            wrong.append((outside(bound),) if of_tuple else type(bound)(outside(bound)))
    return wrong + ([()] if of_tuple and not option.may_be_empty else [])


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_wrong_values_of_every_option_are_refused(key):
    choice, described = OPTIONS[key]
    assert described.option.text and described.option.fault(described.default, described.kind) is None
    for value in wrong_values(described):
        with pytest.raises(
            ConfigurationError, match=rf"^{key} must be .*received|^objective.terms must be names without duplicates"
        ):
            check_config(with_values(choice, **{key: value}))


MEMBERS = {key for key in ALL_KEYS if key in {axis.path for axis in AXES.values()} | {"dataset.name"}}


@pytest.mark.parametrize("key", sorted(MEMBERS))
def test_members_that_there_are_not_are_named_with_those_there_are(key):
    value = ["nobody"] if key == "objective.terms" else "nobody"
    with pytest.raises(ConfigurationError, match=rf"^{key} must be one of .*, received 'nobody'"):
        check_config(with_values(WAVES, **{key: value}))


STEPS = {"adaptation.steps": 5}
MULTI_STEP = Choice(terms=("multi_step",))
FIRST_ORDER = {"hypergradient": "first_order"}
REFUSED = {
    "learner.name must be a learner that reads numbers for the dataset 'sinusoid'": (Choice(learner="conv4"), {}),
    "learner.name must be a learner that reads images": (Choice("glyphs", learner="gcn"), {}),
    "learner.name must be a learner that reads nodes": (Choice("cora"), {}),
    "adaptation.update must be left out with 'kernel_ridge'": (Choice(rule="kernel_ridge", update="sgd"), {}),
    "learner.extra_blocks is not an option of the chosen members": (PICTURES, {"learner.name": "mlp"}),
    "dataset.ways must be 2 or more": (PICTURES, {"dataset.ways": 1}),
    "dataset.classes must be three numbers": (NODES, {"dataset.classes": (3, 4)}),
    "dataset.image_size must be height and width": (FOLDER, {"dataset.image_size": (84,)}),
    "dataset.image_size must be at least 16x16": (FOLDER, {"dataset.image_size": (8, 30)}),
    "train.jit_compile must be False for learners that read nodes": (NODES, {"train.jit_compile": True}),
    "learner.activation must be the name of a Keras activation": (WAVES, {"learner.activation": "fast"}),
    "adaptation.partition must be 'all' with learner.head 'prototypes'": (
        NODES,
        {"learner.head": "prototypes", "adaptation.partition": "anil"},
    ),
    "learner.initialisation must not be 'zero_head'": (
        NODES,
        {"learner.head": "prototypes", "learner.initialisation": "zero_head"},
    ),
    "learner.head must be 'linear' with cl": (
        Choice("graph", learner="gcn", terms=("query_loss", "cl")),
        {"learner.head": "prototypes"},
    ),
    "adaptation.steps must be at least 1 with learner.normalisation 'per_step'": (
        PICTURES,
        {"learner.normalisation": "per_step", "adaptation.steps": 0},
    ),
    "adaptation.steps must be at least 1 with adaptation.update 'per_step_rates'": (
        Choice(update="per_step_rates"),
        {"adaptation.steps": 0},
    ),
    "adaptation.steps must be at least 2 with multi_step": (MULTI_STEP, {"objective.multi_step_until": 3}),
    "objective.multi_step_until must be below train.steps": (
        MULTI_STEP,
        {**STEPS, "objective.multi_step_until": 4500, "train.steps": 2000},
    ),
    "objective.terms must not contain 'multi_step' with a rule that does not record its": (
        Choice(rule="kernel_ridge", terms=("multi_step",)),
        {},
    ),
    "objective.terms must contain exactly one outer loss": (Choice(terms=("co_learner",)), {}),
    "one term of every other kind, received query_loss, cl, co_learner": (
        Choice(terms=("query_loss", "cl", "co_learner")),
        {},
    ),
    "objective.terms must not contain a co-learner if the features do not adapt.*received 'anil'": (
        FOLDER,
        {"adaptation.partition": "anil"},
    ),
    "objective.terms must not contain a co-learner if the features do not adapt.*received 'kernel_ridge'": (
        Choice(rule="kernel_ridge", terms=("query_loss", "co_learner")),
        {},
    ),
    "objective.terms must not contain both cl and reptile": (Choice(terms=("reptile", "cl"), **FIRST_ORDER), {}),
    "adaptation.rule must be a rule with inner steps .* with cl": (
        Choice(rule="kernel_ridge", terms=("query_loss", "cl")),
        {},
    ),
    "objective.terms must not contain 'query_mixup' on nodes": (Choice("graph", "gcn", terms=("query_mixup",)), {}),
    "hypergradient.name must be 'first_order' with reptile": (Choice(terms=("reptile",)), {}),
    "adaptation.partition must be 'all' with reptile": (
        Choice(terms=("reptile",), **FIRST_ORDER),
        {"adaptation.partition": "anil"},
    ),
    "adaptation.update must be a rule without variables .sgd. with reptile": (
        Choice(terms=("reptile",), update="meta_sgd", **FIRST_ORDER),
        {},
    ),
    "adaptation.rule must be a rule with inner steps .* with reptile": (
        Choice(rule="kernel_ridge", terms=("reptile",)),
        {},
    ),
    "adaptation.rule must not be 'soft_k_means' for 'sinusoid'": (Choice(rule="soft_k_means"), {}),
    "train.first_order_steps must be at most 14999 .* Also: train.cosine_steps must be at most 15000": (
        WAVES,
        {"train.first_order_steps": 15000, "train.cosine_steps": 15001, "train.steps": 15000},
    ),
    "train.final_rate must be at most train.rate": (WAVES, {"train.cosine_steps": 3, "train.final_rate": 0.1}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    choice, values = REFUSED[message]
    with pytest.raises(ConfigurationError, match=message):
        check_config(with_values(choice, **values))


def test_a_dictionary_of_ones_own_is_told_what_it_lacks():
    config = default_config()
    with config.unlocked():
        del config.adaptation["rate"]
    with pytest.raises(ConfigurationError, match="the option adaptation.rate of sgd is missing"):
        check_config(config)


OLD = [json.loads(line) for line in (ROOT / "tests/experiments/data/configurations_of_0_1.jsonl").open()]


@pytest.mark.parametrize("row", OLD, ids=[row["source"] for row in OLD])
def test_configurations_of_older_runs_are_what_their_files_give_now(row):
    config = config_from_json(json.dumps(row["config"]))
    check_config(config)
    assert config_to_json(config) == config_to_json(load(*row["source"].split(":")))


def test_a_run_of_before_a_key_did_what_was_done_then():
    old = json.loads(json.dumps(OLD[0]["config"]))
    del old["train"]["task_chunk"], old["dataset"]["classes"], old["learner"]["initialisation"]
    config = config_from_json(json.dumps(old))
    # Not what the file says today: that run began as all did before there was a choice.
    assert (config.learner.initialisation, config.train.task_chunk) == ("glorot_uniform", 0)


@pytest.mark.parametrize("source", [("omniglot", ""), ("sinusoid", "smoke,meta_sgd,cl"), ("cora", "maml,meta_gnn")])
def test_a_configuration_survives_its_file(source):
    config = load(*source)
    assert config_to_json(config_from_json(json.dumps(config_to_json(config)))) == config_to_json(config)


@pytest.mark.parametrize("text", ["[1]", "{}", "no JSON", '{"objective": {"terms": "query_loss"}}'])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ConfigurationError, match="config.json cannot be read"):
        config_from_json(text)
    config = config_to_json(load("glyphs"))
    config["train"]["momentum"] = 0.9
    with pytest.raises(ConfigurationError, match="unknown keys: train.momentum"):
        config_from_json(json.dumps(config))


def test_flattened_keys_are_those_of_the_table():
    assert dict(flatten(default_config(FOLDER).to_dict())).keys() == keys_of(FOLDER).keys()
