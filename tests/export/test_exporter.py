"""From a trained run to a version: what is in it, and that nothing is there when the gate fails."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import export.exporter
from cml_tf.experiments import presets
from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run, train_run
from export.errors import ExportError
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_model, export_run, exportable
from export.gate.reference import Reference
from export.graph.serving_module import fingerprint, variables_digest
from tests.export.served import in_process, inputs_of, loaded, support_only

FILES = {"saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb"}


@pytest.fixture(scope="module")
def classifier(image_run, tmp_path_factory):
    """A run exported for good, parity gate included."""
    return export_run(image_run, tmp_path_factory.mktemp("models") / "pictures", Options(evaluate_episodes=3))


@pytest.fixture(scope="module")
def card(classifier):
    return json.loads((classifier / EXTRA / CARD).read_text())


@pytest.mark.parametrize("readout", ["learner", "co_learner"])
def test_it_answers_as_the_run_that_it_comes_from(classifier, image_run, readout):
    """Also through the co-learner, which is CML-dagger, and with other steps."""
    exported, steps = exportable(load_run(image_run), Options(readout=readout, steps=2)), 2
    served = in_process(exported)
    if readout == "learner":
        served, steps = loaded(classifier), None
    inputs, model = inputs_of(exported), load(image_run, readout)
    support, labels = (array[0] for array in support_only(inputs).values())
    expected = model.adapt(support, labels, steps=steps).predict(inputs["query_inputs"][0])
    np.testing.assert_allclose(served("serving_default", **inputs)["probabilities"][0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_regression_of_two_numbers_answers_as_its_run_far_from_zero_too(tmp_path):
    run = tmp_path / "alpine"
    source = train_run(presets.surfaces("alpine", "maml,5shot,smoke"), run, verbose=0).episodes("test")
    version = export_run(run, tmp_path / "models", Options(evaluate_episodes=3))
    support, query = source.batch(0, 1)[:2]
    assert np.abs(support.inputs).max() > 5
    asked = {"support_inputs": support.inputs, "support_targets": support.targets, "query_inputs": query.inputs}
    expected = load(run).adapt(support.inputs[0].numpy(), support.targets[0].numpy()).predict(query.inputs[0].numpy())
    answer = loaded(version)("serving_default", **asked)["predictions"][0]
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    told = json.loads((version / EXTRA / CARD).read_text())
    assert told["inputs"] == {"shape": [2], "dtype": "float32", "value_range": [-10.0, 10.0]}
    assert told["metrics"]["nrmse"] > 0 and told["metrics"]["metric"] == "mse"


def test_a_version_holds_what_a_server_needs_and_no_co_learner(classifier, image_run):
    assert classifier.name == "1" and {path.name for path in classifier.iterdir()} == FILES
    assert {path.name for path in (classifier / EXTRA).iterdir()} == {CARD, CARD_FOR_PEOPLE, WARM_UP, "config.json"}
    held = b"".join(path.read_bytes() for path in sorted((classifier / "variables").iterdir()))
    held += (classifier / "saved_model.pb").read_bytes() + (classifier / "fingerprint.pb").read_bytes()
    assert b"co_learner" not in held
    trained = load(image_run).method.trained_variables()["learner"]
    assert sum(value.size for value in _variables(classifier)) == sum(int(np.prod(v.shape)) for v in trained)


def test_the_card_says_what_it_is(card, classifier, image_run):
    assert card["problem"] == {"kind": "classification", "ways": 3}
    assert card["inputs"] == {"shape": [16, 16, 1], "dtype": "float32", "value_range": [0.0, 1.0]}
    assert card["adaptation"] == {"rule": "sgd", "partition": "all", "steps": 1, "readout": "learner"}
    assert card["metrics"].keys() >= {"metric", "mean", "ci95", "episodes", "seed", "manifest_hash", "split"}
    assert (card["metrics"]["episodes"], card["metrics"]["split"]) == (3, "test")
    assert card["queries"]["normalisation"] == ["batch_transductive"]
    assert card["queries"]["predictions_depend_on_other_queries"] is True
    state = card["adapted_state"]
    assert state["length"] == card["parameters"]["served"] == sum(entry["size"] for entry in state["entries"])
    assert state["entries"][0] == {"name": "extractor/0000/kernel", "shape": [3, 3, 1, 8], "offset": 0, "size": 72}
    assert card["parameters"]["left_behind"].keys() == {"co_learner"}
    assert set(card["signatures"]) == set(loaded(classifier).functions.functions)
    assert card["libraries"]["tensorflow"] == tf.__version__
    config = json.loads((image_run / "config.json").read_text())
    assert card["config"] == json.loads((classifier / EXTRA / "config.json").read_text()) == config
    text = (classifier / EXTRA / CARD_FOR_PEOPLE).read_text()
    figures = (f"{card['metrics']['mean']:.4f}", f"± {card['metrics']['ci95']:.4f}", card["variables_sha256"])
    signatures = (f"### `{name}`" for name in card["signatures"])
    for part in ("# pictures\n", "depends on the other queries", *figures, *signatures):
        assert part in text


def test_the_card_s_digest_is_that_of_the_file(card, classifier):
    assert card["variables_sha256"] == variables_digest(_variables(classifier))
    assert card["model_fingerprint"] == fingerprint(card["variables_sha256"])
    support = {"support_inputs": np.zeros((1, 3, 16, 16, 1), np.float32), "support_labels": np.int32([[0, 1, 2]])}
    assert loaded(classifier)("adapt", **support)["model_fingerprint"].tolist() == [card["model_fingerprint"]]


def test_a_failing_gate_says_where_and_leaves_nothing_behind(wave_run, tmp_path, monkeypatch):
    honest = Reference.answer

    def off(self, request):
        answer = dict(honest(self, request))
        if request.signature == "predict":
            answer["predictions"] = answer["predictions"] + np.float32(0.01)
        return answer

    monkeypatch.setattr(Reference, "answer", off)
    with pytest.raises(ExportError, match=r"signature predict\) through a plain Session: predictions.* expected"):
        export_run(wave_run, tmp_path / "models" / "waves")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_that_cannot_be_loaded_fails_the_gate(wave_run, tmp_path, monkeypatch):
    honest = export.exporter.check_parity

    def cut(model, directory, *rest):
        data = directory / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-100])
        return honest(model, directory, *rest)

    monkeypatch.setattr(export.exporter, "check_parity", cut)
    with pytest.raises(ExportError, match="a fresh process cannot load"):
        export_run(wave_run, tmp_path / "waves")
    assert list(tmp_path.iterdir()) == []


WHOLE = "shots and queries must be whole numbers of at least 1, received "
REFUSED = [
    (Options(readout="co_learner_theta_adapted"), "readout must be one of co_learner, learner"),
    (Options(steps=-1), "steps must be 0 or more"),
    (Options(version=0), "version must be an integer"),
    ({"shots": 0}, f"{WHOLE}0 and 1"),
    ({"shots": 1.5}, f"{WHOLE}1.5 and 1"),
    ({"value_range": None}, r"create it with FewShotModel\.of\(trainer, \(lowest, highest\)\)"),
    ({"normalise_features": True}, "must be True or False for a model on nodes and None"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_cannot_be_exported_is_refused(wave_run, tmp_path, given, message):
    with pytest.raises(ExportError, match=message):
        if isinstance(given, Options):
            export_run(wave_run, tmp_path / "waves", given)
        model, arguments = load(wave_run), {"shots": 1, "queries": 1, **given}
        model.value_range = arguments.pop("value_range", model.value_range)
        export_model(model, tmp_path / "waves", **arguments)
    assert list(tmp_path.iterdir()) == []


def _variables(directory):
    """The served variables in their order, read from the file alone."""
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return [reader.get_tensor(name) for name in sorted(names, key=lambda name: int(name.split("/")[1]))]
