"""From a trained run to a version: what is in it, and that nothing is there when the gate fails."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from jinja2 import UndefinedError
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import export.exporter
from cml_tf.boundary.digest import variables_digest
from cml_tf.experiments import presets
from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run, train_run
from cml_tf.registry import members
from export.card.markdown import card_markdown
from export.card.origin import read_evaluation
from export.errors import ExportError
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_model, export_run, exportable
from export.gate.parity import check_answers
from export.graph.buckets import PARAMETERS
from export.graph.serving_module import fingerprint
from export.requests.files import read_requests
from tests.export.forked_gate import forked_gate
from tests.export.served import CLOSE, eager, in_process, inputs_of, loaded, support_only
from tests.helpers.programs import run_programs

pytestmark = pytest.mark.slow

FILES = {"saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb"}


@pytest.fixture(scope="module")
def calibrated(image_run, tmp_path_factory):
    """What calibration of a run printed, and its folder with confidence and picture."""
    folder = tmp_path_factory.mktemp("calibrated")
    flags = ["--shots=1,2", "--episodes=8", "--test_episodes=6", f"--workdir={image_run}"]
    flags += [f"--output={folder / 'confidence.json'}", f"--picture={folder / 'sure.png'}"]
    (fitted,) = run_programs([["cml_tf.calibrate", *flags]])
    assert (fitted.code, fitted.messages) == (0, [])
    return fitted, folder


@pytest.fixture(scope="module")
def classifier(image_run, calibrated, tmp_path_factory):
    """A run exported for good, parity gate included, with its confidence."""
    options = Options(evaluate_episodes=3, confidence=calibrated[1] / "confidence.json")
    return export_run(image_run, tmp_path_factory.mktemp("models") / "pictures", options)


@pytest.fixture(scope="module")
def served_classifier(classifier):
    return loaded(classifier)


@pytest.fixture(scope="module")
def card(classifier):
    return json.loads((classifier / EXTRA / CARD).read_text())


@pytest.mark.parametrize("readout", ["learner", "co_learner"])
def test_it_answers_as_the_run_that_it_comes_from(served_classifier, image_run, readout):
    """Also through the co-learner, which is CML-dagger, and with other steps."""
    exported, steps = exportable(load_run(image_run), Options(readout=readout, steps=2)), 2
    served = in_process(exported)
    if readout == "learner":
        served, steps = served_classifier, None
    inputs, model = inputs_of(exported), eager(load(image_run, readout))
    support, labels = (array[0] for array in support_only(inputs).values())
    expected = model.adapt(support, labels, steps=steps).predict(inputs["query_inputs"][0])
    np.testing.assert_allclose(served("serving_default", **inputs)["probabilities"][0], expected, **CLOSE)


def test_a_run_is_calibrated_measured_and_exported_with_its_confidence(image_run, calibrated, classifier, tmp_path):
    fitted, folder = calibrated
    summary, file = fitted.last_json, json.loads((folder / "confidence.json").read_text())
    assert summary["measures"]["1"]["scores"].keys() == file["validation_areas"].keys() == members("open_set").keys()
    with Image.open(folder / "sure.png") as drawn:
        assert drawn.width > drawn.height > 800, "three panels in two rows"
    assert "histograms" not in summary["measures"]["1"], "numbers for the picture are in the file"
    assert summary["measures"].keys() == {"1", "2"} and summary["unknown_classes"] == 1
    before, after = (summary["measures"]["1"][when] for when in ("before", "after"))
    assert before.keys() == {"accuracy", "nll", "brier", "ece", "auroc", "fpr95"}
    assert after.keys() - before.keys() == {"coverage", "set_size", "false_accept", "true_accept"}
    assert after["accuracy"] == before["accuracy"], "a temperature changes no answer"
    assert f"{after['nll']['mean']:.4f} ± {after['nll']['ci95']:.4f}" in fitted.out
    assert json.loads((classifier / EXTRA / CARD).read_text())["confidence"] == file["confidence"]
    text = (classifier / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "`prediction_set`: 1 for each class" in text and "episodes of 3 classes with 1, 2 support" in text
    assert summary["ways"] == file["confidence"]["fitted_ways"] == 3

    def exportable_with(**change):
        path = tmp_path / "changed.json"
        path.write_text(json.dumps({**file, "confidence": {**file["confidence"], **change}}))
        return exportable(load_run(image_run), Options(confidence=path))

    closed = exportable_with(open_set=None).query_outputs
    assert closed.keys() == {"probabilities", "calibrated_probabilities", "prediction_set"}
    with pytest.raises(ExportError, match="confidence must be of this very model"):
        exportable_with(steps=0)


@pytest.mark.slow
def test_a_regression_of_two_numbers_answers_as_its_run_far_from_zero_too(tmp_path):
    run, config = tmp_path / "alpine", presets.surfaces("alpine", "maml,5shot,smoke")
    config.update_from_flattened_dict({"adaptation.steps": 1, "adaptation.eval_steps": 1, "learner.hidden": (4,)})
    source = train_run(config, run, verbose=0).episodes("test")
    with forked_gate():
        version = export_run(run, tmp_path / "models", Options(evaluate_episodes=3))
    support, query = source.batch(0, 1)[:2]
    assert np.abs(support.inputs).max() > 5
    asked = {"support_inputs": support.inputs, "support_targets": support.targets, "query_inputs": query.inputs}
    expected = load(run).adapt(support.inputs[0].numpy(), support.targets[0].numpy()).predict(query.inputs[0].numpy())
    answer = loaded(version)("serving_default", **asked)["predictions"][0]
    np.testing.assert_allclose(answer, expected, **CLOSE)
    told = json.loads((version / EXTRA / CARD).read_text())
    assert told["inputs"] == {"shape": [2], "dtype": "float32", "value_range": [-10.0, 10.0]}
    assert told["metrics"]["nrmse"] > 0 and told["metrics"]["metric"] == "mse"


def test_a_version_holds_what_a_server_needs_and_no_co_learner(card, classifier, served_classifier, image_run):
    assert classifier.name == "1" and {path.name for path in classifier.iterdir()} == FILES
    assert {path.name for path in (classifier / EXTRA).iterdir()} == {
        *(CARD, CARD_FOR_PEOPLE, WARM_UP, "config.json", "manifest.json"),
    }
    held = b"".join(path.read_bytes() for path in sorted((classifier / "variables").iterdir()))
    held += (classifier / "saved_model.pb").read_bytes() + (classifier / "fingerprint.pb").read_bytes()
    assert b"co_learner" not in held
    reader = tf.train.load_checkpoint(str(classifier / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    values = [reader.get_tensor(name) for name in sorted(names, key=lambda name: int(name.split("/")[1]))]
    trained = load(image_run).method.trained_variables()["learner"]
    assert sum(value.size for value in values) == sum(int(np.prod(v.shape)) for v in trained)
    # The card's digest is that of the file.
    assert card["variables_sha256"] == variables_digest(values)
    saved = saved_model_pb2.SavedModel.FromString((classifier / "saved_model.pb").read_bytes())
    assert not saved.meta_graphs[0].graph_def.library.registered_gradients, "nobody differentiates what is served"
    assert card["model_fingerprint"] == fingerprint(card["variables_sha256"])
    support = {"support_inputs": np.zeros((1, 3, 16, 16, 1), np.float32), "support_labels": np.int32([[0, 1, 2]])}
    assert served_classifier("adapt", **support)["model_fingerprint"].tolist() == [card["model_fingerprint"]]


def test_the_card_says_what_it_is(card, classifier, served_classifier, image_run):
    assert card["problem"] == {"kind": "classification", "ways": 3}
    assert card["inputs"] == {"shape": [16, 16, 1], "dtype": "float32", "value_range": [0.0, 1.0]}
    assert card["adaptation"] == {"rule": "sgd", "partition": "all", "steps": 1, "readout": "learner"}
    assert card["metrics"].keys() >= {"metric", "mean", "ci95", "episodes", "seed", "manifest_hash", "split"}
    assert (card["metrics"]["episodes"], card["metrics"]["split"]) == (3, "test")
    assert card["queries"]["normalisation"] == ["batch_transductive"] == list(card["queries"]["statistics"])
    assert card["queries"]["predictions_depend_on_other_queries"] is True
    state = card["adapted_state"]
    assert state["length"] == sum(entry["size"] for entry in state["entries"])
    kept = [entry["size"] for entry in state["entries"] if entry["name"].startswith(("extractor/", "head/"))]
    assert sum(kept) == card["parameters"]["served"], "the rest is of the confidence"
    assert state["entries"][0] == {"name": "extractor/0000/kernel", "shape": [256, 8], "offset": 0, "size": 2048}
    assert card["parameters"]["left_behind"].keys() == {"co_learner"}
    assert {*card["signatures"], ""} == served_classifier.functions.keys()
    assert card["libraries"]["tensorflow"] == tf.__version__
    config = json.loads((image_run / "config.json").read_text())
    assert card["config"] == json.loads((classifier / EXTRA / "config.json").read_text()) == config
    text = (classifier / EXTRA / CARD_FOR_PEOPLE).read_text()
    figures = (f"{card['metrics']['mean']:.4f}", f"± {card['metrics']['ci95']:.4f}", card["variables_sha256"])
    signatures = (f"### `{name}`" for name in card["signatures"])
    for part in ("# pictures\n", "depends on the other queries", *figures, *signatures):
        assert part in text


LIMITED = "- A task may have at most "
EVALUATION = {"metric": "accuracy", "mean": 0.5, "ci95": 0.0125, "episodes": 600, "seed": 1, "manifest_hash": "e1"}
# What is changed of the card, and the line that people then read.
LINES = [
    ({}, "- Examples of shape [16, 16, 1], float32, values from 0 to 1."),
    ({}, "| output | `probabilities` | float32 | any x any x 3 |"),
    ({}, "| `extractor/0000/kernel` | [256, 8] | 0 | 2048 |"),
    ({}, f"| tensorflow | {tf.__version__} |"),
    (
        {"data": {"shots": 1, "queries": 15}, "config": None},
        "| data | not recorded: trained from Python, 1 shots, 15 queries per class in training |",
    ),
    ({"parameters": {"served": 112345, "left_behind": {}}}, "| parameters served | 112,345 |"),
    ({"metrics": EVALUATION}, "| accuracy | 0.5000 | ± 0.0125 | 600 | not recorded | 1 |"),
    ({"metrics": None}, "## Metrics"),
    (
        {"limits": {"support_examples": 1000, "queries": 50}},
        f"{LIMITED}1,000 support examples and 50 queries; a larger task gets status 4.",
    ),
    ({"limits": {"support_examples": None, "queries": 50}}, f"{LIMITED}50 queries; a larger task gets status 4."),
    (
        {"limits": {"support_examples": None, "queries": None, "queries_in_files": None}},
        "- The number of queries is not limited.",
    ),
    (
        {"limits": {"support_examples": None, "queries": None, "queries_in_files": 21392}},
        "- The number of queries is not limited; of queries that are image files there may be 21,392.",
    ),
    (
        {"batching": {"buckets": [{"support": 5, "query": 10}, {"support": 50, "query": 75}]}},
        "- Exported for servers that batch requests; shape buckets (support examples + queries): 5 + 10, 50 + 75.",
    ),
    ({"training": {"steps": 9, "checkpoint": "best"}}, "| trained | 9 outer steps, checkpoint `best` |"),
    ({"git_commit": "c0ffee+changes"}, "| git commit | `c0ffee+changes` |"),
    ({"git_commit": None}, "| git commit | not exported from a Git checkout |"),
    # Markdown is no HTML: nothing is escaped that people would then read.
    ({"name": "birds & bees"}, "# birds & bees"),
]


def test_the_lines_of_cards_for_people(card):
    for changed, line in LINES:
        text = card_markdown({**card, **changed})
        assert line in text.splitlines() and "\n\n\n" not in text and text.endswith(("|\n", ".\n")), line
    with pytest.raises(UndefinedError, match="status"):
        card_markdown({key: value for key, value in card.items() if key != "status"})


PRINTED = {**EVALUATION, "split": "test", "readout": "learner"}
OF_OTHERS = (("split", "train"), ("dataset", "omniglot"), ("ways", 20), ("shots", 5), ("single_queries", True))
NO_EVALUATIONS = [
    *(("a table", "last line"), ("[]", "last line"), ('{"metric": "accuracy"}', "mean, ci95")),
    *((json.dumps({**PRINTED, "mean": mean}), words) for mean, words in ((float("nan"), "finite"), ("x", "last line"))),
    *((json.dumps({**PRINTED, key: value}), value) for key, value in (("metric", "mse"), ("readout", "co_learner"))),
    *((json.dumps({**PRINTED, key: value}), f"received {key} {value}: evaluate") for key, value in OF_OTHERS),
]


def test_all_that_evaluate_printed_may_be_in_the_file_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "out"
    path.write_text(f"a table\nof lines\n{json.dumps(PRINTED)}\n")
    assert read_evaluation(path, "accuracy", "learner") == PRINTED
    for text, message in NO_EVALUATIONS:
        path.write_text(text)
        with pytest.raises(ExportError, match=message):
            read_evaluation(path, "accuracy", "learner")
    with pytest.raises(ExportError, match="No such file"):
        read_evaluation(tmp_path / "none", "accuracy", "learner")


def test_a_version_that_is_taken_is_told_before_anything_is_made(tmp_path):
    (tmp_path / "waves/3").mkdir(parents=True)
    with pytest.raises(ExportError, match="version 3 exists"):
        export_run(tmp_path / "no run", tmp_path / "waves", Options(version=3))


def test_a_failing_gate_leaves_nothing_behind(wave_run, tmp_path, monkeypatch):
    """What the gate notices, and that it says where, is in gate/test_gate.py."""

    def gate(model, directory, warm_up_file, *rest):
        assert (directory / "saved_model.pb").is_file() and warm_up_file.is_file()
        raise ExportError("the answers differ")

    monkeypatch.setattr(export.exporter, "check_parity", gate)
    with pytest.raises(ExportError, match="the answers differ"):
        export_run(wave_run, tmp_path / "models" / "waves", Options(steps=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_that_cannot_be_loaded_fails_the_gate(waves, tmp_path):
    copy = shutil.copytree(waves.directory, tmp_path / "1")
    data = copy / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(ExportError, match="cannot load"):
        check_answers(copy, {"warm-up": copy / EXTRA / WARM_UP}, {}, loaders=2)


@pytest.mark.slow
def test_the_program_exports_with_buckets_and_says_what_is_wrong(wave_run, tmp_path):
    run = ["export.savedmodel", f"--workdir={wave_run}", f"--model_dir={tmp_path / 'waves'}"]
    batching = ["--steps=2", "--batching", "--buckets=6_9,4_9"]
    done, missing = run_programs([[*run, *batching], [*run, f"--workdir={tmp_path / 'none'}"]])
    assert done.code == 0, done.err
    version = tmp_path / "waves" / "1"
    assert done.out.splitlines()[-1] == str(version) and [path.name for path in version.parent.iterdir()] == ["1"]
    assert missing.code == 2 and missing.messages[-1].startswith("error: ") and "no run" in missing.messages[-1]
    assert (version / PARAMETERS).is_file()
    card = json.loads((version / EXTRA / CARD).read_text())
    assert card["batching"] == {"buckets": [{"support": 6, "query": 9}, {"support": 4, "query": 9}]}
    assert (
        card["limits"] == {"support_examples": 2**20, "queries": None, "queries_in_files": None}
        and card["adaptation"]["steps"] == 2
    )
    requests = read_requests(version / EXTRA / WARM_UP)
    of_buckets = [name for name in card["signatures"] if name[-1].isdigit()]
    assert sorted(of_buckets) == sorted(request.signature for request in requests[-5:])
    queries = [request.inputs["query_inputs"] for request in requests[-5:] if "query_inputs" in request.inputs]
    assert {array.shape[1] for array in queries} == {9}


REFUSED = [
    (Options(readout="co_learner_theta_adapted"), "readout"),
    (Options(steps=-1), "steps"),
    (Options(version=0), "version"),
    ({"shots": 0}, "0 and 1"),
    ({"shots": 1.5}, "1.5 and 1"),
    ({"value_range": None}, r"FewShotModel\.of"),
    ({"normalise_features": True}, "nodes"),
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
