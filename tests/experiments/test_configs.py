"""Every file in configs/ says what its name says, builds, and can be stored."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from cml_tf.experiments import presets
from cml_tf.experiments.configuration import (
    ConfigurationError,
    check_config,
    config_from_json,
    config_to_json,
    load_config,
)
from cml_tf.experiments.experiment import build_experiment
from cml_tf.learners.learner import count_parameters
from cml_tf.problems import Classification
from cml_tf.system.files import write_json
from tests.helpers.small_configs import IMAGE_SHAPE, IMAGE_SHAPES, NODE_FEATURES, trainer_of

FOLDER = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py")
BENCHMARKS = ("mini_imagenet", "tiered_imagenet", "cifar_fs", "fc100", "vgg_flower", "cub")
NAME = re.compile(r"(?P<data>[a-z_0-9]+?)(?:_(?P<ways>\d+)way)?_(?P<shots>\d+)shot_(?P<method>maml|cml)\.py")


def load(name, variant=""):
    return load_config(f"{FOLDER / name}:{variant}")


def test_the_promised_files_are_there():
    images = itertools.product(("glyphs", "omniglot"), ("5way_1shot", "5way_5shot", "20way_1shot"), ("maml", "cml"))
    waves = itertools.product(("sinusoid",), ("5shot", "10shot", "20shot"), ("maml", "cml"))
    ways = {"cora": "2way", "citeseer": "2way", "amazon_computer": "2way", "cora_full": "5way"}
    nodes = itertools.product(ways.items(), ("1shot", "5shot"), ("maml", "cml"))
    published = itertools.product(BENCHMARKS, ("5way_1shot", "5way_5shot"), ("maml", "cml"))
    names = {"_".join(parts) + ".py" for parts in [*images, *waves, *published]}
    assert set(FILES) == names | {f"{data}_{way}_{shot}_{method}.py" for (data, way), shot, method in nodes}


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_what_its_name_says(name):
    fields = NAME.fullmatch(name).groupdict()
    config = load(name)
    regression = fields["data"] == "sinusoid"
    assert config.dataset.name == fields["data"]
    assert config.dataset.shots == int(fields["shots"])
    assert regression == (fields["ways"] is None)
    assert config.objective.co_learner == {"maml": "none", "cml": "cooperative"}[fields["method"]]
    assert (config.adaptation.rule, config.adaptation.partition, config.hypergradient) == ("sgd", "all", "reverse")
    assert (config.train.rate, config.train.clip_norm) == (1e-3, 0.0)
    if fields["data"] in NODE_FEATURES:
        check_node_settings(config)
    else:
        assert (config.adaptation.steps, config.adaptation.eval_steps) == (1, 1)
        assert (config.train.meta_batch, config.eval.episodes) == (4, 600)
    if fields["data"] in NODE_FEATURES:
        assert config.dataset.ways == int(fields["ways"])
    elif regression:
        assert (config.learner.name, config.learner.hidden) == ("mlp", (40, 40))
        assert (config.adaptation.rate, config.objective.gamma, config.train.steps) == (0.01, 0.2, 15000)
        assert (config.dataset.queries, config.eval.queries) == (config.dataset.shots, 100)
    else:
        assert config.dataset.ways == int(fields["ways"])
        assert (config.learner.name, config.learner.filters) == ("conv4", 64)
        rate = 0.5 if fields["data"] in BENCHMARKS else 0.4
        assert (config.adaptation.rate, config.objective.gamma, config.train.steps) == (rate, 1.0, 30000)
        assert (config.dataset.queries, config.train.validate_every) == (15, 100)
    header = (FOLDER / name).read_text().split('"""')[1]
    assert f"--config=configs/{name}" in header and f"{fields['shots']}-shot" in header
    assert fields["method"].upper() in header and (regression or f"{fields['ways']}-way" in header)


def check_node_settings(config):
    assert (config.adaptation.steps, config.adaptation.eval_steps, config.adaptation.rate) == (20, 20, 0.05)
    assert (config.learner.name, config.learner.hidden, config.objective.gamma) == ("gcn", (16, 16), 0.2)
    assert (config.train.meta_batch, config.train.validate_every, config.train.patience) == (1, 10, 10)
    assert (config.dataset.queries, config.train.steps, config.eval.episodes) == (10, 10000, 100)


@pytest.mark.parametrize("name", FILES)
def test_every_file_builds_in_full_size(name):
    keras.backend.clear_session()
    config = load(name)
    method = trainer_of(config).method
    served = count_parameters(method.learner.variables)
    phi = [count_parameters(term.variables) for term in method.terms if term.variables]
    if config.dataset.name == "sinusoid":
        assert served == 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1
        expected = 40 * 40 + 40 + 40 + 1
    elif config.dataset.name in NODE_FEATURES:
        ways, features = config.dataset.ways, NODE_FEATURES[config.dataset.name]
        assert served == (features * 16 + 16) + (16 * 16 + 16) + (16 * ways + ways)
        expected = (16 * 16 + 16) + (16 * ways + ways)
    else:
        height, width, channels = IMAGE_SHAPES.get(config.dataset.name, IMAGE_SHAPE)
        conv, features = 3 * (64 * 64 * 9 + 64), config.dataset.ways * ((height // 16) * (width // 16) * 64 + 1)
        assert served == (channels * 64 * 9 + 64) + conv + 4 * 2 * 64 + features
        expected = 2 * (64 * 64 * 9 + 64 + 2 * 64) + features
    assert phi == ([expected] if config.objective.co_learner == "cooperative" else [])


@pytest.mark.parametrize("variant", ["tiny", "smoke,tiny", "Smoke", "anil boil"])
def test_an_unknown_variant_is_refused(variant):
    with pytest.raises(ConfigurationError, match=r"the variant must be one of smoke, .* received '"):
        load("glyphs_5way_1shot_cml.py", variant)


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigurationError, match="the method must be one of maml, cml, received 'protonet'"):
        presets.glyphs(5, 1, "protonet")


def test_a_configuration_survives_its_file(tmp_path):
    for name, variant in ((FILES[0], ""), ("sinusoid_5shot_cml.py", "smoke,meta_sgd,cl")):
        config = load(name, variant)
        write_json(tmp_path / "config.json", config_to_json(config))
        again = config_from_json((tmp_path / "config.json").read_text())
        assert config_to_json(again) == config_to_json(config)
        check_config(again)


def test_a_configuration_of_before_a_key_gets_its_default():
    config = config_to_json(load("glyphs_5way_1shot_cml.py"))
    del config["train"]["task_chunk"], config["dataset"]["classes"], config["learner"]["initialisation"]
    again = config_from_json(json.dumps(config))
    # Not what the file in configs/ says: that run began as all did before there was a choice.
    assert again.learner.initialisation == "glorot_uniform"
    assert (again.train.task_chunk, again.dataset.classes) == (0, ()) and again.learner.name == "conv4"


def test_a_configuration_with_a_foreign_key_is_refused():
    config = config_to_json(load("glyphs_5way_1shot_cml.py"))
    config["train"]["momentum"] = 0.9
    with pytest.raises(ConfigurationError, match="the keys train.momentum are unknown"):
        config_from_json(json.dumps(config))


def test_glyphs_are_built_with_their_data():
    config = load("glyphs_5way_1shot_cml.py", "smoke")
    config.learner.name = "mlp"
    experiment = build_experiment(config)
    assert experiment.data.input_shape == IMAGE_SHAPE and experiment.data.value_range == (0.0, 1.0)
    assert experiment.problem == Classification(5)
    assert experiment.episodes("train").queries == 3 == experiment.episodes("test").queries
    assert experiment.episodes("train").seed == config.seed and experiment.episodes("test").seed == config.eval.seed


def test_the_same_seed_gives_the_same_initial_weights():
    def weights(seed):
        config = load("sinusoid_5shot_cml.py", "smoke")
        config.seed = seed
        return [v.numpy() for v in trainer_of(config).method.all_variables()["learner"]]

    first, again, other = weights(0), weights(0), weights(1)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
