"""Tasks of one request never influence each other, and padding is as if it were not there."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.export.served import WAYS, sizes
from tests.export.served import request as inputs_of

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _rows(inputs, order):
    return {name: array[order] for name, array in inputs.items()}


def test_joined_permuted_and_duplicated_tasks_answer_as_alone(images, waves):
    for served in (images, waves):
        inputs = inputs_of(served.model, tasks=3)
        alone = [served("serving_default", **_rows(inputs, [task])) for task in range(3)]
        for order in ([0, 1, 2], [2, 0, 1], [1, 1, 0, 1]):
            together = served("serving_default", **_rows(inputs, order))
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


def _padded(inputs, support_rows, query_rows, fill, label):
    def pad(array, rows):
        value = label if array.dtype.kind == "i" else fill
        return np.concatenate([array, np.full((array.shape[0], rows, *array.shape[2:]), value, array.dtype)], 1)

    return {name: pad(array, query_rows if name == "query_inputs" else support_rows) for name, array in inputs.items()}


@pytest.mark.parametrize("name", ["images", "waves"])
def test_padding_is_as_if_it_were_not_there(name, request):
    served = request.getfixturevalue(name)
    inputs = inputs_of(served.model, tasks=2)
    plain = served("serving_default", **inputs)
    size = sizes([6, 6], [4, 4])
    zeros = served("adapt_and_predict_padded", **_padded(inputs, 3, 2, 0, 0), **size)
    nans = served("adapt_and_predict_padded", **_padded(inputs, 3, 2, np.nan, -(2**31)), **size)
    for key, value in zeros.items():
        np.testing.assert_array_equal(value, nans[key], err_msg=key)
    output = "probabilities" if name == "images" else "predictions"
    np.testing.assert_array_equal(zeros[output][:, 4:], 0)
    np.testing.assert_allclose(zeros.pop(output)[:, :4], plain.pop(output), **CLOSE)
    for key, value in plain.items():
        np.testing.assert_allclose(zeros[key], value, **CLOSE, err_msg=key)


def test_tasks_of_one_request_may_differ_in_size(images):
    inputs = inputs_of(images.model, tasks=2)
    answer = images("adapt_and_predict_padded", **inputs, **sizes([6, WAYS], [4, 1]))
    small = {
        "support_inputs": inputs["support_inputs"][1:, :WAYS],
        "support_labels": inputs["support_labels"][1:, :WAYS],
        "query_inputs": inputs["query_inputs"][1:, :1],
    }
    np.testing.assert_allclose(
        answer["probabilities"][1, :1], images("serving_default", **small)["probabilities"][0], **CLOSE
    )
    np.testing.assert_array_equal(answer["probabilities"][1, 1:], 0)


@pytest.mark.parametrize("surplus", ["support_inputs", "support_labels", "query_inputs"])
def test_inputs_with_different_numbers_of_tasks_are_refused(images, surplus):
    """map_fn would take the number from one of them and leave the others' surplus out without a word."""
    inputs = inputs_of(images.model, tasks=2)
    inputs[surplus] = np.concatenate([inputs[surplus], inputs[surplus][:1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="same number of tasks on axis 0"):
        images("serving_default", **inputs)


def test_no_task_at_all_is_refused(images):
    inputs = {name: array[:0] for name, array in inputs_of(images.model).items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one task"):
        images("serving_default", **inputs)
