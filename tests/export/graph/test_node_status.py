"""Faults in the values of a graph or its nodes: a status each, a blank answer, and no harm to neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from export import status
from tests.export.served import state_of
from tests.export.served_nodes import NODES, WAYS, counts, node_request, part, support_part

BLANK = 1 / WAYS
LARGEST, SMALLEST = 2**31 - 1, -(2**31)

# What is put where into task 1, and the status that it gets.
FAULTS = {
    "NaN in the features": ({"node_features": ((3, 2), np.nan)}, status.NON_FINITE_INPUT),
    "infinity in the features": ({"node_features": ((0, 0), -np.inf)}, status.NON_FINITE_INPUT),
    "edge to no node": ({"edges": ((5, 1), NODES)}, status.NODE_OUT_OF_RANGE),
    "edge from a negative node": ({"edges": ((0, 0), -1)}, status.NODE_OUT_OF_RANGE),
    "edge to the largest number": ({"edges": ((0, 0), LARGEST)}, status.NODE_OUT_OF_RANGE),
    "support node beyond the graph": ({"support_nodes": ((3,), NODES)}, status.NODE_OUT_OF_RANGE),
    "support node negative": ({"support_nodes": ((0,), SMALLEST)}, status.NODE_OUT_OF_RANGE),
    "query beyond the graph": ({"query_nodes": ((1,), LARGEST)}, status.NODE_OUT_OF_RANGE),
    "query negative": ({"query_nodes": ((0,), -1)}, status.NODE_OUT_OF_RANGE),
    "label too large": ({"support_labels": ((2,), WAYS)}, status.LABEL_OUT_OF_RANGE),
    "label negative": ({"support_labels": ((0,), -1)}, status.LABEL_OUT_OF_RANGE),
    "no nodes": ({"node_count": ((), 0)}, status.SIZE),
    "negative nodes": ({"node_count": ((), SMALLEST)}, status.SIZE),
    "more nodes than sent": ({"node_count": ((), NODES + 1)}, status.SIZE),
    "fewer nodes than edges tell": ({"node_count": ((), 2)}, status.NODE_OUT_OF_RANGE),
    "negative edges": ({"edge_count": ((), -1)}, status.SIZE),
    "more edges than sent": ({"edge_count": ((), LARGEST)}, status.SIZE),
    "no support": ({"support_size": ((), 0)}, status.SIZE),
    "more queries than sent": ({"query_size": ((), 6)}, status.SIZE),
    "size before all": (
        {"edge_count": ((), -1), "support_labels": ((0,), 9), "query_nodes": ((0,), -1)},
        status.SIZE,
    ),
    "label before node": ({"support_labels": ((0,), 9), "edges": ((0, 0), -1)}, status.LABEL_OUT_OF_RANGE),
    "node before NaN": (
        {"node_features": ((0, 0), np.nan), "support_nodes": ((0,), -1)},
        status.NODE_OUT_OF_RANGE,
    ),
}


def _spoilt(inputs, changes):
    inputs = {name: array.copy() for name, array in inputs.items()}
    for name, (index, value) in changes.items():
        inputs[name][(1, *index)] = value
    return inputs


def _whole(tasks=2):
    inputs = node_request(tasks)
    return {**inputs, **counts(inputs)}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_blanks_its_task_and_leaves_its_neighbour_alone(nodes, name):
    changes, code = FAULTS[name]
    healthy = nodes("adapt_and_predict_padded", **_whole())
    assert healthy["status"].tolist() == [0, 0]
    answer = nodes("adapt_and_predict_padded", **_spoilt(_whole(), changes))
    assert answer["status"].tolist() == [status.OK, code]
    for key in answer:
        np.testing.assert_array_equal(answer[key][0], healthy[key][0], err_msg=key)
    np.testing.assert_allclose(answer["probabilities"][1], BLANK)
    assert answer["support_loss_before"][1] == answer["support_loss_after"][1] == 0


@pytest.mark.parametrize("name", ["NaN in the features", "edge to no node", "support node negative", "label too large"])
def test_adapt_gives_no_state_to_a_task_at_fault(nodes, name):
    changes, code = FAULTS[name]
    inputs = support_part(node_request(2))
    healthy, answer = nodes("adapt", **inputs), nodes("adapt", **_spoilt(inputs, changes))
    assert answer["status"].tolist() == [0, code]
    assert not answer["adapted_state"][1].any() and not answer["model_fingerprint"][1]
    for key in answer:
        np.testing.assert_array_equal(answer[key][0], healthy[key][0], err_msg=key)


@pytest.mark.parametrize("name", ["NaN in the features", "edge to no node", "query beyond the graph", "query negative"])
def test_predict_refuses_the_same(nodes, name):
    changes, code = FAULTS[name]
    inputs = node_request(2)
    call = {**part(inputs, "query_nodes"), **state_of(nodes("adapt", **support_part(inputs)))}
    healthy, answer = nodes("predict", **call), nodes("predict", **_spoilt(call, changes))
    assert healthy["status"].tolist() == [0, 0] and answer["status"].tolist() == [0, code]
    np.testing.assert_array_equal(answer["probabilities"][0], healthy["probabilities"][0])
    np.testing.assert_allclose(answer["probabilities"][1], BLANK)


def test_a_graph_without_nodes_is_a_size_fault(nodes):
    inputs = {**node_request(), "node_features": np.zeros((1, 0, 7), np.float32)}
    assert nodes("serving_default", **inputs)["status"].tolist() == [status.SIZE]
    assert nodes("adapt", **support_part(inputs))["status"].tolist() == [status.SIZE]


@pytest.mark.parametrize(("support", "labels"), [(0, 0), (4, 3), (3, 4), (1, 4), (0, 4), (4, 0)])
def test_empty_and_mismatched_support_is_a_size_fault(nodes, support, labels):
    inputs = node_request(2)
    inputs["support_nodes"] = inputs["support_nodes"][:, :support]
    inputs["support_labels"] = inputs["support_labels"][:, :labels]
    for signature, call in (("serving_default", inputs), ("adapt", support_part(inputs))):
        assert nodes(signature, **call)["status"].tolist() == [status.SIZE] * 2


def test_features_that_overflow_diverge(nodes):
    inputs = node_request(2)
    inputs["node_features"][1] = 3e38
    answer = nodes("serving_default", **inputs)
    assert answer["status"].tolist() == [status.OK, status.DIVERGED]
    assert all(np.isfinite(value).all() for value in answer.values())


def test_padding_changes_no_bit(nodes):
    inputs = node_request(2)
    plain = nodes("serving_default", **inputs)
    answers = []
    for filler, number in ((0, 0), (np.nan, -1), (np.inf, LARGEST)):
        padded = {
            name: np.concatenate(
                [array, np.full_like(array[:, :3], number if array.dtype.kind == "i" else filler)], axis=1
            )
            for name, array in inputs.items()
        }
        answers.append(nodes("adapt_and_predict_padded", **padded, **counts(inputs)))
    for answer in answers:
        for key, value in answers[0].items():
            np.testing.assert_array_equal(answer[key], value, err_msg=key)
        np.testing.assert_array_equal(answer["probabilities"][:, 5:], 0)
        for key, value in plain.items():
            got = answer[key][:, :5] if key == "probabilities" else answer[key]
            np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_tasks_of_one_request_may_differ_in_size(nodes):
    inputs = node_request(2)
    # The last nodes of these graphs have no edges, and are nobody's example here.
    few = {"support_nodes": 3, "support_labels": 3, "query_nodes": 2}
    small = {name: array[1:, : few.get(name, array.shape[1])] % (NODES - 3) for name, array in inputs.items()}
    small["node_features"] = inputs["node_features"][1:, : NODES - 3]
    for name, array in small.items():
        inputs[name][1, : array.shape[1]] = array[0]
    sizes = counts(inputs, node_count=[NODES, NODES - 3], support_size=[4, 3], query_size=[5, 2])
    answer = nodes("adapt_and_predict_padded", **inputs, **sizes)
    expected = nodes("serving_default", **small)
    assert answer["status"].tolist() == [0, 0]
    np.testing.assert_allclose(answer["probabilities"][1, :2], expected["probabilities"][0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("surplus", ["node_features", "edges", "support_nodes", "query_nodes"])
def test_inputs_with_different_numbers_of_tasks_are_refused(nodes, surplus):
    inputs = node_request(2)
    inputs[surplus] = np.concatenate([inputs[surplus], inputs[surplus][:1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="same number of tasks on axis 0"):
        nodes("serving_default", **inputs)


def test_whatever_is_sent_no_answer_is_nan_and_no_call_fails(nodes):
    generator = np.random.default_rng(0)
    strange = np.array([np.nan, np.inf, 3e38, -3e38, 1e-45, 0, 1e20], np.float32)
    whole = np.array([SMALLEST, -1, 0, 1, 2, NODES - 1, NODES, LARGEST], np.int32)
    seen = set()
    for seed in range(60):
        inputs = {**node_request(2, seed=seed), **counts(node_request(2))}
        for array in inputs.values():
            spoilt = generator.random(array.shape) < generator.choice([0, 0, 0, 0, 0.001, 0.5])
            array[spoilt] = generator.choice(whole if array.dtype.kind == "i" else strange, array.shape)[spoilt]
        answer = nodes("adapt_and_predict_padded", **inputs)
        state = state_of(nodes("adapt", **support_part(inputs)))
        predicted = nodes("predict", **state, **part(inputs, "query_nodes"))
        for outputs in (answer, state, predicted):
            assert all(np.isfinite(value).all() for value in outputs.values())
        seen |= set(answer["status"].tolist()) | set(predicted["status"].tolist())
    assert seen >= {
        status.OK,
        status.NON_FINITE_INPUT,
        status.SIZE,
        status.NODE_OUT_OF_RANGE,
        status.STATE_OF_ANOTHER_MODEL,
    }
