"""Faults in values: a status each, a blank answer, and no harm to neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from export import status
from export.graph.specifications import target_name
from tests.export.served import WAYS, image_model, in_process, sizes, state_of, support_only
from tests.export.served import request as inputs_of

BLANK = 1 / WAYS


def _put(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def _padded_request(served, **changes):
    """Task 0 is as it should be; `changes` damage task 1."""
    inputs = {**inputs_of(served.model, tasks=2), **sizes([6, 5], [4, 3])}
    for name, (index, value) in changes.items():
        inputs[name] = _put(inputs[name], (1, *index), value)
    return inputs


FAULTS = {
    "NaN in the support": ({"support_inputs": ((0,), np.nan)}, status.NON_FINITE_INPUT),
    "infinity in a query": ({"query_inputs": ((2,), -np.inf)}, status.NON_FINITE_INPUT),
    "label too large": ({"support_labels": ((4,), WAYS)}, status.LABEL_OUT_OF_RANGE),
    "label negative": ({"support_labels": ((0,), -1)}, status.LABEL_OUT_OF_RANGE),
    "no support": ({"support_size": ((), 0)}, status.SIZE),
    "more support than sent": ({"support_size": ((), 7)}, status.SIZE),
    "negative support": ({"support_size": ((), -(2**31))}, status.SIZE),
    "more queries than sent": ({"query_size": ((), 5)}, status.SIZE),
    "negative queries": ({"query_size": ((), -1)}, status.SIZE),
    "label before NaN": (
        {"support_labels": ((0,), 9), "support_inputs": ((0,), np.nan)},
        status.LABEL_OUT_OF_RANGE,
    ),
    "size before label": ({"support_size": ((), 9), "support_labels": ((0,), 9)}, status.SIZE),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_blanks_its_task_and_leaves_its_neighbour_alone(images, name):
    changes, code = FAULTS[name]
    healthy = images("adapt_and_predict_padded", **_padded_request(images))
    answer = images("adapt_and_predict_padded", **_padded_request(images, **changes))
    assert answer["status"].tolist() == [status.OK, code]
    for key in answer:
        np.testing.assert_array_equal(answer[key][0], healthy[key][0], err_msg=key)
        assert np.isfinite(answer[key]).all()
    # A query_size that was never sent leaves no padding.
    rows = 4 if "query_size" in changes else 3
    np.testing.assert_allclose(answer["probabilities"][1, :rows], BLANK)
    np.testing.assert_array_equal(answer["probabilities"][1, rows:], 0)
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ({"support_targets": np.nan}, status.NON_FINITE_INPUT),
        ({"support_inputs": np.inf}, status.NON_FINITE_INPUT),
        ({"query_inputs": np.nan}, status.NON_FINITE_INPUT),
        # Beyond float32 when squared.
        ({"support_targets": 1e30}, status.DIVERGED),
    ],
)
def test_regression_answers_zeros(waves, damage, code):
    inputs = inputs_of(waves.model, tasks=2)
    healthy = waves("serving_default", **inputs)
    for name, value in damage.items():
        inputs[name] = _put(inputs[name], (1, 0, 0), value)
    answer = waves("serving_default", **inputs)
    assert answer["status"].tolist() == [status.OK, code]
    np.testing.assert_array_equal(answer["predictions"][0], healthy["predictions"][0])
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0
    expected = np.zeros((4, 1), np.float32)
    if code == status.DIVERGED:
        support, targets = (array[0] for array in support_only(inputs_of(waves.model)).values())
        expected = waves.in_process.adapt(support, targets, steps=0).predict(inputs["query_inputs"][1])
    np.testing.assert_allclose(answer["predictions"][1], expected, rtol=1e-5, atol=1e-5)


def test_divergence_falls_back_on_the_unadapted_model():
    served = in_process(image_model("support", steps=3, rate=1e30))
    inputs = inputs_of(served.model)
    answer = served("serving_default", **inputs)
    assert answer["status"].tolist() == [status.DIVERGED]
    support, labels = (array[0] for array in support_only(inputs).values())
    expected = served.in_process.adapt(support, labels, steps=0).predict(inputs["query_inputs"][0])
    np.testing.assert_allclose(answer["probabilities"][0], expected, atol=1e-5)
    adapted = served("adapt", **support_only(inputs))
    assert adapted["status"].tolist() == [status.DIVERGED]
    assert not adapted["adapted_state"].any() and not adapted["model_fingerprint"].any()
    # What a failed task left cannot be used on.
    predicted = served("predict", **state_of(adapted), query_inputs=inputs["query_inputs"])
    assert predicted["status"].tolist() == [status.STATE_OF_ANOTHER_MODEL]


def test_adapt_gives_no_state_to_a_task_at_fault(images):
    inputs = support_only(inputs_of(images.model, tasks=3))
    inputs["support_labels"] = _put(inputs["support_labels"], (1, 0), WAYS)
    answer = images("adapt", **inputs)
    assert answer["status"].tolist() == [0, status.LABEL_OUT_OF_RANGE, 0]
    fingerprint = images.module.fingerprint
    assert answer["model_fingerprint"].tolist() == [fingerprint, 0, fingerprint]
    assert not answer["adapted_state"][1].any() and answer["adapted_state"][2].any()
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0


@pytest.mark.parametrize("name", ["images", "waves"])
@pytest.mark.parametrize(("support", "targets"), [(0, 0), (6, 5), (5, 6), (6, 1), (1, 6), (0, 6), (6, 0)])
def test_empty_and_mismatched_support_is_a_size_fault(support, targets, name, request):
    served = request.getfixturevalue(name)
    inputs = inputs_of(served.model, tasks=2)
    target = target_name(served.model)
    inputs["support_inputs"] = inputs["support_inputs"][:, :support]
    inputs[target] = inputs[target][:, :targets]
    for signature, call in (("serving_default", inputs), ("adapt", support_only(inputs))):
        answer = served(signature, **call)
        assert answer["status"].tolist() == [status.SIZE] * 2
        assert all(np.isfinite(value).all() for value in answer.values())
    padded = served("adapt_and_predict_padded", **inputs, **sizes([min(support, 1)] * 2, [4, 4]))
    assert padded["status"].tolist() == [status.SIZE] * 2


def test_a_state_of_another_model_is_told(images):
    inputs = inputs_of(images.model, tasks=2)
    state = state_of(images("adapt", **support_only(inputs)))
    queries = {"query_inputs": inputs["query_inputs"]}
    other = {**state, "model_fingerprint": state["model_fingerprint"] ^ np.array([0, 1], np.int32)}
    answer = images("predict", **other, **queries)
    assert answer["status"].tolist() == [0, status.STATE_OF_ANOTHER_MODEL]
    np.testing.assert_allclose(answer["probabilities"][1], BLANK)
    np.testing.assert_array_equal(answer["probabilities"][0], images("predict", **state, **queries)["probabilities"][0])
    for length in (0, images.model.state_size(0) - 1, images.model.state_size(0) + 1):
        answer = images("predict", **{**state, "adapted_state": np.zeros((2, length), np.float32)}, **queries)
        assert answer["status"].tolist() == [status.STATE_OF_ANOTHER_MODEL] * 2


@pytest.mark.parametrize("name", ["adapted_state", "query_inputs"])
def test_predict_refuses_what_is_not_finite(images, name):
    inputs = inputs_of(images.model, tasks=2)
    call = {**state_of(images("adapt", **support_only(inputs))), "query_inputs": inputs["query_inputs"]}
    call[name] = _put(call[name], (1, 0), np.nan)
    answer = images("predict", **call)
    assert answer["status"].tolist() == [0, status.NON_FINITE_INPUT]
    np.testing.assert_allclose(answer["probabilities"][1], BLANK)


def test_predict_never_answers_nan(waves):
    """A state that overflows on the way to the answer."""
    inputs = inputs_of(waves.model)
    state = state_of(waves("adapt", **support_only(inputs)))
    state["adapted_state"][:] = 3e38
    answer = waves("predict", **state, query_inputs=inputs["query_inputs"])
    assert answer["status"].tolist() == [status.DIVERGED]
    np.testing.assert_array_equal(answer["predictions"], 0)


def test_every_status_is_explained():
    codes = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(status.MEANINGS) == set(range(7))
    assert set(status.PRECEDENCE) == codes - {status.OK}


@pytest.mark.parametrize("name", ["images", "waves"])
def test_whatever_is_sent_no_answer_is_nan_and_no_call_fails(name, request):
    served = request.getfixturevalue(name)
    generator = np.random.default_rng(0)
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, 1e20], np.float32)
    whole = np.array([-(2**31), -1, 0, 1, 2, 3, 6, 2**31 - 1], np.int32)
    seen = set()
    for seed in range(60):
        inputs = {**inputs_of(served.model, tasks=2, seed=seed), **sizes([6, 5], [4, 3])}
        for array in inputs.values():
            # One value in ten calls of the first kind, most values in the others.
            spoilt = generator.random(array.shape) < generator.choice([0, 0, 0, 0.001, 0.5])
            values = generator.choice(whole if array.dtype.kind == "i" else strange[3:], array.shape)
            array[spoilt] = values[spoilt]
        if seed % 3 == 0:
            inputs["query_inputs"].reshape(-1)[seed % 8] = generator.choice(strange)
        answer = served("adapt_and_predict_padded", **inputs)
        state = state_of(served("adapt", **support_only({k: v for k, v in inputs.items() if "size" not in k})))
        predicted = served("predict", **state, query_inputs=inputs["query_inputs"])
        for outputs in (answer, state, predicted):
            assert all(np.isfinite(value).all() for value in outputs.values())
        seen |= set(answer["status"].tolist())
    assert seen >= {status.OK, status.DIVERGED, status.NON_FINITE_INPUT, status.SIZE}
