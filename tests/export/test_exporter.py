"""From a trained run to a version: what is in it, and that nothing is there when the gate fails."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import export.exporter
from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run
from export.errors import ExportError
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_model, export_run, exportable
from export.gate.reference import Reference
from export.graph.serving_module import fingerprint, variables_digest
from export.requests.files import Request
from tests.export.served import Owned, Served, support_only
from tests.export.served import request as inputs_of

FILES = {"saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb"}


def _loaded(directory) -> Served:
    loaded = tf.saved_model.load(str(directory))
    return Served(None, None, Owned(loaded.signatures, loaded), directory)


@pytest.fixture(scope="module")
def classifier(image_run, tmp_path_factory):
    """A run exported for good, parity gate included."""
    return export_run(image_run, tmp_path_factory.mktemp("models") / "pictures", Options(evaluate_episodes=3))


@pytest.fixture(scope="module")
def card(classifier):
    return json.loads((classifier / EXTRA / CARD).read_text())


def test_a_version_holds_what_a_server_needs(classifier, image_run):
    assert classifier.name == "1" and {path.name for path in classifier.iterdir()} == FILES
    assert {path.name for path in (classifier / EXTRA).iterdir()} == {CARD, CARD_FOR_PEOPLE, WARM_UP, "config.json"}
    assert json.loads((classifier / EXTRA / "config.json").read_text()) == json.loads(
        (image_run / "config.json").read_text()
    )


def test_it_answers_as_the_run_that_it_comes_from(classifier, image_run):
    model = load(image_run)
    served = _loaded(classifier)
    inputs = inputs_of(export.exporter.Exportable(model.method, model.problem, model.value_range))
    answer = served("serving_default", **inputs)
    support, labels = (array[0] for array in support_only(inputs).values())
    expected = model.adapt(support, labels).predict(inputs["query_inputs"][0])
    np.testing.assert_allclose(answer["probabilities"][0], expected, rtol=1e-5, atol=1e-5)


def test_the_co_learner_is_not_in_the_file(classifier, image_run):
    held = b"".join(path.read_bytes() for path in sorted((classifier / "variables").iterdir()))
    held += (classifier / "saved_model.pb").read_bytes() + (classifier / "fingerprint.pb").read_bytes()
    assert b"co_learner" not in held
    values = [value.ravel() for value in _variables(classifier)]
    assert sum(map(len, values)) == sum(
        int(np.prod(v.shape)) for v in load(image_run).method.trained_variables()["learner"]
    )


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
    assert set(card["signatures"]) == set(_loaded(classifier).functions.functions)
    assert card["libraries"]["tensorflow"] == tf.__version__
    assert card["config"] == json.loads((image_run / "config.json").read_text())


def test_the_card_s_digest_is_that_of_the_file(card, classifier):
    assert card["variables_sha256"] == variables_digest(_variables(classifier))
    assert card["model_fingerprint"] == fingerprint(card["variables_sha256"])
    served = _loaded(classifier)
    shape = (1, 3, 16, 16, 1)
    answer = served("adapt", support_inputs=np.zeros(shape, np.float32), support_labels=np.int32([[0, 1, 2]]))
    assert answer["model_fingerprint"].tolist() == [card["model_fingerprint"]]


def test_the_card_for_people_tells_the_same(card, classifier):
    text = (classifier / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert text.startswith("# pictures\n")
    for part in (f"{card['metrics']['mean']:.4f}", f"± {card['metrics']['ci95']:.4f}", card["variables_sha256"]):
        assert part in text
    assert "depends on the other queries" in text
    for name in card["signatures"]:
        assert f"### `{name}`" in text


def test_cml_dagger_serves_the_co_learner(image_run, tmp_path, monkeypatch):
    # Its parity is the gate's affair, which other tests see; here the file is what matters.
    monkeypatch.setattr(export.exporter, "check_parity", lambda *arguments: None)
    path = export_run(image_run, tmp_path / "dagger", Options(readout="co_learner", steps=2, version=4))
    assert path == tmp_path / "dagger" / "4"
    card = json.loads((path / EXTRA / CARD).read_text())
    assert card["adaptation"]["readout"] == "co_learner" and card["adaptation"]["steps"] == 2
    assert card["parameters"]["left_behind"] == {} and card["metrics"] is None
    model, served = load(image_run, "co_learner"), _loaded(path)
    inputs = inputs_of(export.exporter.Exportable(model.method, model.problem, model.value_range))
    support, labels = (array[0] for array in support_only(inputs).values())
    expected = model.adapt(support, labels, steps=2).predict(inputs["query_inputs"][0])
    np.testing.assert_allclose(served("serving_default", **inputs)["probabilities"][0], expected, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(readout="co_learner_theta_adapted"), "readout must be one of learner, co_learner"),
        (Options(steps=-1), "steps must be 0 or more"),
        (Options(version=0), "version must be an integer"),
    ],
)
def test_what_cannot_be_exported_is_refused(wave_run, tmp_path, options, message):
    with pytest.raises(ExportError, match=message):
        export_run(wave_run, tmp_path / "waves", options)
    assert list(tmp_path.iterdir()) == []


def _variables(directory):
    """The served variables in their order, read from the file alone."""
    reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return [reader.get_tensor(name) for name in sorted(names, key=lambda name: int(name.split("/")[1]))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shots": 0}, "shots and queries must be whole numbers of at least 1, received 0 and 1"),
        ({"shots": 1.5}, "shots and queries must be whole numbers of at least 1, received 1.5 and 1"),
        ({"value_range": None}, r"make it with FewShotModel\.of\(trainer, \(lowest, highest\)\)"),
        ({"normalise_features": True}, "must be told of a model on nodes, and of no other"),
    ],
)
def test_a_model_from_python_needs_a_range_and_examples(wave_run, tmp_path, arguments, message):
    model = load(wave_run)
    model.value_range = arguments.get("value_range", model.value_range)
    with pytest.raises(ExportError, match=message):
        export_model(
            model,
            tmp_path / "waves",
            shots=arguments.get("shots", 1),
            queries=1,
            normalise_features=arguments.get("normalise_features"),
        )
    assert not (tmp_path / "waves").exists()


@pytest.mark.slow
def test_a_model_that_was_saved_is_exported_like_the_run_it_comes_from(wave_run, tmp_path):
    model = load(wave_run)
    model.save(tmp_path / "saved")
    version = export_model(load(tmp_path / "saved"), tmp_path / "waves", shots=5, queries=10)
    card = json.loads((version / EXTRA / CARD).read_text())
    assert card["adaptation"] == {"rule": "SGD", "partition": "all", "steps": 1, "readout": "learner"}
    assert card["data"] == {"shots": 5, "queries": 10} and card["config"] is None
    expected = Reference(exportable(load_run(wave_run), Options()), 0)
    served = _loaded(version)
    request = {
        "support_inputs": np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 5, 1),
        "support_targets": np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 5, 1),
        "query_inputs": np.zeros((1, 2, 1), np.float32),
    }
    answer = served("serving_default", **request)
    wanted = expected.answer(Request("serving_default", request))
    np.testing.assert_allclose(answer["predictions"], wanted["predictions"], rtol=1e-5, atol=1e-5)
