"""Every file in configs/ has the settings of the paper, tells what it does, and builds in full size."""

from __future__ import annotations

import importlib
import itertools
import re

import keras
import pytest

from cml_tf.experiments.arguments import METHODS
from cml_tf.experiments.configuration import flatten
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.learners.learner import count_parameters
from tests.helpers.programs import ROOT
from tests.helpers.small_configs import IMAGE_SHAPE, IMAGE_SHAPES, NODE_FEATURES, load, trainer_of

# Others are tested on them: benchmarks without classes to train on, and waves out of distribution.
TEST_ONLY = {"aircraft", "cars", "gtsrb", "shifted_sinusoid", "svhn"}
DRAWINGS = {"5way,1shot", "5way,5shot", "20way,1shot"}
CELLS = {
    **dict.fromkeys(sorted(EXAMPLES.keys() - TEST_ONLY), {"5way,1shot", "5way,5shot"}),
    **dict.fromkeys(("glyphs", "omniglot"), DRAWINGS),
    **dict.fromkeys(("amazon_computer", "citeseer", "cora", "graph"), {"2way,1shot", "2way,5shot"}),
    "sinusoid": {"5shot", "10shot", "20shot"},
    **dict.fromkeys(("cosmixture", "alpine"), {"50shot"}),
}
# Results in the paper (4.1 to 4.3, A.1, A.2), and for drawings the inner rate, where it says nothing.
PLAIN = {
    **{"adaptation.rule": "gradient_descent", "adaptation.update": "sgd", "adaptation.partition": "all"},
    **{"hypergradient.name": "reverse", "train.rate": 1e-3},
}
ONE_STEP = {**PLAIN, "adaptation.steps": 1, "adaptation.eval_steps": 1, "train.meta_batch": 4, "eval.episodes": 600}
TWENTY_STEPS = {"adaptation.steps": 20, "adaptation.eval_steps": 20, "adaptation.rate": 0.05, "train.meta_batch": 1}
SETTINGS = {
    "numbers": {
        **ONE_STEP,
        **{"learner.name": "mlp", "learner.hidden": [40, 40], "adaptation.rate": 0.01},
        **{"train.steps": 15000, "eval.queries": 100},
    },
    "images": {
        **ONE_STEP,
        **{"learner.name": "conv4", "learner.filters": 64, "train.steps": 30000},
        **{"dataset.queries": 15, "train.validate_every": 100},
    },
    "nodes": {
        **{**PLAIN, **TWENTY_STEPS, "learner.name": "gcn", "learner.hidden": [16, 16], "dataset.queries": 10},
        **{"train.validate_every": 10, "train.patience": 10, "train.steps": 10000, "eval.episodes": 100},
    },
}
# Of the experiment in A-MAML (arXiv 2110.08432).
SURFACES = {
    **{"learner.hidden": [32, 32], "learner.activation": "tanh", "dataset.tasks": 100},
    **{"adaptation.steps": 20, "adaptation.eval_steps": 20, "train.meta_batch": 5, "train.steps": 5000},
    **{"eval.episodes": 100, "eval.queries": 0},
}
GAMMA = {"numbers": 0.2, "images": 1.0, "nodes": 0.2}


def cells(name):
    return importlib.import_module(f"configs.{name}").CELLS


def test_the_promised_files_are_there():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == set(CELLS)
    assert {name: set(cells(name)) for name in CELLS} == CELLS


@pytest.mark.parametrize("name", CELLS)
def test_a_file_has_the_settings_of_the_paper_and_tells_them(name):
    kind = EXAMPLES[name]
    for method, cell in itertools.product(METHODS, cells(name)):
        flat = dict(flatten(load(name, f"{cell},{method}").to_dict()))
        expected = SETTINGS[kind] | {"dataset.name": name, "objective.terms": list(METHODS[method])}
        expected |= SURFACES if name in ("cosmixture", "alpine") else {}
        expected |= {"objective.gamma": GAMMA[kind]} if method == "cml" else {}
        expected |= {"adaptation.rate": 0.4 if name in ("glyphs", "omniglot") else 0.5} if kind == "images" else {}
        expected |= {"dataset.queries": flat["dataset.shots"]} if kind == "numbers" else {}
        assert {key: flat[key] for key in expected} == expected
        *ways, shots = (int(count) for count in re.findall(r"\d+", cell))
        assert flat["dataset.shots"] == shots and ways in ([], [flat.get("dataset.ways")])
    told, config = importlib.import_module(f"configs.{name}").__doc__, load(name)
    (default,) = re.findall(r"default `([a-z0-9,]+)`\.", told)
    assert re.search(rf"^python -m cml_tf.train --config=configs/{name}\.py:{default} .*--workdir=", told, re.MULTILINE)
    assert load(name, default).to_dict() == config.to_dict()
    steps = "one inner step" if config.adaptation.steps == 1 else f"{config.adaptation.steps} inner steps"
    settings = (f"{steps} at {config.adaptation.rate:g}", f"gamma {config.objective.gamma:g},")
    assert all(setting in " ".join(told.split()) for setting in (*settings, f"{config.train.steps:,} outer steps"))
    assert "\nTime: " in told and "\nHere" in told


# Of sets that build the same shapes one is enough.
@pytest.mark.parametrize("name", ["sinusoid", "alpine", "glyphs", "mini_imagenet", "cora_full"])
def test_files_build_in_full_size(name):
    keras.backend.clear_session()
    config = load(name)
    method = trainer_of(config).method
    phi = [count_parameters(term.variables) for term in method.terms if term.variables]
    assert (count_parameters(method.learner.variables), *phi) == expected_parameters(config)


def expected_parameters(config):
    name = config.dataset.name
    if name == "alpine":
        return 2 * 32 + 32 + 32 * 32 + 32 + 32 + 1, 32 * 32 + 32 + 32 + 1
    if name == "sinusoid":
        return 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1, 40 * 40 + 40 + 40 + 1
    ways = config.dataset.ways
    if name in NODE_FEATURES:
        head = 16 * ways + ways
        return (NODE_FEATURES[name] * 16 + 16) + (16 * 16 + 16) + head, (16 * 16 + 16) + head
    height, width, channels = IMAGE_SHAPES.get(name, IMAGE_SHAPE)
    head, block = ways * ((height // 16) * (width // 16) * 64 + 1), 64 * 64 * 9 + 64 + 2 * 64
    return (channels * 64 * 9 + 64 + 2 * 64) + 3 * block + head, 2 * block + head
