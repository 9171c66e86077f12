"""Tasks of one request never influence each other, and padding is as if it were not there."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.export.served import WAYS, inputs_of, query_only, sizes_of, state_of, support_only

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=["images", "waves", "nodes"])
def served(request):
    return request.getfixturevalue(request.param)


def test_joined_permuted_and_duplicated_tasks_answer_as_alone(served):
    inputs = inputs_of(served.model, tasks=3)
    state = state_of(served("adapt", **support_only(inputs)))
    calls = {
        "serving_default": inputs,
        "adapt": support_only(inputs),
        "predict": {**state, **query_only(inputs)},
    }
    for signature, call in calls.items():
        alone = [served(signature, **{key: array[[task]] for key, array in call.items()}) for task in range(3)]
        for order in ([0, 1, 2], [2, 0, 1], [1, 1, 0, 1]):
            together = served(signature, **{key: array[order] for key, array in call.items()})
            for row, task in enumerate(order):
                for key, value in together.items():
                    np.testing.assert_allclose(value[row], alone[task][key][0], **CLOSE)


def test_a_neighbour_changes_no_bit_of_an_answer(images):
    inputs, others = inputs_of(images.model, tasks=2), inputs_of(images.model, tasks=2, seed=7)
    changed = {name: np.concatenate([array[:1], others[name][1:]]) for name, array in inputs.items()}
    first, second = images("serving_default", **inputs), images("serving_default", **changed)
    for key, value in first.items():
        np.testing.assert_array_equal(value[0], second[key][0], err_msg=key)
    assert not np.array_equal(first["probabilities"][1], second["probabilities"][1])


def test_padding_is_as_if_it_were_not_there(served):
    inputs = inputs_of(served.model, tasks=2)

    def padded(filler, number):
        more = {name: np.full_like(x[:, :3], number if x.dtype.kind == "i" else filler) for name, x in inputs.items()}
        rows = {name: np.concatenate([array, more[name]], axis=1) for name, array in inputs.items()}
        return served("adapt_and_predict_padded", **rows, **sizes_of(inputs))

    first, *others = (padded(*fill) for fill in ((0, 0), (np.nan, -(2**31)), (np.inf, 2**31 - 1)))
    for key, value in served("serving_default", **inputs).items():
        for other in others:
            np.testing.assert_array_equal(other[key], first[key], err_msg=key)
        if key in ("probabilities", "predictions"):
            rows = value.shape[1]
            np.testing.assert_array_equal(first[key][:, rows:], 0)
            first[key] = first[key][:, :rows]
        np.testing.assert_allclose(first[key], value, **CLOSE, err_msg=key)


def test_tasks_of_one_request_may_differ_in_size(images):
    inputs = inputs_of(images.model, tasks=2)
    sizes = sizes_of(inputs, support_size=[6, WAYS], query_size=[4, 1])
    answer = images("adapt_and_predict_padded", **inputs, **sizes)["probabilities"]
    small = {name: array[1:, : 1 if name == "query_inputs" else WAYS] for name, array in inputs.items()}
    np.testing.assert_allclose(answer[1, :1], images("serving_default", **small)["probabilities"][0], **CLOSE)
    np.testing.assert_array_equal(answer[1, 1:], 0)


def test_graphs_of_one_request_may_differ_in_size(nodes):
    inputs = inputs_of(nodes.model, tasks=2)
    few = inputs["node_features"].shape[1] - 3
    # The last nodes of these graphs have no edges, and are nobody's example here.
    cut = {"support_nodes": 3, "support_labels": 3, "query_nodes": 2, "node_features": few}
    small = {name: array[1:, : cut.get(name, array.shape[1])] for name, array in inputs.items()}
    small |= {name: small[name] % few for name in ("edges", "support_nodes", "query_nodes")}
    for name, array in small.items():
        inputs[name][1, : array.shape[1]] = array[0]
    sizes = sizes_of(inputs, node_count=[few + 3, few], support_size=[4, 3], query_size=[5, 2])
    answer = nodes("adapt_and_predict_padded", **inputs, **sizes)
    assert answer["status"].tolist() == [0, 0]
    expected = nodes("serving_default", **small)["probabilities"][0]
    np.testing.assert_allclose(answer["probabilities"][1, :2], expected, rtol=1e-6, atol=1e-6)


def test_numbers_of_tasks_that_differ_or_are_none_are_refused(served):
    inputs = inputs_of(served.model, tasks=2)
    for surplus in inputs:
        # map_fn would take the number from one of them and leave the others' surplus out without a word.
        other = {**inputs, surplus: np.concatenate([inputs[surplus], inputs[surplus][:1]])}
        with pytest.raises(tf.errors.InvalidArgumentError, match="same number of tasks on axis 0"):
            served("serving_default", **other)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one task"):
        served("serving_default", **{name: array[:0] for name, array in inputs.items()})
