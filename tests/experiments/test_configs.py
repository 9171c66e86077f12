"""Every file in configs/ says what its name says, and every variant builds and makes steps."""

from __future__ import annotations

import itertools
import re
from importlib import util
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
    default_config,
)
from cml_tf.experiments.configured_trainer import build_trainer
from cml_tf.experiments.experiment import build_experiment
from cml_tf.files import write_json
from cml_tf.learners.learner import count_parameters
from cml_tf.problems import Classification, Regression
from tests.helpers.seeded_episodes import classification_episode, regression_episode

FOLDER = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py")
NAME = re.compile(r"(?P<data>[a-z]+)(?:_(?P<ways>\d+)way)?_(?P<shots>\d+)shot_(?P<method>maml|cml)\.py")
IMAGE_SHAPE = (28, 28, 1)


def load(name, variant=""):
    specification = util.spec_from_file_location(f"configuration_{Path(name).stem}", FOLDER / name)
    module = util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.get_config(variant)


def trainer_of(config):
    """What a configuration builds, without its data: for these sets, problem and shape are known."""
    check_config(config)
    if config.dataset.name == "sinusoid":
        return build_trainer(config, Regression(1), (1,))
    return build_trainer(config, Classification(config.dataset.ways), IMAGE_SHAPE)


def episode_of(config):
    settings, tasks = config.dataset, config.train.meta_batch
    if settings.name == "sinusoid":
        return regression_episode(tasks=tasks, shots=settings.shots, queries=settings.queries, inputs=1)
    return classification_episode(
        tasks=tasks, ways=settings.ways, shots=settings.shots, queries=settings.queries, shape=IMAGE_SHAPE
    )


def test_the_promised_files_are_there():
    images = itertools.product(("glyphs", "omniglot"), ("5way_1shot", "5way_5shot", "20way_1shot"), ("maml", "cml"))
    waves = itertools.product(("sinusoid",), ("5shot", "10shot", "20shot"), ("maml", "cml"))
    assert set(FILES) == {"_".join(parts) + ".py" for parts in [*images, *waves]}


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
    assert (config.adaptation.steps, config.adaptation.eval_steps) == (1, 1)
    assert (config.train.meta_batch, config.train.rate, config.train.clip_norm) == (4, 1e-3, 0.0)
    assert config.eval.episodes == 600
    if regression:
        assert (config.learner.name, config.learner.hidden) == ("mlp", (40, 40))
        assert (config.adaptation.rate, config.objective.gamma, config.train.steps) == (0.01, 0.2, 15000)
        assert (config.dataset.queries, config.eval.queries) == (config.dataset.shots, 100)
    else:
        assert config.dataset.ways == int(fields["ways"])
        assert (config.learner.name, config.learner.filters) == ("conv4", 64)
        assert (config.adaptation.rate, config.objective.gamma, config.train.steps) == (0.4, 1.0, 30000)
        assert (config.dataset.queries, config.train.validate_every) == (15, 100)
    header = (FOLDER / name).read_text().split('"""')[1]
    assert f"--config=configs/{name}" in header and f"{fields['shots']}-shot" in header
    assert fields["method"].upper() in header and (regression or f"{fields['ways']}-way" in header)


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
    else:
        conv, features = 3 * (64 * 64 * 9 + 64), config.dataset.ways * (64 + 1)
        assert served == (1 * 64 * 9 + 64) + conv + 4 * 2 * 64 + features
        expected = 2 * (64 * 64 * 9 + 64 + 2 * 64) + features
    assert phi == ([expected] if config.objective.co_learner == "cooperative" else [])


RULES = ("sgd", "meta_sgd", "anil", "boil")
LEARNERS = {"sinusoid": ("mlp",), "glyphs": ("mlp", "conv4"), "omniglot": ("mlp", "conv4")}
SMOKE = [
    (data, rule, learner, method)
    for data, learners in LEARNERS.items()
    for learner in learners
    for rule in RULES
    # Omniglot differs from glyphs in its pictures alone.
    for method in (("cml",) if data == "omniglot" else ("maml", "cml"))
]


def steps_of(config, count=2):
    """Makes some steps; returns the variables before and after, by group."""
    trainer = trainer_of(config)
    before = {group: [v.numpy() for v in group_] for group, group_ in trainer.method.all_variables().items()}
    history = trainer.fit([episode_of(config)] * count, count, verbose=0)
    assert trainer.meta_step.traces == 1
    assert all(np.isfinite(value).all() for value in history.values())
    after = {group: [v.numpy() for v in group_] for group, group_ in trainer.method.all_variables().items()}
    return trainer, before, after


def moved(before, after, group):
    return [not np.array_equal(old, new) for old, new in zip(before[group], after[group], strict=True)]


@pytest.mark.parametrize(("data", "rule", "learner", "method"), SMOKE)
def test_smoke_variants_make_steps(data, rule, learner, method):
    keras.backend.clear_session()
    name = f"{data}_5shot_{method}.py" if data == "sinusoid" else f"{data}_5way_1shot_{method}.py"
    config = load(name, "smoke" if rule == "sgd" else f"smoke,{rule}")
    config.learner.name = learner
    config.learner.hidden = (8, 8)
    config.learner.filters = 4
    config.train.meta_batch = 1
    assert config.train.steps <= 10 and config.eval.episodes <= 10
    trainer, before, after = steps_of(config)
    groups = {"learner"} | ({"adaptation"} if rule == "meta_sgd" else set())
    groups |= {"co_learner"} if method == "cml" else set()
    assert set(after) == groups
    for group in groups:
        assert any(moved(before, after, group)), group
    initial = trainer.method.rule.initial(trainer.method.learner)
    moves = trainer.method.rule.update_rule.moved(initial.parameters)
    assert (bool(moves.extractor), bool(moves.head)) == (rule != "anil", rule != "boil")


def test_every_variant_has_a_row():
    assert set(presets.VARIANTS) == {"smoke", *RULES[1:], *CONTRASTS}


def first_order(config):
    assert config.hypergradient == "first_order"


def random_noise(config):
    assert config.objective.co_learner == "random_noise"


def cl(config):
    assert config.objective.co_learner == "adapted"


def more_maml(config):
    assert config.learner.extra_blocks == 3


CONTRASTS = {check.__name__: check for check in (first_order, random_noise, cl, more_maml)}


@pytest.mark.parametrize("variant", CONTRASTS)
def test_the_contrasts_build_and_make_steps(variant):
    keras.backend.clear_session()
    method = "maml" if variant == "more_maml" else "cml"
    config = load(f"glyphs_5way_1shot_{method}.py", f"smoke,{variant}")
    CONTRASTS[variant](config)
    config.learner.filters = 4
    config.train.meta_batch = 1
    trainer, before, after = steps_of(config)
    assert any(moved(before, after, "learner"))
    if variant == "random_noise":
        assert not any(moved(before, after, "co_learner")), "random noise is never updated"
    if variant == "first_order":
        assert any(moved(before, after, "co_learner"))
    if variant == "cl":
        assert set(after) == {"learner"} and len(trainer.method.terms) == 2
    if variant == "more_maml":
        plain = trainer_of(load("glyphs_5way_1shot_maml.py", "smoke"))
        assert len(trainer.method.learner.variables.extractor) == len(plain.method.learner.variables.extractor) + 12


def test_several_co_learners_at_once():
    keras.backend.clear_session()
    config = load("sinusoid_5shot_cml.py", "smoke")
    config.objective.co_learners = 3
    config.train.meta_batch = 1
    _, before, after = steps_of(config)
    for group in ("co_learner", "co_learner_2", "co_learner_3"):
        assert any(moved(before, after, group))
    assert not np.array_equal(after["co_learner"][0], after["co_learner_2"][0])


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
    "train.patience": (-1,),
    "train.validation_episodes": (0, 1),
    "seed": (-1, 2**32, 0.5, None),
    "dataset.name": ("mnist", None),
    "dataset.shots": (0,),
    "dataset.queries": (0,),
    "dataset.image_size": ((0, 3), (2.5, 2), (), None),
    "learner.name": ("resnet",),
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
    "conv4 needs images": {"dataset.name": "sinusoid", "learner.name": "conv4"},
    "dataset.ways must be at least 2": {"dataset.name": "glyphs", "dataset.ways": 1},
    "at least 16x16": {"dataset.name": "image_folder", "learner.name": "conv4", "dataset.image_size": (8, 30)},
    "CL has two heads": {"objective.co_learner": "adapted", "objective.co_learners": 2},
}


@pytest.mark.parametrize("message", BAD_COMBINATIONS)
def test_combinations_that_cannot_be_run_are_refused(message):
    config = default_config()
    config.update_from_flattened_dict(BAD_COMBINATIONS[message])
    with pytest.raises(ConfigurationError, match=message):
        check_config(config)


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
def test_every_number_format_makes_steps(policy):
    keras.backend.clear_session()
    config = load("sinusoid_5shot_cml.py", "smoke")
    config.learner.dtype_policy = policy
    config.train.meta_batch = 1
    trainer, before, after = steps_of(config)
    assert any(moved(before, after, "learner"))
    assert trainer.method.learner.variables.extractor[0].dtype == ("float64" if policy == "float64" else "float32")


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
