"""Faults in values: a status each, a blank answer, and no harm to neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from export import status
from export.graph.specifications import target_name
from tests.export.served import (
    NODE_WAYS,
    NODES,
    WAYS,
    image_model,
    in_process,
    inputs_of,
    query_only,
    sizes_of,
    state_of,
    support_only,
)

LARGEST, SMALLEST = 2**31 - 1, -(2**31)
NAN, LABEL, NODE, SIZE = (
    status.NON_FINITE_INPUT,
    status.LABEL_OUT_OF_RANGE,
    status.NODE_OUT_OF_RANGE,
    status.SIZE,
)
# What is put where into task 1, and the status that it gets.
FAULTS = {
    "images": {
        "NaN in the support": ({"support_inputs": ((0,), np.nan)}, NAN),
        "infinity in a query": ({"query_inputs": ((2,), -np.inf)}, NAN),
        "label too large": ({"support_labels": ((4,), WAYS)}, LABEL),
        "label negative": ({"support_labels": ((0,), -1)}, LABEL),
        "no support": ({"support_size": ((), 0)}, SIZE),
        "more support than sent": ({"support_size": ((), 7)}, SIZE),
        "negative support": ({"support_size": ((), SMALLEST)}, SIZE),
        "more queries than sent": ({"query_size": ((), 5)}, SIZE),
        "negative queries": ({"query_size": ((), -1)}, SIZE),
        "label before NaN": ({"support_labels": ((0,), 9), "support_inputs": ((0,), np.nan)}, LABEL),
        "size before label": ({"support_size": ((), 9), "support_labels": ((0,), 9)}, SIZE),
    },
    "nodes": {
        "NaN in the features": ({"node_features": ((3, 2), np.nan)}, NAN),
        "infinity in the features": ({"node_features": ((0, 0), -np.inf)}, NAN),
        "edge to no node": ({"edges": ((5, 1), NODES)}, NODE),
        "edge from a negative node": ({"edges": ((0, 0), -1)}, NODE),
        "edge to the largest number": ({"edges": ((0, 0), LARGEST)}, NODE),
        "support node beyond the graph": ({"support_nodes": ((3,), NODES)}, NODE),
        "support node negative": ({"support_nodes": ((0,), SMALLEST)}, NODE),
        "query beyond the graph": ({"query_nodes": ((1,), LARGEST)}, NODE),
        "query negative": ({"query_nodes": ((0,), -1)}, NODE),
        "label too large": ({"support_labels": ((2,), NODE_WAYS)}, LABEL),
        "label negative": ({"support_labels": ((0,), -1)}, LABEL),
        "no nodes": ({"node_count": ((), 0)}, SIZE),
        "negative nodes": ({"node_count": ((), SMALLEST)}, SIZE),
        "more nodes than sent": ({"node_count": ((), NODES + 1)}, SIZE),
        "fewer nodes than edges tell": ({"node_count": ((), 2)}, NODE),
        "negative edges": ({"edge_count": ((), -1)}, SIZE),
        "more edges than sent": ({"edge_count": ((), LARGEST)}, SIZE),
        "no support": ({"support_size": ((), 0)}, SIZE),
        "more queries than sent": ({"query_size": ((), 6)}, SIZE),
        "size before all": (
            {"edge_count": ((), -1), "support_labels": ((0,), 9), "query_nodes": ((0,), -1)},
            SIZE,
        ),
        "label before node": ({"support_labels": ((0,), 9), "edges": ((0, 0), -1)}, LABEL),
        "node before NaN": ({"node_features": ((0, 0), np.nan), "support_nodes": ((0,), -1)}, NODE),
    },
}


def _spoilt(inputs, changes):
    inputs = {name: array.copy() for name, array in inputs.items()}
    for name, (index, value) in changes.items():
        inputs[name][(1, *index)] = value
    return inputs


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, faults in FAULTS.items() for name in faults])
def test_a_fault_blanks_its_task_and_leaves_its_neighbour_alone(model, name, request):
    served, (changes, code) = request.getfixturevalue(model), FAULTS[model][name]
    inputs = inputs_of(served.model, tasks=2)
    whole = {**inputs, **sizes_of(inputs, query_size=[4, 3])}
    healthy = served("adapt_and_predict_padded", **whole)
    assert healthy["status"].tolist() == [0, 0]
    answer = served("adapt_and_predict_padded", **_spoilt(whole, changes))
    assert answer["status"].tolist() == [status.OK, code]
    for key in answer:
        np.testing.assert_array_equal(answer[key][0], healthy[key][0], err_msg=key)
        assert np.isfinite(answer[key]).all()
    # A query_size that was never sent leaves no padding.
    probabilities = answer["probabilities"][1]
    rows = len(probabilities) if "query_size" in changes else 3
    np.testing.assert_allclose(probabilities[:rows], 1 / served.model.problem.outputs)
    np.testing.assert_array_equal(probabilities[rows:], 0)
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0


@pytest.mark.parametrize("model", FAULTS)
def test_adapt_and_predict_refuse_the_same(model, request):
    served = request.getfixturevalue(model)
    inputs = inputs_of(served.model, tasks=2)
    support = support_only(inputs)
    queries = {**query_only(inputs), **state_of(served("adapt", **support))}
    for signature, call in (("adapt", support), ("predict", queries)):
        healthy = served(signature, **call)
        for changes, code in FAULTS[model].values():
            if not changes.keys() <= call.keys():
                continue
            answer = served(signature, **_spoilt(call, changes))
            assert answer["status"].tolist() == [0, code]
            for key in answer:
                np.testing.assert_array_equal(answer[key][0], healthy[key][0], err_msg=key)
            if signature == "adapt":
                assert not answer["adapted_state"][1].any() and not answer["model_fingerprint"][1]
                assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0
            else:
                np.testing.assert_allclose(answer["probabilities"][1], 1 / served.model.problem.outputs)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("support_targets", np.nan, NAN),
        ("support_inputs", np.inf, NAN),
        ("query_inputs", np.nan, NAN),
        # Beyond float32 when squared.
        ("support_targets", 1e30, status.DIVERGED),
    ],
)
def test_regression_answers_zeros(waves, name, value, code):
    inputs = inputs_of(waves.model, tasks=2)
    healthy = waves("serving_default", **inputs)
    answer = waves("serving_default", **_spoilt(inputs, {name: ((0, 0), value)}))
    assert answer["status"].tolist() == [status.OK, code]
    np.testing.assert_array_equal(answer["predictions"][0], healthy["predictions"][0])
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0
    expected = np.zeros((4, 1), np.float32)
    if code == status.DIVERGED:
        support, targets = (array[1] for array in support_only(inputs).values())
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


@pytest.mark.parametrize("name", ["images", "waves", "nodes"])
def test_empty_and_mismatched_support_is_a_size_fault(name, request):
    served = request.getfixturevalue(name)
    examples, target = served.model.form.support, target_name(served.model)
    for support, targets in [(0, 0), (4, 3), (3, 4), (4, 1), (1, 4), (0, 4), (4, 0)]:
        inputs = inputs_of(served.model, tasks=2)
        inputs[examples], inputs[target] = inputs[examples][:, :support], inputs[target][:, :targets]
        padded = {**inputs, **sizes_of(inputs, support_size=[min(support, 1)] * 2)}
        calls = {"serving_default": inputs, "adapt": support_only(inputs), "adapt_and_predict_padded": padded}
        for signature, call in calls.items():
            answer = served(signature, **call)
            assert answer["status"].tolist() == [SIZE] * 2, (signature, support, targets)
            assert all(np.isfinite(value).all() for value in answer.values())


def test_a_graph_without_nodes_is_a_size_fault_and_features_that_overflow_diverge(nodes):
    inputs = inputs_of(nodes.model, tasks=2)
    empty = {**inputs, "node_features": np.zeros((2, 0, 7), np.float32)}
    for signature, call in (("serving_default", empty), ("adapt", support_only(empty))):
        assert nodes(signature, **call)["status"].tolist() == [SIZE] * 2
    inputs["node_features"][1] = 3e38
    answer = nodes("serving_default", **inputs)
    assert answer["status"].tolist() == [status.OK, status.DIVERGED]
    assert all(np.isfinite(value).all() for value in answer.values())


def test_a_state_of_another_model_is_told(images):
    inputs = inputs_of(images.model, tasks=2)
    state = state_of(images("adapt", **support_only(inputs)))
    queries = {"query_inputs": inputs["query_inputs"]}
    other = {**state, "model_fingerprint": state["model_fingerprint"] ^ np.array([0, 1], np.int32)}
    answer = images("predict", **other, **queries)
    assert answer["status"].tolist() == [0, status.STATE_OF_ANOTHER_MODEL]
    np.testing.assert_allclose(answer["probabilities"][1], 1 / WAYS)
    np.testing.assert_array_equal(answer["probabilities"][0], images("predict", **state, **queries)["probabilities"][0])
    for length in (0, images.model.state_size(0) - 1, images.model.state_size(0) + 1):
        answer = images("predict", **{**state, "adapted_state": np.zeros((2, length), np.float32)}, **queries)
        assert answer["status"].tolist() == [status.STATE_OF_ANOTHER_MODEL] * 2


def test_predict_refuses_a_state_that_is_not_finite_and_never_answers_nan(images, waves):
    for served, value, code, blank in ((images, np.nan, NAN, 1 / WAYS), (waves, 3e38, status.DIVERGED, 0)):
        inputs = inputs_of(served.model, tasks=2)
        state = state_of(served("adapt", **support_only(inputs)))
        state["adapted_state"][1] = value
        answer = served("predict", **state, query_inputs=inputs["query_inputs"])
        assert answer["status"].tolist() == [0, code]
        np.testing.assert_allclose(next(array for name, array in answer.items() if name != "status")[1], blank)


def test_every_status_is_explained():
    codes = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(status.MEANINGS) == set(range(7))
    assert set(status.PRECEDENCE) == codes - {status.OK}


@pytest.mark.parametrize("name", ["images", "waves", "nodes"])
def test_whatever_is_sent_no_answer_is_nan_and_no_call_fails(name, request):
    served = request.getfixturevalue(name)
    generator = np.random.default_rng(0)
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, 1e20], np.float32)
    whole = np.array([SMALLEST, -1, 0, 1, 2, 3, 6, NODES - 1, NODES, LARGEST], np.int32)
    seen = set()
    for seed in range(40):
        inputs = inputs_of(served.model, tasks=2, seed=seed)
        inputs = {**inputs, **sizes_of(inputs)}
        for array in inputs.values():
            # One value in ten calls of the first kind, most values in the others.
            spoilt = generator.random(array.shape) < generator.choice([0, 0, 0, 0.001, 0.5])
            values = generator.choice(whole if array.dtype.kind == "i" else strange[(seed % 3 > 0) * 3 :], array.shape)
            array[spoilt] = values[spoilt]
        answer = served("adapt_and_predict_padded", **inputs)
        state = state_of(served("adapt", **support_only(inputs)))
        predicted = served("predict", **state, **query_only(inputs))
        for outputs in (answer, state, predicted):
            assert all(np.isfinite(value).all() for value in outputs.values())
        seen |= set(answer["status"].tolist()) | set(predicted["status"].tolist())
    other = {"images": LABEL, "waves": status.DIVERGED, "nodes": NODE}[name]
    assert seen >= {status.OK, NAN, SIZE, status.STATE_OF_ANOTHER_MODEL, other}
