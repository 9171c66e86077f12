"""A model that was exported with a confidence: what it answers besides, and that it answers the rest as before."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.episodes import Examples
from cml_tf.readouts.confidence import Summary
from export import status
from export.errors import ExportError
from export.gate.expectation import expectation
from export.graph.bounds import Bounds
from export.graph.exportable import Exportable
from export.requests.files import Request
from tests.export.served import (
    CLOSE,
    WAYS,
    flat_model,
    in_process,
    inputs_of,
    judged_model,
    query_only,
    sizes_of,
    state_of,
    support_only,
)

OWN = ("calibrated_probabilities", "prediction_set", "known_score", "is_known")


@pytest.fixture(scope="module")
def model():
    return in_process(judged_model())


@pytest.fixture(scope="module")
def plain():
    """Without a confidence."""
    return in_process(flat_model(steps=1))


def library(model: Exportable, inputs, task=0):
    """What the confidence says when it is asked by hand."""
    rule, learner = model.rule, model.learner
    support = Examples(tf.constant(inputs["support_inputs"][task]), tf.constant(inputs["support_labels"][task]))
    adapted = rule.adapt(learner, rule.initial(learner), support, ())
    features, logits = adapted.predict(tf.constant(inputs["query_inputs"][task]))
    own = adapted.predict(support.inputs)[0].numpy().reshape(len(support.targets), -1)
    labels = support.targets.numpy()
    counts = np.bincount(labels, minlength=WAYS).astype(np.float32)
    means = np.stack([own[labels == way].mean(0) if counts[way] else np.zeros(own.shape[1]) for way in range(WAYS)])
    summary = Summary(tf.constant(counts), tf.constant(means, tf.float32))
    return {name: one.numpy() for name, one in model.confidence.answers(logits, features, summary).items()}


@pytest.mark.parametrize("open_set", ["feature_distance", "energy"])
def test_it_answers_as_the_library_whole_and_from_an_adapted_state(model, plain, open_set):
    judged = model if open_set == "feature_distance" else in_process(judged_model(open_set))
    inputs = inputs_of(judged.model, tasks=2)
    for classes in (3, 2):
        inputs["support_labels"] = (inputs["support_labels"] % classes).astype(np.int32)
        whole = judged("serving_default", **inputs)
        state = state_of(judged("adapt", **support_only(inputs)))
        for answer in (whole, judged("predict", **state, **query_only(inputs))):
            for task in range(2):
                for name, expected in library(judged.model, inputs, task).items():
                    np.testing.assert_allclose(answer[name][task], expected, **CLOSE, err_msg=name)
            assert (answer["calibrated_probabilities"][:, :, classes:] == 0).all()
            assert (answer["prediction_set"][:, :, classes:] == 0).all()
        # What clients of before read is as it was.
        before = plain("serving_default", **inputs)
        for name in before:
            np.testing.assert_allclose(whole[name], before[name], **CLOSE)


def test_padding_faults_and_no_queries_say_nothing(model):
    inputs = inputs_of(model.model, tasks=2)
    answer = model("adapt_and_predict_padded", **inputs, **sizes_of(inputs, query_size=(2, 4)))
    assert all((answer[name][0, 2:] == 0).all() for name in OWN)
    alone = model("serving_default", **{**inputs, "query_inputs": inputs["query_inputs"][:, :2]})
    for name in OWN:
        np.testing.assert_allclose(answer[name][0, :2], alone[name][0], **CLOSE)
    spoilt = {**inputs, "support_labels": inputs["support_labels"].copy()}
    spoilt["support_labels"][1, 0] = WAYS
    answer = model("serving_default", **spoilt)
    assert answer["status"].tolist() == [status.OK, status.LABEL_OUT_OF_RANGE]
    np.testing.assert_allclose(answer["calibrated_probabilities"][1], 1 / WAYS, rtol=1e-6)
    assert (answer["prediction_set"][1] == 1).all() and (answer["is_known"][1] == 0).all()
    none = model("serving_default", **{**inputs, "query_inputs": inputs["query_inputs"][:, :0]})
    assert [none[name].shape[1] for name in OWN] == [0] * 4


def test_a_decision_may_only_differ_where_rounding_could_turn_it(model):
    inputs = inputs_of(model.model, seed=1)
    request = Request("serving_default", inputs)
    wanted = expectation(model.model, model.reference, request)
    cuts = model.model.confidence.cuts(np.bincount(inputs["support_labels"][0], minlength=WAYS).astype(np.float32))
    assert (wanted.tolerances["is_known"] == 0).all() and (wanted.tolerances["prediction_set"] == 0).all()
    # With the threshold upon a score, that decision is free and no other.
    score = wanted.values["known_score"][0, 1]
    shift = float(score - cuts.score)
    knots = tuple(dataclasses.replace(one, threshold=one.threshold + shift) for one in model.model.confidence.knots)
    moved = dataclasses.replace(model.model, confidence=dataclasses.replace(model.model.confidence, knots=knots))
    free = expectation(moved, in_process(moved).reference, request).tolerances["is_known"]
    assert free[0].tolist() == [0, 1, 0, 0]


def test_requests_cannot_set_steps_that_the_confidence_was_not_fitted_for():
    with pytest.raises(ExportError, match="one number of steps and one rate"):
        dataclasses.replace(judged_model(), bounds=Bounds(5))


@pytest.mark.parametrize("change", [{"model": "0" * 64}, {"steps": 3}, {"ways": 5, "knots": ()}])
def test_a_confidence_of_another_model_is_refused(change):
    model = judged_model()
    if change.pop("knots", None) is not None:
        change["calibration"] = "temperature"
    with pytest.raises(ExportError, match="confidence must be"):
        dataclasses.replace(model, confidence=dataclasses.replace(model.confidence, **change))
