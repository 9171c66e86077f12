"""Through the client a served model answers as the library does, over both protocols."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export import status
from export.client import Adapted, ClientError, RequestError, TaskError
from tests.export.served import request
from tests.helpers.drawn_images import encoded

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ("cat", "ant", "bee")


def _task(served, classes: int = 3):
    """Support images, a name for each, and queries."""
    inputs = request(served.model, support=2 * classes)
    support, query = inputs["support_inputs"][0], inputs["query_inputs"][0]
    return support, [NAMES[position % classes] for position in range(2 * classes)], query


def _waves(served):
    return tuple(array[0] for array in request(served.model).values())


@pytest.mark.parametrize("classes", [3, 2])
def test_classes_have_names_and_the_librarys_probabilities(ask, images, classes):
    support, names, query = _task(images, classes)
    expected = images.in_process.adapt(support, names)
    client = ask("images")
    adapted = client.adapt(support, names)
    for answer in (client.adapt_and_predict(support, names, query), client.predict(adapted, query)):
        assert answer.class_names == expected.class_names == tuple(sorted(NAMES[:classes]))
        np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)
        assert list(answer.classes) == expected.classify(query)
    np.testing.assert_allclose(adapted.state, expected.packed(), **CLOSE)
    assert 0 < adapted.loss_after < adapted.loss_before
    assert client.adapt_and_predict(support, names, []).values.shape == (0, classes)


def test_image_files_are_read_as_training_reads_them(ask, images):
    support, names, query = _task(images)
    levels = [np.round(examples * 255).astype(np.uint8) for examples in (support, query)]
    files, questions = ([encoded(image) for image in examples] for examples in levels)
    # 1 / 255 as the one preprocessing function scales.
    shown, asked = (examples * np.float32(1 / 255) for examples in levels)
    probabilities = images.in_process.adapt(shown, names).predict(asked)
    client = ask("images")
    np.testing.assert_allclose(client.adapt_and_predict(files, names, questions).values, probabilities, **CLOSE)
    np.testing.assert_allclose(client.predict(client.adapt(files, names), questions).values, probabilities, **CLOSE)


def test_regression(ask, waves):
    support, targets, query = _waves(waves)
    expected = waves.in_process.adapt(support, targets).predict(query)
    client = ask("waves")
    whole = client.adapt_and_predict(support, targets, query)
    np.testing.assert_allclose(whole.values, expected, **CLOSE)
    assert whole.class_names is None
    with pytest.raises(TypeError, match="no classes"):
        _ = whole.classes
    # One value a target may come without its axis.
    adapted = client.adapt(support, targets[:, 0])
    np.testing.assert_allclose(client.predict(adapted, query).values, expected, **CLOSE)
    assert client.predict(adapted, np.zeros((0, 1))).values.shape == (0, 1)


def test_an_adapted_task_outlives_its_client(ask, images, tmp_path):
    support, names, query = _task(images)
    first = ask("images")
    adapted = first.adapt(support, names)
    adapted.save(tmp_path / "task.npz")
    again = ask("images").predict(Adapted.load(tmp_path / "task.npz"), query)
    np.testing.assert_array_equal(again.values, first.predict(adapted, query).values)
    assert [path.name for path in tmp_path.iterdir()] == ["task.npz"]


def test_a_client_outlives_the_version_that_it_first_met(ask, images):
    support, names, query = _task(images)
    client = ask("images")
    now = client.interface()
    expected = client.adapt_and_predict(support, names, query).values
    # What a version of other images, and one of fewer classes, would have left behind.
    for before in ({"input_shape": (8, 8, 1)}, {"outputs": 2}):
        client._interfaces[next(iter(client._interfaces))] = dataclasses.replace(now, **before)
        np.testing.assert_array_equal(client.adapt_and_predict(support, names, query).values, expected)
    assert client.interface() == now


def test_a_version_that_is_gone_says_adapt_again(ask, images):
    support, names, query = _task(images)
    client = ask("images")
    gone = dataclasses.replace(client.adapt(support, names), version=99)
    with pytest.raises(RequestError, match="version 99 of images, which is no longer served: adapt") as caught:
        client.predict(gone, query)
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(ClientError, match="adapted by the model other, but this client uses images"):
        client.predict(dataclasses.replace(gone, model="other"), query)


def test_a_status_is_an_error_that_says_what_to_do(ask, waves):
    support, targets, query = _waves(waves)
    client = ask("waves")
    adapted = client.adapt(support, targets)
    other = dataclasses.replace(adapted, fingerprint=adapted.fingerprint ^ 1)
    for fail, code in (
        (lambda: client.adapt(support * 1e18, targets * 1e18), status.DIVERGED),
        (lambda: client.adapt_and_predict(support, targets, query * np.nan), status.NON_FINITE_INPUT),
        (lambda: client.predict(other, query), status.STATE_OF_ANOTHER_MODEL),
    ):
        with pytest.raises(TaskError) as caught:
            fail()
        assert caught.value.statuses == (code,) and status.MEANINGS[code] in str(caught.value)


def test_of_several_tasks_every_faulty_one_is_named():
    message = str(TaskError([status.OK, status.SIZE, 77]))
    assert f"status {status.SIZE} of task 1 ({status.MEANINGS[status.SIZE]})" in message
    assert "status 77 of task 2 (unknown to this client)" in message and "task 0" not in message


def test_models_that_are_not_there_or_not_ours(ask):
    with pytest.raises(RequestError, match="Check the name") as caught:
        ask("nobody").interface()
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(
        ClientError, match=r"signature serving_default that adapts and predicts, received signatures .*both"
    ):
        ask("halver", version=1).interface()
    with pytest.raises(RequestError) as caught:
        ask("images", version_label="nobody").interface()
    assert caught.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert ask("images", version=1).interface().version == 1
