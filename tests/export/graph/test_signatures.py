"""What is served is what the library computes, for every signature and every kind of model."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.adaptation import SGD, MetaSGD, PerStepRates, anil, boil
from cml_tf.learners import conv4, mlp
from cml_tf.objectives import CoLearner
from cml_tf.problems import Classification, Regression
from cml_tf.readouts.readouts import read_through
from export.errors import ExportError
from export.graph.exportable import Exportable
from export.graph.specifications import input_specifications, output_specifications
from tests.export.served import (
    IMAGE_SHAPE,
    WAYS,
    exportable,
    image_model,
    in_process,
    sizes,
    state_of,
    support_only,
    wave_model,
)
from tests.export.served import request as inputs_of
from tests.helpers.few_shot import image_trainer

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _dagger(readout: str = "co_learner") -> Exportable:
    method = image_trainer().method
    return Exportable(read_through(method, Classification(WAYS), readout), Classification(WAYS), (0.0, 1.0))


def _vectors(rule, steps: int = 3) -> Exportable:
    return exportable(mlp(WAYS, (2,), hidden=(4, 4)), Classification(WAYS), rule, steps)


def _maml_plus_plus(steps: int = 2) -> Exportable:
    learner = conv4(WAYS, IMAGE_SHAPE, 4, "per_step", steps=steps)
    return exportable(learner, Classification(WAYS), PerStepRates(0.1, steps), steps)


# The first three are fixtures.
MODELS = {
    "images": None,
    "images_by_support": None,
    "waves": None,
    "waves of Meta-SGD": lambda: wave_model(MetaSGD(0.01)),
    "vectors, no steps": lambda: _vectors(SGD(0.3), steps=0),
    "two outputs": lambda: exportable(mlp(2, (3,), hidden=(4,)), Regression(2), SGD(0.05), 2),
    "vectors": lambda: _vectors(SGD(0.3)),
    "ANIL": lambda: _vectors(anil(SGD(0.3))),
    "BOIL": lambda: _vectors(boil(SGD(0.3))),
    "MAML++": _maml_plus_plus,
    "CML-dagger": _dagger,
}


@pytest.mark.parametrize("name", MODELS)
def test_served_equals_in_process(name, request):
    make = MODELS[name]
    served = in_process(make()) if make else request.getfixturevalue(name)
    inputs = inputs_of(served.model, tasks=2)
    answer = served("serving_default", **inputs)
    adapted = served("adapt", **support_only(inputs))
    initial = served("initial_state", **support_only(inputs))
    before = served("predict", **state_of(initial), query_inputs=inputs["query_inputs"])
    output = next(key for key in answer if key in ("probabilities", "predictions"))
    assert initial["status"].tolist() == before["status"].tolist() == [0, 0]
    assert answer["status"].tolist() == adapted["status"].tolist() == [0, 0]
    for task in range(2):
        support, targets, query = (array[task] for array in inputs.values())
        expected = served.in_process.adapt(support, targets)
        np.testing.assert_allclose(answer[output][task], expected.predict(query), **CLOSE)
        np.testing.assert_allclose(adapted["adapted_state"][task], expected.packed(), **CLOSE)
        unadapted = served.in_process.adapt(support, targets, steps=0)
        np.testing.assert_allclose(initial["adapted_state"][task], unadapted.packed(), **CLOSE)
        np.testing.assert_allclose(before[output][task], unadapted.predict(query), **CLOSE)
    predicted = served("predict", **state_of(adapted), query_inputs=inputs["query_inputs"])
    np.testing.assert_allclose(predicted[output], answer[output], **CLOSE)
    whole = served("adapt_and_predict_padded", **inputs, **sizes([6, 6], [4, 4]))
    for key, value in answer.items():
        np.testing.assert_allclose(whole[key], value, **CLOSE, err_msg=key)
    assert adapted["support_loss_before"] == pytest.approx(answer["support_loss_before"], abs=1e-5)


def test_losses_are_those_of_the_inner_loop(waves):
    inputs = inputs_of(waves.model)
    answer = waves("serving_default", **inputs)
    support, targets = inputs["support_inputs"][0], inputs["support_targets"][0]
    for key, steps in (("support_loss_before", 0), ("support_loss_after", None)):
        predicted = waves.in_process.adapt(support, targets, steps=steps).predict(support)
        assert answer[key][0] == pytest.approx(np.square(predicted - targets).mean(), rel=1e-5)
    assert answer["support_loss_after"] < answer["support_loss_before"]


def test_no_queries_is_fine(images, waves):
    for served, output in ((images, "probabilities"), (waves, "predictions")):
        inputs = inputs_of(served.model, tasks=2, query=0)
        answer = served("serving_default", **inputs)
        assert answer["status"].tolist() == [0, 0]
        assert answer[output].shape == (2, 0, served.model.problem.outputs)
        predicted = served(
            "predict",
            **state_of(served("adapt", **support_only(inputs))),
            query_inputs=inputs["query_inputs"],
        )
        assert predicted["status"].tolist() == [0, 0]


def test_support_statistics_judge_a_query_by_itself(images_by_support):
    served = images_by_support
    inputs = inputs_of(served.model)
    together = served("serving_default", **inputs)["probabilities"]
    alone = served("serving_default", **{**inputs, "query_inputs": inputs["query_inputs"][:, :1]})["probabilities"]
    np.testing.assert_allclose(together[:, :1], alone, **CLOSE)


def test_names_dtypes_and_shapes_are_those_of_the_design(images):
    assert {name: list(inputs) for name, inputs in input_specifications(images.model).items()} == {
        "serving_default": ["support_inputs", "support_labels", "query_inputs"],
        "adapt_and_predict_padded": ["support_inputs", "support_labels", "query_inputs", "support_size", "query_size"],
        "adapt": ["support_inputs", "support_labels"],
        "initial_state": ["support_inputs", "support_labels"],
        "predict": ["adapted_state", "model_fingerprint", "query_inputs"],
        "adapt_and_predict_bytes": ["support_inputs_bytes", "support_labels", "query_inputs_bytes"],
    }
    for name, specifications in input_specifications(images.model).items():
        function = images.functions[name]
        held = function.structured_input_signature[1]
        assert {key: (spec.shape.as_list(), spec.dtype) for key, spec in held.items()} == {
            key: (spec.shape.as_list(), spec.dtype) for key, spec in specifications.items()
        }
        outputs = {key: (spec.shape.as_list(), spec.dtype) for key, spec in function.structured_outputs.items()}
        assert outputs == {
            key: ([None, *spec.shape.as_list()], spec.dtype)
            for key, spec in output_specifications(images.model)[name].items()
        }
    assert input_specifications(images.model)["serving_default"]["support_inputs"].shape.as_list() == [
        None,
        None,
        *IMAGE_SHAPE,
    ]


def test_only_images_have_a_signature_for_files():
    assert "adapt_and_predict_bytes" not in input_specifications(wave_model())
    pictures_out_of_range = image_model()
    shifted = Exportable(pictures_out_of_range.method, pictures_out_of_range.problem, (-1.0, 1.0))
    assert "adapt_and_predict_bytes" not in input_specifications(shifted)


def test_the_layout_of_the_state_names_what_moves():
    whole = image_model("support")
    assert whole.state_size(0) == sum(int(np.prod(v.shape)) for _, v in whole.named_variables)
    assert [spec.name.split("/")[0] for spec in whole.packed_spec][-8:] == ["extractor_state"] * 8
    head_only = _vectors(anil(SGD(0.1)))
    assert [spec.name.split("/")[0] for spec in head_only.packed_spec] == ["head", "head"]
    assert in_process(head_only)("adapt", **support_only(inputs_of(head_only)))["adapted_state"].shape == (1, 4 * 3 + 3)


def test_what_cannot_be_served_is_refused():
    with pytest.raises(ExportError, match="answers through CoLearner"):
        _dagger("co_learner_theta_adapted")
    assert any(isinstance(term, CoLearner) for term in image_trainer().method.terms)


def test_the_paper_net_serves_121093_parameters():
    from cml_tf.learners import conv4

    model = exportable(conv4(5, (84, 84, 3)), Classification(5), SGD(0.5), 1)
    assert model.state_size(0) == 121_093
