"""A run on tasks of any size: trained, scored, saved, exported, served, and asked for two and five classes.

That any run goes on exactly is in tests/experiments/test_durability.py, that episodes of any size are one stream in
tests/datasets/test_varying_sizes.py.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import cml_tf
from cml_tf.errors import UserError
from cml_tf.experiments import presets
from cml_tf.experiments.configuration import check_config, config_from_json, config_to_json
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.runs import evaluate_run, load_run, train_run
from cml_tf.registry import ConfigurationError
from cml_tf.training.evaluator import manifest_hash
from export import status
from export.client import ClientError, FewShotClient
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, export_run
from tests.export.forked_gate import forked_gate
from tests.export.served import FREE_WAYS, IMAGE_SHAPE, eager
from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running

pytestmark = pytest.mark.slow

BOUND = 5
KINDS = {"shared": "unicorn_maml", "prototypes": "proto_maml"}
# Of a run, and of a model that was made by hand, which begins at prototypes.
BOUNDS = {"shared": BOUND, "prototypes": FREE_WAYS}


def config(kind="shared", method="cml", **changes):
    made = presets.images("glyphs", f"{method},mlp,3way,any_size,{KINDS[kind]},smoke")
    sizes = {"dataset.ways_range": (2, BOUND), "dataset.shots_range": (1, 3), "dataset.sampling": "meta_dataset"}
    small = {"learner.hidden": (8,), "adaptation.rate": 0.1, "adaptation.steps": 2, "adaptation.eval_steps": 2}
    made.update_from_flattened_dict({**sizes, **small, **changes})
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps, with a co-learner."""
    workdir = tmp_path_factory.mktemp("free") / "run"
    train_run(config(), workdir, verbose=0)
    return workdir


@pytest.fixture(scope="module")
def version(run, tmp_path_factory):
    """Its export."""
    with forked_gate():
        return export_run(run, tmp_path_factory.mktemp("models") / "shared")


@pytest.fixture(scope="module")
def models(run, free):
    """By kind as the library has them."""
    return {"shared": eager(cml_tf.load(run)), "prototypes": free.in_process}


@pytest.fixture(scope="module")
def server(version, free, tmp_path_factory):
    """A server with both."""
    root = tmp_path_factory.mktemp("server")
    places = {"shared": version.parent, "prototypes": free.directory.parent}
    (root / "models.config").write_text(config_text(places))
    with running(f"--model_config_file={root / 'models.config'}", log=root / "log") as it:
        yield it


def task(kind, ways):
    """Class number k has k + 1 examples, cut to the size that the model has."""
    source = cml_tf.datasets.load("glyphs").episodes("test", ways=ways, shots=ways, queries=2, seed=0)
    episode = source.batch(0, 1)
    labels = episode.support.targets[0].numpy()
    kept = np.concatenate([np.flatnonzero(labels == way)[: way + 1] for way in range(ways)])
    names = np.array(["ant", "bee", "cat", "dog", "owl"])[labels[kept]].tolist()
    edge = IMAGE_SHAPE[0] if kind == "prototypes" else None
    support, query = (part.inputs[0].numpy()[:, :edge, :edge] for part in (episode.support, episode.query))
    return support[kept], names, query


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ways", [2, BOUND])
def test_library_saved_model_and_server_answer_alike(models, server, kind, ways, tmp_path):
    model, (inputs, names, asked) = models[kind], task(kind, ways)
    expected = model.adapt(inputs, names).predict(asked)
    assert expected.shape == (2 * ways, ways)
    if ways == BOUND:
        model.save(tmp_path / "saved")
        saved = eager(cml_tf.load(tmp_path / "saved")).adapt(inputs, names).predict(asked)
        np.testing.assert_allclose(saved, expected, rtol=1e-5, atol=1e-6)
    for address in server.addresses.values():
        with FewShotClient(address, kind) as client:
            for answer in (
                client.adapt_and_predict(inputs, names, asked),
                client.predict(client.adapt(inputs, names), asked),
            ):
                np.testing.assert_allclose(answer.values, expected, rtol=1e-4, atol=1e-5)
            with pytest.raises(ClientError, match=f"2 to {BOUNDS[kind]}"):
                client.adapt(np.repeat(inputs[:1], 8, 0), list("abcdefgh"))


def test_signatures_keep_their_statuses_and_padding_changes_nothing(free):
    generator = np.random.default_rng(0)
    support, query = (generator.uniform(size=(1, rows, 16, 16, 1)).astype("f4") for rows in (5, 3))
    labels = np.array([[0, 3, 3, 6, 0]], np.int32)
    whole = free("serving_default", support_inputs=support, support_labels=labels, query_inputs=query)
    assert whole["status"].tolist() == [status.OK] and whole["probabilities"].shape == (1, 3, 7)
    np.testing.assert_array_equal(whole["probabilities"][..., [1, 2, 4, 5]], 0)
    # Whatever their numbers, which the library gives anew.
    expected = free.in_process.adapt(support[0], labels[0]).predict(query[0])
    np.testing.assert_allclose(whole["probabilities"][0][:, [0, 3, 6]], expected, rtol=1e-5, atol=1e-6)

    def padded(array, filled):
        return np.concatenate([array, np.full((1, 2, *array.shape[2:]), filled, array.dtype)], 1)

    cut = free(
        "adapt_and_predict_padded",
        support_inputs=padded(support, np.nan),
        support_labels=padded(labels, 5),
        query_inputs=padded(query, np.nan),
        support_size=np.array([5], np.int32),
        query_size=np.array([3], np.int32),
    )
    np.testing.assert_allclose(cut["probabilities"][:, :3], whole["probabilities"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cut["probabilities"][:, 3:], 0)
    outside = free("serving_default", support_inputs=support, support_labels=labels + 1, query_inputs=query)
    assert outside["status"].tolist() == [status.LABEL_OUT_OF_RANGE]
    np.testing.assert_allclose(outside["probabilities"], 1 / 7, rtol=1e-6)
    adapted = free("adapt", support_inputs=support, support_labels=labels)
    assert adapted["adapted_state"][0, :7].tolist() == [1, 0, 0, 1, 0, 0, 1]
    keys = ("adapted_state", "model_fingerprint")
    later = free("predict", **{key: adapted[key] for key in keys}, query_inputs=query)
    np.testing.assert_allclose(later["probabilities"], whole["probabilities"], rtol=1e-5, atol=1e-6)
    before = free("initial_state", support_inputs=support, support_labels=labels)
    unadapted = free("predict", **{key: before[key] for key in keys}, query_inputs=query)
    np.testing.assert_array_equal(unadapted["probabilities"][..., [1, 2, 4, 5]], 0)


def test_cards_say_how_many_classes_there_may_be(version):
    card = json.loads((version / EXTRA / CARD).read_text())
    assert card["any_ways"] and card["problem"] == {"kind": "classification", "ways": BOUND}
    assert card["adapted_state"]["entries"][0] == {"name": "present_classes", "shape": [5], "offset": 0, "size": 5}
    text = (version / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "Few-shot 2- to 5-way classification" in text and "2 to 5 classes, 1 to 3 shots" in text
    assert "A task has 2 to 5 classes" in text


def test_one_run_is_scored_at_every_size_on_the_episodes_of_models_for_that_size(run, image_run):
    fixed, free = build_experiment(presets.images("glyphs", "maml,mlp,2way,2shot,smoke")), load_run(run)
    # Through the co-learner, which goes with it.
    of_size = evaluate_run(run, episodes=4, ways=2, shots=2, readout="co_learner_theta_adapted")
    assert of_size.manifest_hash == manifest_hash(fixed.episodes("test"), 4) and np.isfinite(of_size.mean)
    own, three, five = (manifest_hash(free.episodes("test", ways), 4) for ways in (None, 3, 5))
    assert own == three != five, "the configuration's own"
    assert free.problem == cml_tf.Classification(BOUND)
    with pytest.raises(UserError, match="at most 5"):
        evaluate_run(run, ways=6)
    with pytest.raises(UserError, match="each learned on their own"):
        evaluate_run(image_run, ways=2)


def test_either_kind_and_either_sampling_can_be_configured():
    for kind in KINDS:
        for sampling in ("uniform", "meta_dataset"):
            check_config(config(kind, **{"dataset.sampling": sampling}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adaptation.class_rows": "own"}, "must be empty for a model whose class rows"),
        ({"dataset.ways": 6}, "dataset.ways must be at most 5"),
        ({"dataset.sampling": "fixed"}, "just where no range is set"),
        ({"dataset.ways_range": (), "dataset.shots_range": ()}, "just where no range is set"),
        ({"dataset.ways_range": (5, 2)}, "the least and the most"),
        ({"dataset.shots_range": (1,)}, "the least and the most"),
        ({"train.jit_compile": True}, "XLA"),
        ({"adaptation.steps": 1}, "steps must be at least 2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, told):
    with pytest.raises(ConfigurationError, match=told):
        check_config(config(**changes))


def test_runs_of_before_there_were_sizes_have_one():
    old = config_to_json(presets.images("glyphs", "maml,smoke"))
    for section, keys in {"dataset": ("sampling", "ways_range", "shots_range"), "adaptation": ("class_rows",)}.items():
        for key in keys:
            del old[section][key]
    read = config_from_json(json.dumps(old))
    assert (read.dataset.sampling, read.dataset.ways_range, read.adaptation.class_rows) == ("fixed", (), "own")
