"""Configurations: the keys of what is chosen and no others, each with its type and range; those of older runs load."""

from __future__ import annotations

import json

import pytest

from cml_tf import datasets
from cml_tf.experiments.configuration import (
    check_config,
    config_from_json,
    config_to_json,
    default_config,
    flatten,
    keys_of,
    load_config,
)
from cml_tf.experiments.experiment import Experiment
from cml_tf.registry import AXES, Choice, ConfigurationError, members
from tests.helpers.programs import ROOT
from tests.helpers.small_configs import changed, load

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
    assert dict(flatten(default_config(FOLDER).to_dict())).keys() == keys_of(FOLDER).keys()
    config = default_config(Choice("glyphs", learner="mlp", rule="kernel_ridge"))
    check_config(config)
    assert set(config.adaptation) == {"rule", "bandwidth", "ridge", "scale"} and "hypergradient" not in config
    own = {"name", "dtype_policy", "hidden", "activation", "initialisation", "normalisation", "groups"}
    assert set(config.learner) == own
    assert "gamma" not in config.objective and "image_size" not in config.dataset
    for section in (config, config.train):
        with pytest.raises(AttributeError):
            section.speed = 3


def outer_and(name):
    return (name,) if members("objective")[name].traits["slot"] == "outer" else ("query_loss", name)


ALL_KEYS = {key: (choice, described) for choice in (NODES, FOLDER, WAVES) for key, described in keys_of(choice).items()}


def options_of_members():
    """Every option of every member, with a choice that has it."""
    choices = {
        "learner": lambda name: Choice("graph" if name in ("gcn", "sgc") else "glyphs", learner=name),
        "objective": lambda name: Choice("glyphs", "conv4", terms=outer_and(name)),
    }
    for axis, place in AXES.items():
        for name in members(axis):
            choice = choices[axis](name) if axis in choices else Choice("glyphs", "conv4", **{axis: name})
            for key, described in keys_of(choice).items():
                if described.owner == name:
                    yield f"{place.section}.{key.rpartition('.')[2]}", (choice, described)


OPTIONS = {**ALL_KEYS, **dict(options_of_members())}


def wrong_values(described):
    """Values of the wrong type, and out of every bound that the option declares."""
    option, of_tuple = described.option, isinstance(described.default, tuple)
    wrong = [None]
    # ml_collections makes 1.0 of True where a float is expected.
    wrong += [] if described.kind in (bool, float) else [True]
    wrong += ["a word"] if option.choices or described.kind in (int, float, bool) else []
    wrong += {int: [2.5], float: [float("nan"), float("inf")]}.get(described.kind, [])
    for name, step in {"least": -1, "above": 0, "most": 1, "below": 0}.items():
        if (bound := getattr(option, name)) is not None:
            wrong.append((bound + step,) if of_tuple else type(bound)(bound + step))
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


def of(*terms, **chosen):
    return Choice(terms=terms, **chosen)


BOTH, FIRST_ORDER = ("query_loss", "co_learner"), {"hypergradient": "first_order"}
ZERO, PROTOTYPES, ANIL = {"adaptation.steps": 0}, {"learner.head": "prototypes"}, {"adaptation.partition": "anil"}
LATE = {"adaptation.steps": 5, "objective.multi_step_until": 4500, "train.steps": 2000}
SCHEDULES = {"train.first_order_steps": 15000, "train.cosine_steps": 15001, "train.steps": 15000}
NODES_OF_CL, MIXED_NODES = (Choice("graph", "gcn", terms=terms) for terms in (("query_loss", "cl"), ("query_mixup",)))
PER_STEP = {"learner.normalisation": "per_step", **ZERO}
CONSISTENT = {"objective.mixup_loss": "consistency"}
# The key that is told first, other words, what is chosen, and what is set besides.
REFUSED = [
    ("learner.name", "reads numbers for the dataset 'sinusoid'", Choice(learner="conv4"), {}),
    ("learner.name", "reads images", Choice("glyphs", learner="gcn"), {}),
    ("learner.name", "reads nodes", Choice("cora"), {}),
    ("adaptation.update", "left out with 'kernel_ridge'", Choice(rule="kernel_ridge", update="sgd"), {}),
    ("learner.extra_blocks", "is not an option of the chosen members", PICTURES, {"learner.name": "mlp"}),
    ("dataset.ways", "2 or more", PICTURES, {"dataset.ways": 1}),
    ("dataset.classes", "three numbers", NODES, {"dataset.classes": (3, 4)}),
    ("dataset.image_size", "height and width", FOLDER, {"dataset.image_size": (84,)}),
    ("dataset.image_size", "at least 16x16", FOLDER, {"dataset.image_size": (8, 30)}),
    ("train.jit_compile", "False for learners that read nodes", NODES, {"train.jit_compile": True}),
    ("learner.activation", "the name of a Keras activation", WAVES, {"learner.activation": "fast"}),
    ("adaptation.partition", "learner.head 'prototypes'", NODES, {**PROTOTYPES, **ANIL}),
    ("learner.initialisation", "not be 'zero_head'", NODES, {**PROTOTYPES, "learner.initialisation": "zero_head"}),
    ("learner.head", "'linear' with cl", NODES_OF_CL, PROTOTYPES),
    ("adaptation.steps", "at least 1 with learner.normalisation 'per_step'", PICTURES, PER_STEP),
    ("adaptation.steps", "at least 1 with .* 'per_step_rates'", Choice(update="per_step_rates"), ZERO),
    ("adaptation.steps", "at least 2 with multi_step", of("multi_step"), {"objective.multi_step_until": 3}),
    ("objective.multi_step_until", "below train.steps", of("multi_step"), LATE),
    ("objective.terms", "does not record its inner steps", of("multi_step", rule="kernel_ridge"), {}),
    ("objective.terms", "exactly one", of("co_learner"), {}),
    ("objective.terms", "one term of every other kind, received cl, query_loss", of("cl", *BOTH), {}),
    ("objective.terms", "features do not adapt.*received 'anil'", FOLDER, ANIL),
    ("objective.terms", "features do not adapt.*received 'kernel_ridge'", of(*BOTH, rule="kernel_ridge"), {}),
    ("objective.terms", "both cl and reptile", of("reptile", "cl", **FIRST_ORDER), {}),
    ("objective.mixup_mix", "'hidden' with 'query_mixup' on nodes", MIXED_NODES, {}),
    ("objective.mixup_share", "below 1 with the loss 'consistency'", of("query_mixup"), CONSISTENT),
    ("adaptation.rule", "a rule with inner steps .* with cl", of("query_loss", "cl", rule="kernel_ridge"), {}),
    ("hypergradient.name", "'first_order' with reptile", of("reptile"), {}),
    ("adaptation.partition", "'all' with reptile", of("reptile", **FIRST_ORDER), ANIL),
    ("adaptation.update", ".sgd. with reptile", of("reptile", update="meta_sgd", **FIRST_ORDER), {}),
    ("adaptation.rule", "a rule with inner steps .* with reptile", of("reptile", rule="kernel_ridge"), {}),
    ("adaptation.rule", "not be 'soft_k_means' for 'sinusoid'", Choice(rule="soft_k_means"), {}),
    ("train.first_order_steps", "14999 .* Also: train.cosine_steps must be at most 15000", WAVES, SCHEDULES),
    ("train.final_rate", "at most train.rate", WAVES, {"train.cosine_steps": 3, "train.final_rate": 0.1}),
]


@pytest.mark.parametrize(("key", "words", "choice", "values"), REFUSED)
def test_what_does_not_go_together_is_refused(key, words, choice, values):
    with pytest.raises(ConfigurationError, match=f"^{key} .*{words}"):
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


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("README.md", r"a Python file that ends in \.py, received .*README\.md"),
        ("configs/no.py", r"no\.py does not exist"),
    ],
)
def test_a_file_that_is_no_python_is_told_from_one_that_is_not_there(source, said):
    with pytest.raises(ConfigurationError, match=said):
        load_config(str(ROOT / source))


@pytest.mark.parametrize("text", ["[1]", "{}", "no JSON", '{"objective": {"terms": "query_loss"}}'])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ConfigurationError, match="config.json cannot be read"):
        config_from_json(text)
    config = config_to_json(load("glyphs"))
    config["train"]["momentum"] = 0.9
    with pytest.raises(ConfigurationError, match="unknown keys: train.momentum"):
        config_from_json(json.dumps(config))


def test_noise_and_task_weights_reach_training_alone():
    config = changed(load("sinusoid", "maml,task_weights,smoke"), **{"dataset.noisy_tasks": 1.0})
    experiment = Experiment(changed(config, **{"objective.agreement": 2.0, "dataset.noise_variance": 9.0}))
    noisy = {split: experiment.episodes(split).noisy(0, 5).tolist() for split in ("train", "validation", "test")}
    assert noisy == {"train": [True] * 5, "validation": [False] * 5, "test": [False] * 5}
    assert experiment.dataset.noise_variance == 9.0 and experiment.trainer.method.reducer.agreement == 2.0


@pytest.mark.parametrize(("classes", "handed_on"), [((), {}), ((3, 2, 2), {"classes": (3, 2, 2)})])
def test_a_graph_keeps_its_own_division_of_classes_unless_told(monkeypatch, classes, handed_on):
    """Amazon-Computer and CoraFull have divisions of their own."""
    asked = {}

    class Loaded(Exception):
        pass

    def load_dataset(name, root, **options):
        asked.update(options)
        raise Loaded

    monkeypatch.setattr(datasets, "load", load_dataset)
    config = default_config(Choice("amazon_computer", "gcn"))
    with pytest.raises(Loaded):
        _ = Experiment(changed(config, **{"dataset.classes": classes})).dataset
    assert asked == {"class_seed": config.dataset.class_seed, **handed_on}
