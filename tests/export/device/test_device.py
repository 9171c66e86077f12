"""A file that adapts with an interpreter alone: its answers, what its JSON file says, and what is refused."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, anil
from cml_tf.learners import conv4
from cml_tf.problems import Classification
from examples.device.few_shot import DeviceError, DeviceModel
from export.device import exporting
from export.device.conversion import converted, refusal
from export.device.exporting import export_to_device, write_for_device
from export.device.signatures import DeviceModule
from export.errors import ExportError
from tests.export.device.conftest import SIZES
from tests.export.forked_gate import forked_gate
from tests.export.served import IMAGE_SHAPE, WAYS, exportable, image_model, in_process, inputs_of
from tests.helpers.members import choice_with, contract_case

NAMES = ["ant", "bee", "cat"]


def ask(model, file):
    """The answer of the file and that of the graph that servers have, to one task."""
    inputs = inputs_of(model, support=SIZES.support, query=SIZES.query)
    runner = tf.lite.Interpreter(str(file)).get_signature_runner
    one = {name: array[0] for name, array in inputs.items()}
    query = {"query_inputs": one.pop("query_inputs")}
    if "adapt" not in json.loads(file.with_suffix(".json").read_text())["signatures"]:
        answer = runner("adapt_and_predict")(**one, **query)
    else:
        answer = runner("predict")(**runner("adapt")(**one), **query)
    served = in_process(model)
    return answer[served.output], served("serving_default", **inputs)[served.output][0]


def test_the_interpreter_answers_as_a_server_does_and_the_facts_are_true(letters, letters_file):
    answer, expected = ask(letters, letters_file)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
    facts = json.loads(letters_file.with_suffix(".json").read_text())
    assert facts["sha256"] == hashlib.sha256(letters_file.read_bytes()).hexdigest()
    assert (facts["support"], facts["queries"], facts["compared"]) == (*SIZES, 6)
    assert facts["problem"] == {"kind": "classification", "outputs": WAYS} and facts["origin"]["rule"] == "sgd"
    assert facts["inputs"] == {"shape": [2, 2, 1], "dtype": "float32", "value_range": [0.0, 1.0]}
    assert not facts["predictions_depend_on_other_queries"]
    runner = tf.lite.Interpreter(str(letters_file)).get_signature_runner("predict")
    told = facts["signatures"]["predict"]
    assert {name: list(one["shape"]) for name, one in runner.get_input_details().items()} == {
        name: one["shape"] for name, one in told["inputs"].items()
    }


def test_the_example_names_classes_and_leaves_out_those_that_were_not_shown(letters, letters_file, monkeypatch):
    inputs = inputs_of(letters, support=SIZES.support, query=SIZES.query)
    model, support, query = (
        DeviceModel(letters_file, tf.lite.Interpreter),
        *(inputs[name][0] for name in ("support_inputs", "query_inputs")),
    )
    task = model.adapt(support, [NAMES[label] for label in inputs["support_labels"][0]])
    assert task.names == tuple(NAMES)
    np.testing.assert_allclose(task.predict(query), ask(letters, letters_file)[1], rtol=1e-5, atol=1e-5)
    shown = model.adapt(support, ["ant", "bee"] * 3)
    two = shown.predict(query)
    assert two.shape == (SIZES.query, 2) and two.dtype == np.float32
    np.testing.assert_allclose(two.sum(1), 1, rtol=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(model, "run", lambda *_, **__: {"probabilities": np.float32([[0, 0, 1]] * SIZES.query)})
        np.testing.assert_array_equal(shown.predict(query), 0.5)
    for spoilt in (support[1:], support + 1, support * np.nan):
        with pytest.raises(DeviceError, match="support_inputs must be"):
            model.adapt(spoilt, NAMES * 2)
    with pytest.raises(DeviceError, match="2 to 3 classes, received 4"):
        model.adapt(support, list("abcdab"))
    with pytest.raises(DeviceError, match="one target"):
        model.adapt(support, NAMES)


def test_files_that_do_not_belong_together_are_refused(letters_file, tmp_path):
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(letters_file.read_bytes() + b" ")
    copy.with_suffix(".json").write_bytes(letters_file.with_suffix(".json").read_bytes())
    with pytest.raises(DeviceError, match="copy both"):
        DeviceModel(copy, tf.lite.Interpreter)


def test_a_file_that_answers_otherwise_is_not_written(letters, tmp_path, monkeypatch):
    other = exportable(letters.learner, letters.problem, SGD(0.2), 2)
    monkeypatch.setattr(exporting, "converted", lambda module: converted(DeviceModule(other, SIZES)))
    with forked_gate(), pytest.raises(ExportError, match="signature adapt.*adapted_state.*Nothing was published"):
        write_for_device(letters, SIZES, tmp_path / "letters.tflite")
    assert list(tmp_path.iterdir()) == []


REFUSALS = [
    (["Conv2DBackpropFilter", "MaxPoolGrad"], "received Conv2DBackpropFilter, MaxPoolGrad for gradients through conv"),
    (["SelfAdjointEigV2"], "for eigenvalues: choose another rule"),
    (["ScaleAndTranslate"], "images brought to another size"),
    (["Fft", "SelfAdjointEigV2"], "received Fft for a layer or the rule; SelfAdjointEigV2 for eigenvalues: "),
]


@pytest.mark.parametrize(("operations", "words"), REFUSALS)
def test_refusals_name_the_operation_and_what_it_is_for(operations, words):
    assert words in refusal(operations)


def test_what_cannot_run_there_is_refused_before_anything_is_written(nodes, letters, tmp_path):
    with forked_gate(), pytest.raises(ExportError, match=r"Conv2DBackpropFilter.*anil"):
        write_for_device(image_model(steps=1), SIZES, tmp_path / "letters.tflite")
    with pytest.raises(ExportError, match="SparseTensorDenseMatMul"):
        write_for_device(nodes.model, SIZES, tmp_path / "letters.tflite")
    for write in (
        lambda: write_for_device(letters, SIZES, tmp_path / "m.onnx"),
        lambda: export_to_device(tmp_path, tmp_path),
    ):
        with pytest.raises(ExportError, match="NAME.tflite"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_written_in_the_sizes_of_its_training(wave_run, tmp_path):
    with forked_gate():
        file = export_to_device(wave_run, tmp_path / "waves.tflite")
    facts = json.loads(file.with_suffix(".json").read_text())
    assert facts["problem"]["kind"] == "regression" and facts["origin"]["checkpoint"] == "best"
    model = DeviceModel(file, tf.lite.Interpreter)
    points = np.linspace(-1, 1, facts["support"], dtype=np.float32)[:, None]
    answer = model.adapt(points, np.sin(points)).predict(np.zeros((facts["queries"], 1)))
    assert np.isfinite(answer).all() and answer.shape == (facts["queries"], 1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gradient_flow", "hypernetwork", "kernel_ridge", "soft_k_means"])
def test_rules_without_gradients_of_the_body_run_with_convolutions(rule, tmp_path):
    method, episode = contract_case(choice_with("rule", rule).with_members([("learner", "conv4")]))
    shape = tuple(episode.support.inputs.shape[2:])
    model = exporting.Exportable(method, Classification(3), (0.0, 1.0))
    assert model.input_shape == shape
    with forked_gate():
        answer, expected = ask(model, write_for_device(model, SIZES, tmp_path / "m.tflite"))
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_anil_runs_with_convolutions(tmp_path):
    """Converted and asked in processes that are fresh indeed."""
    model = exportable(conv4(WAYS, IMAGE_SHAPE, 2), Classification(WAYS), anil(SGD(0.1)), 2)
    answer, expected = ask(model, write_for_device(model, SIZES, tmp_path / "m.tflite"))
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)
