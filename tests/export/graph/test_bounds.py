"""Steps and rate that a request sets: as in training, other ones, out of bounds; and what is told of them."""

import dataclasses

import numpy as np
import pytest

from cml_tf.adaptation import SGD, KernelRidge, MetaSGD, anil
from cml_tf.learners import mlp
from cml_tf.learners.nodes import gcn
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.method import Method
from export import status
from export.errors import ExportError
from export.graph.bounds import Bounds, read_bounds
from export.graph.buckets import Service
from export.graph.exportable import Exportable
from tests.export.served import (
    CLOSE,
    FEATURES,
    NODE_WAYS,
    exportable,
    flat_model,
    in_process,
    inputs_of,
    node_model,
    query_only,
    state_of,
    support_only,
    wave_model,
)

MOST = 4
TOLD = ("support_losses", "step_norms", "steps_taken", "made_worse")


def asked(steps, rate):
    return {"steps": np.array(steps, np.int32), "rate": np.array(rate, np.float32)}


def learned():
    return exportable(mlp(3, (2,), hidden=(4,)), Classification(3), MetaSGD(0.3), 2)


MODELS = {
    # Statistics that a task carries; a graph. Regressions are asked through the client.
    "images by support": (lambda: flat_model("support"), (0.01, 1.0)),
    "nodes": (lambda: node_model(gcn(NODE_WAYS, FEATURES, (6,))), (0.01, 1.0)),
    "learned rates": (learned, (0.5, 2.0)),
}


@pytest.fixture(scope="module", params=MODELS)
def bounded(request):
    make, rates = MODELS[request.param]
    return in_process(dataclasses.replace(make(), bounds=Bounds(MOST, rates)))


@pytest.mark.slow
def test_steps_and_rate_of_training_are_todays_answer_and_others_those_of_the_library(bounded):
    model, inputs = bounded.model, inputs_of(bounded.model, tasks=2)
    own = bounded("serving_default", **inputs)
    rate = model.rule.inner_rate or 1.0
    for steps, rates in (([2, -1], [rate, -1]), ([-1, 2], [-1, rate])):
        found = bounded("adapt_and_predict_bounded", **inputs, **asked(steps, rates))
        for name in own:
            np.testing.assert_allclose(found[name], own[name], rtol=1e-5, atol=1e-5, err_msg=name)
        assert found["steps_taken"].tolist() == [2, 2]
    # One task with other steps beside one with none: each is what it would be alone.
    found = bounded("adapt_and_predict_bounded", **inputs, **asked([MOST, 0], [rate, rate]))
    for task, steps in enumerate((MOST, 0)):
        expected = bounded.adapted(inputs, task, steps).predict(inputs[model.form.query][task])
        np.testing.assert_allclose(found[bounded.output][task], expected, **CLOSE)
    assert found["steps_taken"].tolist() == [MOST, 0] and found["made_worse"][1] == 0
    losses = found["support_losses"]
    np.testing.assert_allclose(losses[:, 0], own["support_loss_before"], **CLOSE)
    np.testing.assert_allclose(losses[0, 2], own["support_loss_after"][0], **CLOSE)
    np.testing.assert_array_equal(losses[:, -1], found["support_loss_after"])
    assert (losses[1] == losses[1, 0]).all()
    assert (found["step_norms"][0] > 0).all() and not found["step_norms"][1].any()
    # Adapting first and asking later is the same.
    pace = asked([1, 3], [-1, -1])
    whole = bounded("adapt_and_predict_bounded", **inputs, **pace)
    adapted = bounded("adapt_bounded", **support_only(inputs), **pace)
    for name in TOLD:
        np.testing.assert_allclose(adapted[name], whole[name], **CLOSE)
    answer = bounded("predict", **state_of(adapted), **query_only(inputs))
    np.testing.assert_allclose(answer[bounded.output], whole[bounded.output], **CLOSE)


def test_what_is_out_of_bounds_gets_a_status_and_leaves_its_neighbour_alone(bounded):
    inputs = inputs_of(bounded.model, tasks=2)
    low, high = bounded.model.bounds.limits
    calls = {"adapt_and_predict_bounded": inputs, "adapt_bounded": support_only(inputs)}
    healthy = {name: bounded(name, **call, **asked([1, 1], [low, low])) for name, call in calls.items()}
    wrong = [(1, 0.99 * low), (1, 1.01 * high), (1, 0), (1, -2), (1, np.nan), (1, np.inf)]
    wrong += [(MOST + 1, low), (-2, low), (2**31 - 1, high), (-(2**31), high)]
    for name, call in calls.items():
        for steps, rate in wrong:
            found = bounded(name, **call, **asked([1, steps], [low, rate]))
            assert found["status"].tolist() == [status.OK, status.OUT_OF_BOUNDS], (steps, rate)
            for key in found:
                np.testing.assert_array_equal(found[key][0], healthy[name][key][0], err_msg=key)
            assert not any(found[key][1].any() for key in TOLD)
            if "model_fingerprint" in found:
                assert not found["model_fingerprint"][1] and not found["adapted_state"][1].any()
    # The bounds themselves are in them.
    assert bounded("adapt_bounded", **support_only(inputs), **asked([0, MOST], [low, high]))["status"][0] == status.OK


def test_worse_and_divergence_are_told_step_by_step():
    model = dataclasses.replace(wave_model(), bounds=Bounds(8, (0.001, 1e6)))
    served, inputs = in_process(model), inputs_of(wave_model(), tasks=2)
    found = served("adapt_and_predict_bounded", **inputs, **asked([1, 8], [1.0, 1e6]))
    assert found["status"].tolist() == [status.OK, status.DIVERGED]
    assert found["made_worse"].tolist() == [1, 1] and found["support_loss_after"][0] > found["support_loss_before"][0]
    assert 0 < found["steps_taken"][1] < 8
    assert all(np.isfinite(found[name]).all() for name in found)
    before = served.adapted(inputs, 1, steps=0).predict(inputs["support_inputs"][1])
    loss = np.square(before - inputs["support_targets"][1]).mean()
    np.testing.assert_allclose(found["support_losses"][1, 0], loss, rtol=1e-5)


def test_steps_end_once_the_support_loss_is_low_enough():
    plain = in_process(dataclasses.replace(flat_model(), bounds=Bounds(MOST)))
    inputs = support_only(inputs_of(plain.model))
    losses = plain("adapt_bounded", **inputs, **asked([MOST], [-1]))["support_losses"][0]
    assert (np.diff(losses) < 0).all()
    enough = float((losses[1] + losses[2]) / 2)
    stopping = in_process(dataclasses.replace(flat_model(), bounds=Bounds(MOST, None, enough)))
    found = stopping("adapt_bounded", **inputs, **asked([MOST], [-1]))
    assert found["steps_taken"].tolist() == [2]
    np.testing.assert_allclose(found["support_losses"][0], [*losses[:3], losses[2], losses[2]], rtol=1e-6)


def test_rates_are_the_models_own_where_none_were_given():
    assert dataclasses.replace(wave_model(), bounds=Bounds(3)).bounds.limits == (0.01, 0.01)
    model = dataclasses.replace(learned(), bounds=Bounds(3))
    assert model.bounds.limits == (1.0, 1.0)
    told = model.bounds.to_json(model.rule)
    assert told["own_rate"] == 1.0 and told["rate_is"].startswith("multiple")
    half = exportable(mlp(3, (2,), hidden=(4,)), Classification(3), anil(SGD(0.5)), 1)
    assert dataclasses.replace(half, bounds=Bounds(1, (0.1, 0.5))).bounds.to_json(half.rule)["rate_is"] == "inner rate"


def _closed_form():
    problem = Classification(3)
    learner = mlp(3, (2,), hidden=(4,))
    rule = KernelRidge(problem)
    return Exportable(Method.of(learner, rule, [QueryLoss(problem)]), problem, (0.0, 1.0), bounds=Bounds(2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Bounds(0), "most_steps must be 1"),
        (lambda: Bounds(2, (0.5, 0.1)), "rates must be"),
        (lambda: Bounds(2, (0.0, 0.1)), "rates must be"),
        (lambda: Bounds(2, None, float("nan")), "stop_when_loss_below"),
        (lambda: dataclasses.replace(wave_model(), bounds=Bounds(1)), "own 2 steps"),
        (lambda: dataclasses.replace(wave_model(), bounds=Bounds(2, (0.1, 0.2))), "rate 0.01"),
        (_closed_form, "KernelRidge takes no steps"),
        (lambda: Service(batching=True, bounds=Bounds(2)), "batching and bounds"),
        (lambda: read_bounds(None, ["1", "2"], None), "pass --most_steps"),
        (lambda: read_bounds(3, ["1"], None), "two numbers"),
        (lambda: read_bounds(3, ["1", "x"], None), "two numbers"),
    ],
)
def test_bounds_that_cannot_be_are_refused(make, words):
    with pytest.raises(ExportError, match=words):
        make()


def test_flags_are_read():
    assert read_bounds(None, [], None) is None
    assert read_bounds(3, ["0.1", "1"], 0.2) == Bounds(3, (0.1, 1.0), 0.2)
    assert read_bounds(3, [], None) == Bounds(3)
