"""Every file in configs/ says what it does, builds, gives what it always gave, and can be stored."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import re

import keras
import numpy as np
import pytest

from cml_tf.experiments.arguments import METHODS
from cml_tf.experiments.combinations import EXAMPLES
from cml_tf.experiments.configuration import (
    ConfigurationError,
    check_config,
    config_from_json,
    config_to_json,
    default_config,
    flatten,
)
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.variants import variants_of
from cml_tf.learners.learner import count_parameters
from cml_tf.problems import Classification
from cml_tf.system.files import write_json
from tests.helpers.programs import ROOT
from tests.helpers.small_configs import IMAGE_SHAPE, IMAGE_SHAPES, NODE_FEATURES, load, trainer_of

# A digest of all that a file gives (`digest`), as the files before it gave it, one a setting and method: with the same
# values runs of then go on, and compare. Where settings are meant to change, so does the digest.
DIGESTS = {
    "amazon_computer": "904869805000",
    "cifar_fs": "8047e79efd63",
    "citeseer": "625f7dac6749",
    "cora": "31ceaca6faec",
    "cora_full": "feccf239f4ab",
    "cub": "e553deb37a93",
    "fc100": "de4d02071938",
    "glyphs": "068c36a7ce5c",
    "mini_imagenet": "f9131535839a",
    "omniglot": "24e3d09a6271",
    "sinusoid": "8152ca0278ff",
    "tiered_imagenet": "12823307911b",
    "vgg_flower": "eae74d59437a",
}
DRAWINGS = {"5way,1shot", "5way,5shot", "20way,1shot"}
CELLS = {
    **dict.fromkeys(DIGESTS, {"5way,1shot", "5way,5shot"}),
    **dict.fromkeys(("glyphs", "omniglot"), DRAWINGS),
    **dict.fromkeys(("amazon_computer", "citeseer", "cora"), {"2way,1shot", "2way,5shot"}),
    "sinusoid": {"5shot", "10shot", "20shot"},
}
# What the paper says (4.1 to 4.3, A.1, A.2), and for drawings the inner rate, where it says nothing.
PLAIN = {"adaptation.rule": "sgd", "adaptation.partition": "all", "hypergradient": "reverse", "train.rate": 1e-3}
ONE_STEP = {**PLAIN, "adaptation.steps": 1, "adaptation.eval_steps": 1, "train.meta_batch": 4, "eval.episodes": 600}
TWENTY_STEPS = {"adaptation.steps": 20, "adaptation.eval_steps": 20, "adaptation.rate": 0.05, "train.meta_batch": 1}
SETTINGS = {
    "numbers": {
        **ONE_STEP,
        **{"learner.name": "mlp", "learner.hidden": [40, 40], "adaptation.rate": 0.01, "objective.gamma": 0.2},
        **{"train.steps": 15000, "eval.queries": 100},
    },
    "images": {
        **ONE_STEP,
        **{"learner.name": "conv4", "learner.filters": 64, "objective.gamma": 1.0, "train.steps": 30000},
        **{"dataset.queries": 15, "train.validate_every": 100},
    },
    "nodes": {
        **PLAIN,
        **TWENTY_STEPS,
        **{"learner.name": "gcn", "learner.hidden": [16, 16], "objective.gamma": 0.2, "dataset.queries": 10},
        **{"train.validate_every": 10, "train.patience": 10, "train.steps": 10000, "eval.episodes": 100},
    },
}


def cells(name):
    return importlib.import_module(f"configs.{name}").CELLS


def digest(name):
    """Of each cell, method and variant: the values that are not the defaults."""
    default = dict(flatten(default_config().to_dict()))
    lines = []
    for cell, method, variant in itertools.product(cells(name), METHODS, ("", *variants_of(EXAMPLES[name]))):
        arguments = ",".join(filter(None, (method, cell, variant)))
        try:
            values = dict(flatten(load(name, arguments).to_dict()))
        except ConfigurationError as error:
            assert "is about the co-learner, and MAML has none" in str(error)
            continue
        own = {key: value for key, value in values.items() if value != default[key]}
        lines.append(f"{arguments} {json.dumps(own, sort_keys=True)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def test_the_promised_files_are_there():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == set(DIGESTS)
    assert {name: set(cells(name)) for name in DIGESTS} == CELLS


@pytest.mark.parametrize("name", DIGESTS)
def test_a_file_gives_what_the_files_before_it_gave(name):
    assert digest(name) == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_file_has_the_settings_of_the_paper(name):
    for method, cell in itertools.product(METHODS, cells(name)):
        config = load(name, f"{cell},{method}")
        flat = dict(flatten(config.to_dict()))
        expected = SETTINGS[EXAMPLES[name]]
        assert {key: flat[key] for key in expected} == expected
        assert flat["dataset.name"] == name
        assert flat["objective.co_learner"] == {"maml": "none", "cml": "cooperative"}[method]
        *ways, shots = (int(count) for count in re.findall(r"\d+", cell))
        assert flat["dataset.shots"] == shots and ways in ([], [flat["dataset.ways"]])
    if EXAMPLES[name] == "images":
        assert flat["adaptation.rate"] == (0.4 if name in ("glyphs", "omniglot") else 0.5)
    if EXAMPLES[name] == "numbers":
        assert flat["dataset.queries"] == flat["dataset.shots"]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_file_tells_how_it_is_used_and_what_it_does_without_arguments(name):
    told = importlib.import_module(f"configs.{name}").__doc__
    (default,) = re.findall(r"default `([a-z0-9,]+)`\.", told)
    assert f"python -m cml_tf.train --config=configs/{name}.py:{default} --workdir=" in told
    assert load(name, default).to_dict() == load(name).to_dict()
    assert f"one inner step at {load(name).adaptation.rate:g}" in told or "20 inner steps at 0.05" in told
    assert f"gamma {load(name).objective.gamma:g}," in told and f"{load(name).train.steps:,} outer steps" in told
    assert "\nTime: " in told and "\nHere" in told


@pytest.mark.parametrize("name", DIGESTS)
def test_every_file_builds_in_full_size(name):
    for arguments in ("maml", *cells(name)[::2]):
        keras.backend.clear_session()
        config = load(name, arguments)
        method = trainer_of(config).method
        served = count_parameters(method.learner.variables)
        phi = [count_parameters(term.variables) for term in method.terms if term.variables]
        learner, co_learner = expected_parameters(config)
        assert (served, phi) == (learner, [] if arguments == "maml" else [co_learner])


def expected_parameters(config):
    name, ways = config.dataset.name, config.dataset.ways
    if name == "sinusoid":
        return 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1, 40 * 40 + 40 + 40 + 1
    if name in NODE_FEATURES:
        head = 16 * ways + ways
        return (NODE_FEATURES[name] * 16 + 16) + (16 * 16 + 16) + head, (16 * 16 + 16) + head
    height, width, channels = IMAGE_SHAPES.get(name, IMAGE_SHAPE)
    head, block = ways * ((height // 16) * (width // 16) * 64 + 1), 64 * 64 * 9 + 64 + 2 * 64
    return (channels * 64 * 9 + 64 + 2 * 64) + 3 * block + head, 2 * block + head


def test_a_configuration_survives_its_file(tmp_path):
    for name, arguments in (("omniglot", ""), ("sinusoid", "smoke,meta_sgd,cl")):
        config = load(name, arguments)
        write_json(tmp_path / "config.json", config_to_json(config))
        again = config_from_json((tmp_path / "config.json").read_text())
        assert config_to_json(again) == config_to_json(config)
        check_config(again)


def test_a_configuration_of_before_a_key_gets_its_default():
    config = config_to_json(load("glyphs"))
    del config["train"]["task_chunk"], config["dataset"]["classes"], config["learner"]["initialisation"]
    again = config_from_json(json.dumps(config))
    # Not what the file in configs/ says: that run began as all did before there was a choice.
    assert again.learner.initialisation == "glorot_uniform"
    assert (again.train.task_chunk, again.dataset.classes) == (0, ()) and again.learner.name == "conv4"


def test_a_configuration_with_a_foreign_key_is_refused():
    config = config_to_json(load("glyphs"))
    config["train"]["momentum"] = 0.9
    with pytest.raises(ConfigurationError, match="the keys train.momentum are unknown"):
        config_from_json(json.dumps(config))


def test_glyphs_are_built_with_their_data():
    config = load("glyphs", "smoke")
    config.learner.name = "mlp"
    experiment = build_experiment(config)
    assert experiment.data.input_shape == IMAGE_SHAPE and experiment.data.value_range == (0.0, 1.0)
    assert experiment.problem == Classification(5)
    assert experiment.episodes("train").queries == 3 == experiment.episodes("test").queries
    assert experiment.episodes("train").seed == config.seed and experiment.episodes("test").seed == config.eval.seed


def test_the_same_seed_gives_the_same_initial_weights():
    def weights(seed):
        config = load("sinusoid", "smoke")
        config.seed = seed
        return [v.numpy() for v in trainer_of(config).method.all_variables()["learner"]]

    first, again, other = weights(0), weights(0), weights(1)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
