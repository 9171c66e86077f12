"""Tasks of one request never influence each other, and padding is as if it were not there."""

import numpy as np
import pytest

from tests.export.served import CLOSE, WAYS, inputs_of, query_only, sizes_of, state_of, support_only


@pytest.mark.slow
def test_joined_permuted_and_duplicated_tasks_answer_as_alone(served):
    inputs = inputs_of(served.model, tasks=3)
    state = state_of(served("adapt", **support_only(inputs)))
    calls = {"serving_default": inputs, "adapt": support_only(inputs), "predict": {**state, **query_only(inputs)}}
    for signature, call in calls.items():
        alone = [served(signature, **{key: array[[task]] for key, array in call.items()}) for task in range(3)]
        for order in ([0, 1, 2], [1, 1, 0, 2]):
            together = served(signature, **{key: array[order] for key, array in call.items()})
            for key, value in together.items():
                np.testing.assert_allclose(value, np.concatenate([alone[task][key] for task in order]), **CLOSE)


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
        if key == served.output:
            np.testing.assert_array_equal(first[key][:, value.shape[1] :], 0)
            first[key] = first[key][:, : value.shape[1]]
        np.testing.assert_allclose(first[key], value, **CLOSE, err_msg=key)


def test_tasks_and_graphs_of_one_request_may_differ_in_size(images, nodes):
    inputs = inputs_of(images.model, tasks=2)
    sizes = sizes_of(inputs, support_size=[6, WAYS], query_size=[4, 1])
    answer = images("adapt_and_predict_padded", **inputs, **sizes)["probabilities"]
    small = {name: array[1:, : 1 if name == "query_inputs" else WAYS] for name, array in inputs.items()}
    np.testing.assert_allclose(answer[1, :1], images("serving_default", **small)["probabilities"][0], **CLOSE)
    np.testing.assert_array_equal(answer[1, 1:], 0)

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
